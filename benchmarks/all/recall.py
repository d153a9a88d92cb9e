"""Recall of both directions over a gallery as large as the queries, beside blocks of scores and their top 10, which is how
CLIP_benchmark counts it: ``python -m benchmarks.all.recall --json FILE``.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.evaluate.ranking.counting import rank_both
from pipeline.evaluate.ranking.metrics import hits
from pipeline.evaluate.ranking.positives import Positives
from pipeline.precision import multiplying

WIDTH, BLOCK, AT = 512, 1024, (1, 5, 10)


def main() -> None:
    """Either way and the products alone, in turns, after one that warms up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    given = parser.parse_args()
    source = torch.Generator().manual_seed(0)
    first = normalize(torch.randn(given.rows, WIDTH, generator=source), dim=1)
    second = normalize(first + 6 * WIDTH**-0.5 * torch.randn(given.rows, WIDTH, generator=source), dim=1)
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(first.numpy(), second.numpy()),
        "peer": lambda: [blockwise(*sides) for sides in ((first, second), (second, first))],
        "products": lambda: products(first, second),
    }
    found, seconds = {name: way() for name, way in ways.items()}, dict[str, list[float]]()
    if not np.allclose(found["ours"], found["peer"], atol=1e-6):
        raise SystemExit(f"The two find other recalls: {found['ours']} and {found['peer']}.")
    for _ in range(3):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    result = {name: statistics.median(each) for name, each in seconds.items()}
    given.json.write_text(
        json.dumps(result | {"rows": given.rows, "recalls": found["ours"], "samples": seconds}, indent=1) + "\n"
    )


@multiplying()
def ours(first: np.ndarray, second: np.ndarray) -> list[list[float]]:
    """Recalls of both directions, from the ranks that `mcr evaluate` counts."""
    positives = Positives.diagonal(len(first))
    return [[float(hits(counts, k).mean()) for k in AT] for counts in rank_both(first, second, positives)]


@multiplying()
def blockwise(queries: Tensor, gallery: Tensor) -> list[float]:
    """Recalls of one direction, from the ten best of each query."""
    found = torch.zeros(len(AT))
    for start in range(0, len(queries), BLOCK):
        best = (queries[start : start + BLOCK] @ gallery.T).topk(max(AT), dim=1).indices
        right = best == torch.arange(start, start + len(best))[:, None]
        found += torch.tensor([float(right[:, :k].any(1).sum()) for k in AT])
    return (found / len(queries)).tolist()


@multiplying()
def products(first: Tensor, second: Tensor) -> None:
    """The scores of one sweep, which is all that both directions need."""
    for start in range(0, len(first), BLOCK):
        first[start : start + BLOCK] @ second.T


if __name__ == "__main__":
    main()
