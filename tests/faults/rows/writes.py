"""The N-th open, write, fsync, rename, unlink, mkdir or close fails, for all N in each stage."""

import errno

from tests.faults import shim
from tests.faults.lab import Lab
from tests.faults.row import Row, differences, leftovers, partial_finals, rerun, said_clearly
from tests.faults.rows.failing import failing

WAYS = {
    "ENOSPC": (shim.FAIL, errno.ENOSPC, 1),
    "EIO": (shim.FAIL, errno.EIO, 1),
    "ENOSPC from there on": (shim.LASTING, errno.ENOSPC, 8),
    "short write": (shim.SHORT, 0, 1),
}


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
    failing(shim.WRITE, WAYS, attempt),
    broken,
)
