"""Two drivers of one stage in one project: one result, no crash; who comes second waits or is told."""

import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, rerun, said_clearly

FULL, QUICK = 100, 8


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Pairs of drivers, begun at random distances."""
    for number in range(QUICK if quick else FULL):
        stage = list(STAGES)[number % len(STAGES)]
        wait = draw.uniform(0, lab.seconds[stage])
        yield Trial(f"{stage}, pair {number}", partial(attempt, stage=stage, wait=wait))


def attempt(lab: Lab, stage: str, wait: float) -> list[str]:
    """Start two; afterwards the results are those of one."""
    lab.restore(stage)
    first = lab.start(stage, log="first")
    time.sleep(wait)
    second = lab.start(stage, log="second")
    outcomes = [first.wait(), second.wait()]
    problems = [problem for outcome in outcomes for problem in said_clearly(outcome, (0, 75))]
    if not any(outcome.status == 0 for outcome in outcomes):
        problems.append("exit code: neither ended well")
    return problems + [problem.replace("differing rerun", "corrupt") for problem in rerun(lab, stage)]


def broken() -> None:
    """Nobody holds a lock, and temporary files have names that two drivers share."""
    import pipeline.files.atomic as atomic
    import pipeline.store.parts.folder as store

    class Nobody:
        def __init__(self, folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)

        def check(self) -> None:
            """Nothing to check."""

        def release(self) -> None:
            """Nothing to release."""

    def slowly(source: Path, target: Path) -> None:
        time.sleep(0.02)
        whole(source, target)

    whole = os.replace
    os.replace = slowly  # type: ignore[assignment]
    store.FolderLock = Nobody  # type: ignore[assignment,misc]
    atomic.secrets.token_hex = lambda *_: "0" * 8  # type: ignore[assignment]


ROW = Row("two drivers of one stage", ("says bug", "exit code", "corrupt"), trials, broken)
