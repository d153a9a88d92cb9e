"""Files and settings that are made to do harm; all of them do at least once what some published attack does."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Touched by whatever gets executed: a file beside the project, told to the attacks by their maker.
CANARY = "executed"


@dataclass(frozen=True)
class Attack:
    """One hostile thing.

    Attributes:
        name: What it is.
        stage: Before which stage of the undisturbed project it is put.
        put: Puts it into a project; drawn numbers make it another one each time.
        commands: What is run on it.
    """

    name: str
    stage: str
    put: Callable[[Path, random.Random], None]
    commands: tuple[tuple[str, ...], ...]


def command(project: Path) -> str:
    """What a shell would run, were it asked to."""
    return f"touch {canary(project)}"


def canary(project: Path) -> Path:
    """The file that must not appear."""
    return project.with_name(f"{project.name}.{CANARY}")
