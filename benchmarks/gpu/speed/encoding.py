"""Encoding from shards to a store beside the bare forward pass, and the parts of the point tower."""

import argparse
import os
import tempfile
from itertools import groupby
from pathlib import Path

import torch

from benchmarks.encode import make_space
from benchmarks.encode import measure as measure_encoding
from benchmarks.gpu.rows import Step
from benchmarks.pointbert import measure as measure_points
from pipeline.errors import UserError
from pipeline.precision import multiplying

# Options of the space, by what a row says of them.
AS_OPENCLIP, RESIZED, DECODED = "", ", resized by torch", ", decoded on the device"
OPTIONS = {AS_OPENCLIP: {}, RESIZED: {"resize": "torch"}, DECODED: {"jpeg": "device"}}
# What is short comes first: pictures take half a minute. By precision, options, modality, samples and batch.
RUNS = (
    ("bf16", AS_OPENCLIP, "text", 8192, 1024),
    ("bf16", AS_OPENCLIP, "image", 4096, 1024),
    ("bf16", RESIZED, "image", 4096, 1024),
    ("bf16", DECODED, "image", 16384, 1024),
    ("fp32", AS_OPENCLIP, "image", 1024, 256),
)
SMALL = (("fp32", RESIZED, "image", 8, 4), ("fp32", DECODED, "image", 8, 4))


def main() -> None:
    """Measure clouds, texts, and pictures in two precisions."""
    step = Step.of_arguments()
    clouds, points = step.size(64, 1), step.size(8192, 1024)
    seconds = measure_points(torch.device(step.device), clouds, points, step.size(3, 1), "fp32")
    parts = ", ".join(f"{name} {spent / sum(seconds.values()):.0%}" for name, spent in seconds.items())
    step.measured(f"PointBERT, {clouds} clouds of {points:,}", f"{clouds / sum(seconds.values()):,.1f}/s")
    step.measured("PointBERT, where its time goes", parts)
    workers = min(16, os.cpu_count() or 1)
    for (precision, how), jobs in groupby(SMALL if step.small else RUNS, key=lambda run: run[:2]):
        given = argparse.Namespace(precision=precision, device=step.device, workers=workers, repeats=1)
        with tempfile.TemporaryDirectory() as folder:
            try:
                spec, space = make_space("open_clip", Path(folder), given, step.architecture, OPTIONS[how])
            except UserError as error:
                step.holds(f"{step.architecture} in {precision}{how}", False, error.message)
                continue
            for _, _, modality, given.samples, given.batch in jobs:
                row = measure_encoding(spec, space, "open_clip", modality, Path(folder), given)
                rates = row["rates"]
                figure = f"{rates['whole']:,.0f}/s, {row['ratio']:.2f} of bare, input {rates['input']:,.0f}/s"
                step.measured(f"{step.architecture} {modality} in {precision}, batches of {given.batch}{how}", figure)
    if step.device == "cuda":
        compiled(step)


def compiled(step: Step) -> None:
    """The bare forward pass as torch compiles it, which ours is not: a stage would compile for longer than it encodes."""
    size = 1024
    with tempfile.TemporaryDirectory() as folder, multiplying("bf16"), torch.inference_mode():
        given = argparse.Namespace(precision="bf16", device=step.device)
        _, space = make_space("open_clip", Path(folder), given, step.architecture)
        forward = torch.compile(space.model.encode_image)
        pictures = torch.randn(size, 3, 224, 224, device=step.device, dtype=torch.bfloat16)
        step.measured(
            f"{step.architecture} image in bf16, bare and compiled",
            f"{size / step.seconds(lambda: forward(pictures)):,.0f}/s",
        )


if __name__ == "__main__":
    main()
