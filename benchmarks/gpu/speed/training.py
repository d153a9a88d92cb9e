"""Steps of the training beside the textbook step and the products in them, and ranks of a large gallery."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.gpu.rows import Step
from benchmarks.train import PAPER, measure, our_step, random_tables
from pipeline.evaluate.ranking.counting import rank
from pipeline.evaluate.ranking.positives import Positives
from pipeline.train.info_nce import kernels
from pipeline.train.info_nce.tiled import TiledInfoNCE

WIDTH, HIDDEN = 512, 1024
LARGE = 65_536  # pairs in a step whose scores, 17 GB, are never held


def main() -> None:
    """Measure."""
    step = Step.of_arguments()
    for batch in (128,) if step.small else (4096, int(PAPER["batch"])):
        for precision in ("fp32", "bf16"):
            steps(step, batch, precision)
    for precision in ("bf16", "fp32"):
        large(step, precision)
    losses(step)
    ranks(step)


def steps(step: Step, batch: int, precision: str) -> None:
    """With and without the graph."""
    width, hidden = (64, 64) if step.small else (WIDTH, HIDDEN)
    for name, record in (("", None), (", without graph", False)):
        row = measure(step.device, batch, width, hidden, step.size(3, 1), precision, record, calls=step.size(10, 1))
        figure = f"{row['ours_ms']:.2f} ms, {row['ratio']:.2f} x peer, {row['fraction']:.2f} of product"
        step.measured(f"training step of {batch:,} in {precision}{name}", figure)


def large(step: Step, precision: str) -> None:
    """One step of a batch whose scores do not fit, and the most memory that it took."""
    batch, width, hidden = step.size(LARGE, 256), step.size(WIDTH, 32), step.size(HIDDEN, 32)
    if step.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    work = our_step(random_tables(batch * 4, width, step.device), batch, width, hidden, step.device, precision)
    took = step.seconds(work, repeats=2)
    most = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most" if step.device == "cuda" else ""
    step.measured(f"training step of {batch:,} in {precision}", f"{took * 1e3:,.1f} ms{most}")


def losses(step: Step) -> None:
    """One InfoNCE with its gradient, by size of block and by who does what is not a product."""
    batch, width = step.size(4096, 128), step.size(WIDTH, 32)
    first, second = (normalize(torch.randn(batch, width, device=step.device), dim=1).requires_grad_() for _ in "ab")
    usual = kernels.work_on

    def time_of(height: int) -> Callable[[], None]:
        elements = batch * height

        def work() -> None:
            for _ in range(step.size(20, 1)):
                loss = TiledInfoNCE.apply(first, second, 0.01, torch.bfloat16, elements)
                torch.autograd.grad(loss, [first, second])

        return work

    for name, used in (("", usual), (", plain torch", lambda factors: False)):
        kernels.work_on = used
        for height in (batch, batch // 2, batch // 4, batch // 8):
            took = step.seconds(time_of(height), repeats=2) / step.size(20, 1)
            step.measured(f"InfoNCE of {batch:,} in bf16, blocks of {height:,}{name}", f"{took * 1e3:.3f} ms")
    kernels.work_on = usual


def ranks(step: Step) -> None:
    """Of a large gallery."""
    count = step.size(100_000, 1500)
    draw = np.random.default_rng(0)
    first, second = (draw.standard_normal((count, 512), np.float32) for _ in range(2))
    started = time.perf_counter()
    rank(first, second, Positives.diagonal(count), device=step.device)
    step.measured(f"ranks of {count:,} x {count:,}", f"{time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
