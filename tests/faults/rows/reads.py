"""The N-th open for reading or read fails, once or from there on, for all N in each stage."""

import errno

from tests.faults import shim
from tests.faults.lab import Lab
from tests.faults.row import Row, differences, rerun, said_clearly
from tests.faults.rows.failing import failing

WAYS = {
    "EIO once": (shim.FAIL, errno.EIO, 1),
    "EIO from there on": (shim.LASTING, errno.EIO, 8),
    "short read": (shim.SHORT, 0, 8),
}


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


ROW = Row(
    "N-th read fails",
    ("says bug", "exit code", "silent difference", "differing rerun"),
    failing(shim.READ, WAYS, attempt),
    broken,
)
