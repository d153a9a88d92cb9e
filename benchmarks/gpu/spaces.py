"""The frozen spaces on the device against the CPU, pictures decoded there, and a batch that does not fit into its memory."""

import argparse
import logging
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.encode import make_space, payload
from benchmarks.gpu.rows import Step
from benchmarks.input_path import picture
from pipeline.encode.fitting import FittingEncoder
from pipeline.errors import UserError
from pipeline.spaces import Space, SpaceSpec, load_space
from tests.spaces.open_clip.test_jpeg_decoder import OTHERS
from tests.spaces.ulip2.test_ulip2 import cloud_file, random_tensors, save

# Smallest cosine with what the CPU computes in fp32. Small towers with batch norms keep fewer digits of bf16.
EXACT, SHORT = 0.99999, {"open_clip": 0.999, "compact": 0.99, "ulip2": 0.99}


def cases(folder: Path, step: Step) -> Iterator[tuple[SpaceSpec, str, list[bytes]]]:
    """Spaces of random weights, with samples of each modality."""
    count = step.size(64, 4)
    given = argparse.Namespace(precision="fp32", device="cpu")
    for family, modalities in (("compact", ("text", "image", "audio", "point")), ("open_clip", ("text", "image"))):
        spec, _ = make_space(family, folder, given, step.architecture)
        for modality in modalities:
            yield spec, modality, [payload(family, modality, number) for number in range(count)]
    if step.small:  # 700 MB of weights
        return
    spec = SpaceSpec("ulip2", str(save(folder, random_tensors())), options={"points": 2048})
    yield spec, "point", [cloud_file(2048, number) for number in range(max(2, count // 8))]


def compare(step: Step, spec: SpaceSpec, modality: str, payloads: list[bytes]) -> None:
    """The smallest cosine of a row on the device with the same row on the CPU, in fp32 and in bf16."""
    cpu = load_space(spec)
    batch = torch.stack([cpu.preprocess(modality, each) for each in payloads])
    expected = cpu.encode(modality, batch)
    for precision, limit in (("fp32", EXACT), ("bf16", SHORT[spec.encoder])):
        found = load_space(replace(spec, precision=precision), step.device).encode(modality, batch)
        name = f"{spec.encoder} {modality} in {precision}: cosine with the CPU's"
        step.at_least(name, float((found * expected).sum(1).min()), limit)


def jpegs_decoded_there(step: Step, spec: SpaceSpec) -> None:
    """Pictures that the device decodes against those of Pillow: embeddings, files that only Pillow takes, and damaged ones."""
    by_pillow, files = load_space(spec), [picture(number, 256 + number % 5) for number in range(step.size(64, 8))]
    try:
        there: Any = load_space(replace(spec, options={"jpeg": "device"}), step.device)
    except UserError as error:
        step.holds("pictures are decoded on the device", False, error.message)
        return
    expected = torch.stack([by_pillow.preprocess("image", each) for each in files])
    decoded = [one for one in there.on_device["image"](files) if one is not None]
    step.holds("the device decodes all whole JPEGs", len(decoded) == len(files), f"{len(decoded)} of {len(files)}")
    if len(decoded) < len(files):
        return
    found = torch.stack(decoded)
    apart = (found.cpu().int() - expected.int()).abs()
    step.measured(
        "pictures decoded on the device: steps of 255 from Pillow's",
        f"{apart.float().mean():.2g} mean, {apart.max()} largest",
    )
    cosines = (there.encode("image", found) * by_pillow.encode("image", expected)).sum(1)
    step.at_least("pictures decoded on the device: mean cosine with the CPU's", float(cosines.mean()), 0.9995)
    step.at_least("pictures decoded on the device: smallest cosine", float(cosines.min()), 0.995)
    among = there.on_device["image"]([each for other in OTHERS.values() for each in (files[0], other)])
    alike = all(one is not None and torch.equal(one, found[0]) for one in among[::2]) and among[1::2] == [None] * len(
        OTHERS
    )
    step.holds("files that the device cannot decode are left out and harm no neighbour", alike)
    step.measured(
        "files with a damaged body, decoded on the device", _damaged(there, by_pillow, files, step.size(200, 20))
    )


def _damaged(there: Any, by_pillow: Space, files: list[bytes], count: int) -> str:
    """How many of `count` files the device takes whose codes are damaged, and how many of these look otherwise to Pillow."""
    draw, taken, other = random.Random(0), 0, 0
    for number in range(count):
        content = bytearray(files[number % len(files)])
        for _ in range(3):
            content[draw.randrange(content.index(b"\xff\xda") + 20, len(content) - 2)] = draw.randrange(255)
        [picture] = there.on_device["image"]([bytes(content)])
        if picture is not None:
            taken += 1
            other += int(
                (picture.cpu().float() - by_pillow.preprocess("image", bytes(content)).float()).abs().mean() > 4
            )
    return f"{taken} of {count} taken, {other} of them unlike Pillow's"


def memory(step: Step, spec: SpaceSpec, count: int) -> None:
    """A batch that does not fit is halved until it does, and gives the same rows."""
    name = "a batch too large for the memory is halved"
    if step.device == "cpu":
        step.skipped(name, "its memory cannot be limited")
        return
    space = load_space(spec, step.device)
    one = space.preprocess("image", payload("open_clip", "image", 0))
    batch = one.repeat(count, 1, 1, 1)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 2**30) / total))
    encode = FittingEncoder(space, "image")
    rows = encode(batch)
    torch.cuda.set_per_process_memory_fraction(1.0)
    alone = space.encode("image", one[None])
    step.holds(name, encode.largest is not None, f"{encode.largest} of {count:,} at a time")
    step.at_most("halved: largest difference to a row alone", float((rows - alone).abs().max()), 1e-4)


def main() -> None:
    """Compare all."""
    step = Step.of_arguments()
    logging.getLogger("pipeline").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for spec, modality, payloads in cases(Path(folder), step):
            compare(step, spec, modality, payloads)
        path = Path(folder, f"{step.architecture}.pt")
        spec = SpaceSpec("open_clip", str(path), model=step.architecture)
        jpegs_decoded_there(step, spec)
        memory(step, spec, 8192)


if __name__ == "__main__":
    main()
