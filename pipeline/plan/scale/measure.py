"""The rates of this machine, in a few seconds."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from pipeline.decode.images import decode_image
from pipeline.plan.probe import operations_per_second
from pipeline.plan.scale.rates import Rate, Rates
from pipeline.shard.catalogue import Catalogue
from pipeline.shard.sources.places import LocalFolder
from pipeline.shard.sources.sample import RawMember, RawSample
from pipeline.store.scratch import scratch_database

WRITTEN_BYTES = 64 << 20
PICTURES, PLANNED = 64, 100_000
SIDE, CROP = 256, 224


def measured_rates(device: str, folder: Path) -> Rates:
    """Products on `device`, pictures decoded by one core, bytes hashed and written to `folder`, samples planned."""
    return Rates(
        Rate(operations_per_second(device)), Rate(_decode()), Rate(_write(folder)), Rate(_plan(folder))
    )  # fmt: skip


def _decode() -> float:
    """Pictures of 256 pixels a second, as CLIP prepares them: decoded, cut to 224, normalised."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    content = buffer.getvalue()

    def prepare() -> None:
        image = decode_image(content).resize((CROP, CROP), Image.Resampling.BICUBIC)
        np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1)

    prepare()  # the first one imports

    def many() -> None:
        for _ in range(PICTURES):
            prepare()

    return PICTURES / _seconds(many)


def _write(folder: Path) -> float:
    block = os.urandom(1 << 20)

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            digest = hashlib.sha256()
            for _ in range(WRITTEN_BYTES // len(block)):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

    return WRITTEN_BYTES / _seconds(write)


def _plan(folder: Path) -> float:
    container = LocalFolder("nowhere")

    def plan() -> None:
        with scratch_database(folder) as database:
            catalogue = Catalogue(database)
            for number in range(PLANNED):
                key = f"{number * 7919 % PLANNED:012d}"
                catalogue.add(RawSample(key, {"image": RawMember("jpg", container, (number, 512, 41_000))}))
            catalogue.sort()
            catalogue.cut(2048)

    return PLANNED / _seconds(plan)


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began
