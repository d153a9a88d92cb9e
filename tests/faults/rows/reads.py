"""The N-th open for reading or read fails, once or from there on, for all N in each stage."""

import errno
import random
from collections.abc import Iterator

from tests.faults import shim
from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, chosen, differences, rerun, said_clearly
from tests.faults.rows.writes import calls

WAYS = {
    "EIO once": (shim.FAIL, errno.EIO),
    "EIO from there on": (shim.LASTING, errno.EIO),
    "short read": (shim.SHORT, 0),
}
MOST_WHEN_QUICK = 2


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Every way at every call."""
    for stage in STAGES:
        numbers = range(1, calls(lab, stage, shim.READ) + 1)
        for way, (action, error) in WAYS.items():
            for number in chosen(numbers, MOST_WHEN_QUICK, draw) if quick else numbers:
                fault = shim.Fault(shim.READ, number, action, error)
                yield Trial(
                    f"{stage}, call {number}: {way}", lambda lab, stage=stage, fault=fault: attempt(lab, stage, fault)
                )


def attempt(lab: Lab, stage: str, fault: shim.Fault) -> list[str]:
    """Run the stage with the fault; what ends well has to be right, what does not has to name a cause."""
    lab.restore(stage)
    outcome = lab.run(stage, fault)
    if outcome.status == 0:
        return [problem.replace("differing rerun", "silent difference") for problem in differences(lab, stage)]
    # A file of the source that stays unreadable is a rejected sample, and too many of those are for the user to decide.
    return [*said_clearly(outcome, (75, 2)), *rerun(lab, stage)]


def broken() -> None:
    """A drive that stumbles is taken for damage, and nothing is read twice."""
    import pipeline.files.reading as reading
    import stages.cli

    reading.PASSING = set()
    reading.explained = stages.cli.explained = lambda *_: None


ROW = Row("N-th read fails", ("says bug", "exit code", "silent difference", "differing rerun"), trials, broken)
