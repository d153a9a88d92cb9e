"""The process is gone at the N-th open, write, fsync, rename, unlink, mkdir or close, for all N in each stage."""

import random
from collections.abc import Iterator

from tests.faults import shim
from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, chosen, partial_finals, rerun
from tests.faults.rows.failing import calls

MOST_WHEN_QUICK = 5


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Every call."""
    for stage in STAGES:
        numbers = range(1, calls(lab, stage, shim.WRITE) + 1)
        for number in chosen(numbers, MOST_WHEN_QUICK, draw) if quick else numbers:
            fault = shim.Fault(shim.WRITE, number, shim.EXIT)
            yield Trial(f"{stage}, call {number}", lambda lab, stage=stage, fault=fault: attempt(lab, stage, fault))


def attempt(lab: Lab, stage: str, fault: shim.Fault) -> list[str]:
    """End the stage there, look at what it left, and run it again."""
    lab.restore(stage)
    lab.run(stage, fault)
    return [*partial_finals(lab, stage), *rerun(lab, stage)]


def broken() -> None:
    """Files are written in place."""
    import os

    import pipeline.files.atomic as atomic

    whole = os.replace

    def in_pieces(source: str, target: str) -> None:
        if not os.path.exists(target):
            with open(source, "rb") as file, open(target, "wb") as written:
                for byte in iter(lambda: file.read(512), b""):
                    written.write(byte)
                    written.flush()
        whole(source, target)

    atomic.os.replace = in_pieces  # type: ignore[assignment]


ROW = Row("process gone at the N-th such call", ("partial final", "differing rerun"), trials, broken)
