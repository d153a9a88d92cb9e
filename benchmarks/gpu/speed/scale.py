"""Coupling and joint coupling over a million texts and a million samples of each memory."""

import argparse
import tempfile
from pathlib import Path

from benchmarks.bridge import write_stores
from benchmarks.coupling import SETTINGS, measure
from benchmarks.gpu.rows import Step


def main() -> None:
    """Measure."""
    step = Step.of_arguments()
    count, dimension = step.size(1_000_000, 500), step.size(512, 32)
    given = argparse.Namespace(texts=count, samples=count, dimension=dimension, batch=step.size(4096, 128), threads=2,
                               device=step.device)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_stores(Path(folder, "embeddings"), given)
        for method in SETTINGS:
            for what, value in measure(Path(folder), method, given).items():
                step.measured(f"{count:,} rows: {what}", f"{value:,.1f}")


if __name__ == "__main__":
    main()
