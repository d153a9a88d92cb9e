"""Steps of the training beside the textbook step, and ranks of a large gallery."""

import time

import numpy as np

from benchmarks.gpu.rows import Step
from benchmarks.train import PAPER, measure
from pipeline.evaluate.ranking.counting import rank
from pipeline.evaluate.ranking.positives import Positives


def main() -> None:
    """Measure."""
    step = Step.of_arguments()
    for batch, width, hidden in [(128, 64, 64)] if step.small else [(4096, 512, 1024), (PAPER["batch"], 512, 1024)]:
        row = measure(step.device, batch, width, hidden, repeats=step.size(3, 1))
        figure = f"{row['ours_ms']:.2f} ms, {row['ratio']:.2f} x peer, {row['fraction']:.2f} of product"
        step.measured(f"training step, batch {batch:,}, {width} wide", figure)
    count = step.size(100_000, 1500)
    draw = np.random.default_rng(0)
    first, second = (draw.standard_normal((count, 512), np.float32) for _ in range(2))
    started = time.perf_counter()
    rank(first, second, Positives.diagonal(count), device=step.device)
    step.measured(f"ranks of {count:,} x {count:,}", f"{time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
