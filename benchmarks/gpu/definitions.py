"""Aggregation and sampling against their definitions in float64, and ranks against those of the CPU."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.gpu.rows import Step
from pipeline.evaluate.ranking.counting import rank_both
from pipeline.evaluate.ranking.positives import Positives
from pipeline.precision import PRECISIONS
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.sampling import sample

WIDTH = 256
# Largest difference of one number of an average of unit rows; 16-bit weights keep 11 and 8 bits.
LIMITS = {"fp32": 3e-5, "fp16": 5e-4, "bf16": 4e-3}


def draw(count: int, seed: int, device: str) -> Tensor:
    """Random unit rows."""
    rows = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
    return normalize(rows, dim=1).to(device)


def definition(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """The average in float64, a few queries at a time."""
    keys = keys.double()
    parts = [torch.softmax(few.double() @ keys.T / temperature, 1) @ keys for few in queries.split(512)]
    return torch.cat(parts)


def aggregation(step: Step) -> None:
    """The cases that go wrong: one row has all of the weight, all rows have some, rows of any length, odd numbers of rows."""
    queries, keys = draw(step.size(2048, 200), 1, step.device), draw(step.size(40_000, 3000), 2, step.device)
    near = normalize(keys[: len(queries)] + 0.3 * queries, dim=1)
    cases = {
        "peaked": (near, keys, 0.01),
        "flat": (queries, keys, 1.0),
        "rows of any length": (3 * queries, 3 * keys, 0.5),
        "one row": (queries, keys[:1], 0.01),
        "odd sizes": (queries[:97], keys[:1009], 0.05),
    }
    for precision, limit in LIMITS.items():
        if step.device == "cpu" and precision != "fp32":
            continue  # converted to float32 there
        for name, (asked, memory, temperature) in cases.items():
            held = [rows.to(PRECISIONS[precision]) for rows in (asked, memory)]
            found = aggregate(held[0], held[1], (held[1],), temperature).vectors[0]
            error = (found.double() - definition(held[0], held[1], temperature)).abs().max()
            step.at_most(f"aggregation, {name}, {precision}: error", float(error), limit)


def sampling(step: Step) -> None:
    """Frequencies of the draws against the probabilities, as Pearson's statistic in standard deviations."""
    queries, keys, temperature, draws = draw(4, 3, step.device), draw(300, 4, step.device), 0.05, 20_000
    found = sample(queries, keys, temperature, draws, torch.Generator(step.device).manual_seed(0)).rows.cpu()
    expected = torch.softmax(queries.double() @ keys.double().T / temperature, 1).cpu().numpy() * draws
    worst = 0.0
    for counts, each in zip((np.bincount(row, minlength=len(keys)) for row in found), expected, strict=True):
        rare = each < 10
        grouped = [np.append(values[~rare], values[rare].sum()) for values in (counts, each)]
        degrees = len(grouped[0]) - 1
        statistic = (np.square(grouped[0] - grouped[1]) / np.maximum(grouped[1], 1e-9)).sum()
        worst = max(worst, float(statistic - degrees) / np.sqrt(2 * degrees))
    step.at_most("sampling: chi-square, standard deviations", worst, 5.0)


def ranks(step: Step) -> None:
    """Every rank of the device is that of the CPU, with many ties, in a process that allows TF32."""
    torch.set_float32_matmul_precision("medium")
    count = step.size(6000, 500)
    first, second = (draw(count, seed, "cpu").numpy() for seed in (5, 6))
    second[count // 2 :] = second[: count - count // 2]
    pairs = Positives.diagonal(count)
    sides = zip(rank_both(first, second, pairs, device=step.device), rank_both(first, second, pairs), strict=True)
    differing = sum(int((a.above != b.above).sum() + (a.tied != b.tied).sum()) for a, b in sides)
    step.at_most("ranks that differ from the CPU's", differing, 0)


def main() -> None:
    """Check all three."""
    step = Step.of_arguments()
    aggregation(step)
    sampling(step)
    ranks(step)


if __name__ == "__main__":
    main()
