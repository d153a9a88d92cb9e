"""Epochs of training as one would write them with a DataLoader, beside ours: ``python -m benchmarks.all.loader --json FILE``."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.train import QUICK, heads_of, objective_of, peer_step_on, random_tables, settings_of
from pipeline.progress import Silent
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.loop import Trainer
from pipeline.train.steps.draws import Draws

STEPS = 40


def main() -> None:
    """Three epochs of either, in turns, after one that warms up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    batch, width, _ = QUICK
    tables = random_tables(batch * STEPS, width, "cpu")
    ways = {"ours": our_epoch(tables), "peer": peer_epoch(tables)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(4):
        for name, epoch in ways.items():
            start = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - start)
    found = {name: statistics.median(each[1:]) for name, each in seconds.items()}
    given.json.write_text(json.dumps(found | {"steps": STEPS, "samples": seconds}, indent=1) + "\n")


def our_epoch(tables: dict[str, torch.Tensor]) -> Callable[[], object]:
    """One epoch of the training loop, with all that it does around the steps."""
    batch, width, hidden = QUICK
    settings = settings_of(batch, width, hidden).model_copy(update={"epochs": 1})

    def epoch() -> None:
        heads = heads_of(width, hidden, "cpu")
        trainer = Trainer(objective_of(width, settings), dict(tables), heads, settings, Draws(0, "benchmark"))
        with tempfile.TemporaryDirectory() as folder:
            trainer.run(Checkpoint(Path(folder), {}), Silent(), "benchmark")

    return epoch


def peer_epoch(tables: dict[str, torch.Tensor]) -> Callable[[], object]:
    """One epoch over a `DataLoader` of the same rows, shuffled, with the textbook step."""
    batch, width, hidden = QUICK
    loader = DataLoader(TensorDataset(*tables.values()), batch_size=batch, shuffle=True, drop_last=True)
    step = peer_step_on(batch, width, hidden, "cpu")

    def epoch() -> None:
        for rows in loader:
            step(dict(zip(tables, rows, strict=True)))

    return epoch


if __name__ == "__main__":
    main()
