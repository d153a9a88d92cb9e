"""What is said of one thing that the project holds."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.files.os_errors import explained
from pipeline.files.permits import is_refused
from pipeline.store.integrity.unchanged import forget


class State(StrEnum):
    """How it stands."""

    SOUND = "sound"
    CHANGED = "changed"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    MISSING = "missing"


@dataclass(frozen=True)
class Verdict:
    """One line of `mcr verify`.

    Attributes:
        place: File or folder.
        state: How it stands: damage counts more than what is not finished, and that more than what has changed.
        said: Why, or what it holds.
    """

    place: Path
    state: State
    said: str


def judged(
    place: Path, damage: Sequence[str], changes: Sequence[str] = (), unfinished: str = "", holds: str = ""
) -> Verdict:
    """The verdict on `place` from everything that was found there, in words."""
    if damage:
        forget(place)  # or its stage would take for good what looks untouched
        return Verdict(place, State.DAMAGED, "; ".join(damage))
    if unfinished:
        return Verdict(place, State.MISSING, unfinished)
    if changes:
        return Verdict(place, State.CHANGED, "; ".join(changes))
    return Verdict(place, State.SOUND, holds)


def unreadable(place: Path) -> Verdict | None:
    """The verdict on `place` if something there may not be read by this user: it can be as sound as you like."""
    for path in (place, *place.rglob("*")):
        if is_refused(path):
            denied = explained(PermissionError(errno.EACCES, "", str(path)))
            return Verdict(place, State.UNREADABLE, denied.message.rstrip(".") if denied else "")
    return None
