"""What the rows share in which the N-th call of a kind fails, for all N in each stage."""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from tests.faults import shim
from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Trial, chosen

MOST_WHEN_QUICK = 2
Attempt = Callable[[Lab, str, shim.Fault], list[str]]


def calls(lab: Lab, stage: str, kind: int) -> int:
    """How many calls of `kind` the stage makes."""
    lab.restore(stage)
    lab.run(stage, shim.Fault(kind), broken=False)
    return shim.counted()


def failing(
    kind: int, ways: Mapping[str, tuple[int, int, int]], attempt: Attempt
) -> Callable[[Lab, random.Random, bool], Iterator[Trial]]:
    """Trials of every way at every call; quick: at the first and the last call of each stage.

    Args:
        kind: ``shim.WRITE`` or ``shim.READ``.
        ways: By name: what happens to the call, the system's number for it, and to how many of the calls: 1 for all, 8
            for every eighth.
        attempt: Runs a stage with such a fault.
    """

    def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
        for stage in STAGES:
            numbers = range(1, calls(lab, stage, kind) + 1)
            for way, (action, error, every) in ways.items():
                for number in chosen(numbers, MOST_WHEN_QUICK, draw) if quick else numbers[::every]:
                    run = partial(attempt, stage=stage, fault=shim.Fault(kind, number, action, error))
                    yield Trial(f"{stage}, call {number}: {way}", run)

    return trials
