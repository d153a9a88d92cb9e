"""Coupling and joint coupling over 250,000 texts and as many samples of each memory; `benchmarks/scale/coupling.py` takes more."""

import argparse
import tempfile
from pathlib import Path

from benchmarks.gpu.rows import Step
from benchmarks.scale.bridge import write_stores
from benchmarks.scale.coupling import SETTINGS, measure


def main() -> None:
    """Measure."""
    step = Step.of_arguments()
    count, dimension = step.size(250_000, 500), step.size(512, 32)
    given = argparse.Namespace(texts=count, samples=count, dimension=dimension, width=dimension, batch=step.size(4096, 128), threads=2,
                               device=step.device)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_stores(Path(folder, "embeddings"), given)
        for method in SETTINGS:
            for what, value in measure(Path(folder), method, given).items():
                step.measured(f"{count:,} rows: {what}", f"{value:,.1f}")


if __name__ == "__main__":
    main()
