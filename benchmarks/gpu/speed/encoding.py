"""Encoding from shards to a store beside the bare forward pass, and the parts of the point tower."""

import argparse
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.encode import make_space
from benchmarks.encode import measure as measure_encoding
from benchmarks.gpu.rows import Step
from benchmarks.pointbert import measure as measure_points


def main() -> None:
    """Measure pictures in two precisions, texts, and clouds."""
    step = Step.of_arguments()
    workers = min(16, os.cpu_count() or 1)
    runs = {"fp32": [("image", 2048, 256)], "bf16": [("image", 8192, 1024), ("text", 20_000, 1024)]}
    for precision, jobs in {"fp32": [("image", 8, 4)]}.items() if step.small else runs.items():
        given = argparse.Namespace(precision=precision, device=step.device, workers=workers, repeats=1)
        with tempfile.TemporaryDirectory() as folder:
            spec, space = make_space("open_clip", Path(folder), given, step.architecture)
            for modality, given.samples, given.batch in jobs:
                row = measure_encoding(spec, space, "open_clip", modality, Path(folder), given)
                rates = row["rates"]
                figure = f"{rates['whole']:,.0f}/s, {row['ratio']:.2f} of bare, input {rates['input']:,.0f}/s"
                step.measured(f"{step.architecture} {modality} in {precision}, batches of {given.batch}", figure)
    clouds, points = step.size(64, 1), step.size(8192, 1024)
    seconds = measure_points(torch.device(step.device), clouds, points, step.size(3, 1), "fp32")
    parts = ", ".join(f"{name} {spent / sum(seconds.values()):.0%}" for name, spent in seconds.items())
    step.measured(f"PointBERT, {clouds} clouds of {points:,}", f"{clouds / sum(seconds.values()):,.1f}/s")
    step.measured("PointBERT, where its time goes", parts)


if __name__ == "__main__":
    main()
