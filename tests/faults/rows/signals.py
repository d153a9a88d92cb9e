"""TERM, HUP and INT at random moments: the exit code, one line, nothing left, and soon."""

import random
import signal
import time
from collections.abc import Iterator

from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, leftovers, partial_finals, rerun

FULL, QUICK = 20, 1
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LONGEST = 30.0


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Each signal to each stage."""
    for stage in STAGES:
        for number in SIGNALS:
            for count in range(QUICK if quick else FULL):
                wait = draw.uniform(0.02, lab.seconds[stage] * 0.9)
                yield Trial(
                    f"{stage}, {number.name} {count}",
                    lambda lab, stage=stage, number=number, wait=wait: attempt(lab, stage, number, wait),
                )


def attempt(lab: Lab, stage: str, number: signal.Signals, wait: float) -> list[str]:
    """Send the signal after `wait` seconds."""
    lab.restore(stage)
    run = lab.start(stage)
    time.sleep(wait)
    began = time.monotonic()
    run.signal(number)
    outcome = run.wait()
    if outcome.status == 0:
        return []  # It was done before.
    problems = []
    if outcome.status != 128 + number:
        problems.append(f"exit code: {outcome.status}: {outcome.output[-300:]}")
    if not outcome.output.strip().endswith(f"Stopped by {number.name}. Run the same command again to continue."):
        problems.append(f"unclear: {outcome.output.strip()[-300:]!r}")
    if time.monotonic() - began > LONGEST:
        problems.append(f"slow: {time.monotonic() - began:.0f} s")
    return [*problems, *partial_finals(lab, stage), *leftovers(lab, stage), *rerun(lab, stage)]


def broken() -> None:
    """Signals are left to Python."""
    import stages.cli

    stages.cli.stop_on_signals = lambda: None


ROW = Row(
    "TERM, HUP, INT",
    ("exit code", "unclear", "slow", "partial final", "left behind", "differing rerun"),
    trials,
    broken,
)
