"""`kill -9` at random moments, also of the run that continues."""

import random
import re
import signal
import time
from collections.abc import Iterator

from tests.faults.lab import Lab
from tests.faults.project import STAGES
from tests.faults.row import Row, Trial, differences, partial_finals

FULL, QUICK = 200, 3
COUNTED = re.compile(r"(\d+) of (\d+) (?:parts|epochs) computed")
_PART = re.compile(r"(\d{5}\.tar|part-\d+\.parquet)$")


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Kills of each stage."""
    for stage in STAGES:
        for number in range(QUICK if quick else FULL):
            seed = draw.random()
            yield Trial(
                f"{stage}, kill {number}", lambda lab, stage=stage, seed=seed: attempt(lab, stage, random.Random(seed))
            )


def attempt(lab: Lab, stage: str, draw: random.Random) -> list[str]:
    """Kill the stage and often its continuation, then let it end."""
    lab.restore(stage)
    problems: list[str] = []
    while True:
        run = lab.start(stage)
        time.sleep(draw.uniform(0, lab.seconds[stage]))
        run.signal(signal.SIGKILL)
        run.wait()
        problems += partial_finals(lab, stage)
        if draw.random() < 0.7:
            break
    kept = sum(bool(_PART.search(name)) for name in lab.results(stage))
    outcome = lab.run(stage)
    if outcome.status:
        return [*problems, f"differing rerun: exit code {outcome.status}: {outcome.output[-300:]}"]
    counts = [(int(done), int(of)) for done, of in COUNTED.findall(outcome.output)]
    if stage in ("shard", "retrieve") or stage.startswith("encode"):
        again = sum(done for done, _ in counts) - (sum(of for _, of in counts) - kept)
        if again > 0:
            problems.append(f"computed again: {again} parts")
    return problems + differences(lab, stage)


def broken() -> None:
    """Nothing of an earlier run is used."""
    from pipeline.store.parts.folder import PartFolder

    PartFolder.reuse = lambda *_: None  # type: ignore[method-assign,assignment]


ROW = Row("kill -9 at random moments", ("partial final", "computed again", "differing rerun"), trials, broken)
