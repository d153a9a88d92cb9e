"""The N-th open, write, fsync, rename, unlink, mkdir or close fails, for all N in each stage."""

import errno
import random
from collections.abc import Iterator

from tests.faults import shim
from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, chosen, differences, leftovers, partial_finals, rerun, said_clearly

WAYS = {
    "ENOSPC": (shim.FAIL, errno.ENOSPC),
    "EIO": (shim.FAIL, errno.EIO),
    "ENOSPC from there on": (shim.LASTING, errno.ENOSPC),
    "short write": (shim.SHORT, 0),
}
MOST_WHEN_QUICK = 2


def calls(lab: Lab, stage: str, kind: int) -> int:
    """How many calls of `kind` the stage makes."""
    lab.restore(stage)
    lab.run(stage, shim.Fault(kind), broken=False)
    return shim.counted()


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Every way at every call."""
    for stage in STAGES:
        numbers = range(1, calls(lab, stage, shim.WRITE) + 1)
        for way, (action, error) in WAYS.items():
            for number in chosen(numbers, MOST_WHEN_QUICK, draw) if quick else numbers:
                fault = shim.Fault(shim.WRITE, number, action, error)
                yield Trial(
                    f"{stage}, call {number}: {way}", lambda lab, stage=stage, fault=fault: attempt(lab, stage, fault)
                )


def attempt(lab: Lab, stage: str, fault: shim.Fault) -> list[str]:
    """Run the stage with the fault, look at what it left, and run it again."""
    lab.restore(stage)
    outcome = lab.run(stage, fault)
    if outcome.status == 0:
        return [*said_clearly(outcome, (0,)), *differences(lab, stage)]
    left = leftovers(lab, stage) if fault.action == shim.FAIL else []
    return [*said_clearly(outcome, (75,)), *partial_finals(lab, stage), *left, *rerun(lab, stage)]


def broken() -> None:
    """What the system refuses is taken for a bug, as it was once."""
    import pipeline.files.atomic
    import stages.cli

    pipeline.files.atomic.explained = stages.cli.explained = lambda *_: None


ROW = Row(
    "N-th write, fsync, rename ... fails",
    ("says bug", "exit code", "partial final", "left behind", "differing rerun"),
    trials,
    broken,
)
