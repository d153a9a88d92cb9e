"""How many pictures the way into the model carries, and what it costs the process that collects them.

    python benchmarks/input_path.py                       JPEGs of 256 pixels to 224, 1 and 2 workers
    python benchmarks/input_path.py --side 500 --json result.json

`limit` is decoding and resizing alone: pictures for each second of one core, resized by Pillow or by torch (the option `resize` of
an OpenCLIP space), or also decoded by torchvision (the option `jpeg: device`, on a CPU). Ours reads the shards, checks their
hashes, decodes in processes that a file cannot take down with it, and has batches ready for the model; the peer is webdataset
in a `DataLoader` of torch, which checks nothing, with the same decoding. Both give uint8 batches [256, 3, 224, 224].

`collector` is the processor time that the process of the model spends on a picture, in microseconds: on all shards less the
first, which also has what is spent once, such as forking processes (`start`, in milliseconds). However many cores
decode, no more than a million through this number come out a second. Unlike a rate it hardly changes while other work
runs; rates are medians of turns in which all ways alternate. Where pictures are decoded in that process, on the device of
the model (`ours on device`), the time of decoding and resizing them is left out.
"""

import argparse
import io
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also runs on a machine where the package is not installed

from pipeline import hashing  # noqa: E402
from pipeline.encode.ahead import short_turns  # noqa: E402
from pipeline.encode.batches import stacked_batches  # noqa: E402
from pipeline.encode.decoders import PROCESSES  # noqa: E402
from pipeline.encode.prepare import prepared_chunks  # noqa: E402
from pipeline.spaces.open_clip.jpeg_decoder import JpegDecoder  # noqa: E402
from pipeline.spaces.open_clip.resize import WAYS, Resizer  # noqa: E402
from pipeline.store.parts.folder import PartFolder  # noqa: E402
from pipeline.store.shards import SHARDS, ShardSample, open_shards, write_shard  # noqa: E402

BATCH, SHARD, DISTINCT, SIZE = 256, 1024, 64, 224


BY_PILLOW, BY_TORCH = (Resizer(PreprocessCfg(size=SIZE), way) for way in WAYS)


# A number of shards to the number of their pictures, after all of these came.
Way = Callable[[int], int]


class Pictures:
    """A space as far as its pictures: decoded, resized, bytes in the order of torch."""

    modalities = ("image",)
    dimension = 1

    def __init__(self, resizer: Resizer) -> None:
        self.resizer = resizer

    def preprocess(self, modality: str, payload: bytes) -> torch.Tensor:
        """One picture [3, 224, 224]."""
        return decoded(payload, self.resizer)


class ByTorchvision(Pictures):
    """The same pictures, decoded by torchvision in this process.

    Attributes:
        seconds: Processor time of each list that was decoded.
    """

    def __init__(self) -> None:
        super().__init__(BY_TORCH)
        self.pictures = JpegDecoder(PreprocessCfg(size=SIZE), "cpu")
        self.on_device = {"image": self.decoded}
        self.seconds: list[float] = []

    def decoded(self, payloads: Sequence[bytes]) -> list[torch.Tensor | None]:
        """Some pictures."""
        before = time.thread_time()
        found = self.pictures(payloads)
        self.seconds.append(time.thread_time() - before)
        return found


def decoded(payload: bytes, resizer: Resizer = BY_PILLOW) -> torch.Tensor:
    """A picture [3, 224, 224], by the steps of OpenCLIP's transform."""
    return resizer(Image.open(io.BytesIO(payload)).convert("RGB"))


BY_TORCHVISION = ByTorchvision()


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--side", type=int, default=256, help="of the pictures, in pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3, help="turns that count, after one that does not")
    parser.add_argument("--json", type=Path, help="write the result here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures = [picture(number, given.side) for number in range(DISTINCT)]
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder) / "shards", pictures, given.samples)
        parts = open_shards(shards).parts
        if len(parts) < 2:
            parser.error(f"--samples: more than {SHARD}, which is one shard")
        ways: dict[str, Way] = {"limit": lambda few: sum(1 for each in pictures * few if decoded(each).numel())}
        ways["limit by torch"] = lambda few: sum(1 for each in pictures * few if decoded(each, BY_TORCH).numel())
        ways["limit by torchvision"] = lambda few: sum(len(BY_TORCHVISION.pictures(pictures)) for _ in range(few))
        for workers in given.workers:
            for name, space in (
                ("", Pictures(BY_PILLOW)),
                (" by torch", Pictures(BY_TORCH)),
                (" on device", BY_TORCHVISION),
            ):
                ways[f"ours{name}, {workers}"] = partial(ours, shards, workers, space)
            ways[f"peer, {workers}"] = partial(peer, shards, workers)
        found = measure(ways, len(parts), given.repeats)
    for name, row in found.items():
        print(
            f"{name:20} {row['rate']:8,.0f} pictures/s {row['collector']:8.1f} us of the collecting process"
            f"  {row['start']:6.1f} ms once"
        )
    if given.json:
        settings = {name: value for name, value in vars(given).items() if name != "json"}
        given.json.write_text(
            json.dumps({"settings": settings, "cores": os.cpu_count(), "ways": found}, indent=1) + "\n"
        )


def measure(ways: dict[str, Way], shards: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Pictures a second, microseconds of this process for each, and milliseconds once: medians of turns."""
    found: dict[str, dict[str, list[float]]] = {name: {"rate": [], "collector": [], "start": []} for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            one, one_spent, _ = timed(way, 1)
            count, spent, seconds = timed(way, shards)
            if turn:
                each = (spent - one_spent) / (count - one)
                found[name]["rate"].append(count / seconds)
                found[name]["collector"].append(1e6 * each)
                found[name]["start"].append(1e3 * (one_spent - one * each))
    return {
        name: {**{kind: statistics.median(all_) for kind, all_ in row.items()}, "collectors": row["collector"]}
        for name, row in found.items()
    }


def timed(way: Way, shards: int) -> tuple[int, float, float]:
    """Pictures, seconds of processor of this process, and seconds."""
    before, start = own_seconds(), time.perf_counter()
    count = way(shards)
    return count, own_seconds() - before, time.perf_counter() - start


def own_seconds() -> float:
    """Processor time of this process without its children, and without what it decodes."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime - sum(BY_TORCHVISION.seconds)


def ours(shards: Path, workers: int, space: Any, few: int) -> int:
    """Number of pictures of the first `few` shards that came as batches, the way `mcr encode` takes them."""
    parts, count = open_shards(shards).parts[:few], 0
    hashing._hashed.clear()  # of earlier turns: a run hashes each shard once
    with short_turns():
        chunks = prepared_chunks(space, "image", shards, parts, workers, BATCH, PROCESSES)
        for _, own in groupby(chunks, key=lambda chunk: chunk.shard.name):
            for batch in stacked_batches(own, BATCH, "cpu"):
                count += len(batch.keys)
                batch.done()
    return count


def peer(shards: Path, workers: int, few: int) -> int:
    """The same with webdataset and a DataLoader, each worker with shards of its own."""
    import webdataset

    paths = [str(shards / part.name) for part in open_shards(shards).parts[:few]]
    data = (
        webdataset.WebDataset(paths, shardshuffle=False, empty_check=False)
        .to_tuple("__key__", "jpg")
        .map_tuple(lambda key: key, decoded)
        .batched(BATCH, partial=True)
    )
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers)
    return sum(len(keys) for keys, _ in loader)


def picture(number: int, side: int) -> bytes:
    """A JPEG with some detail."""
    generator, buffer = np.random.default_rng(number), io.BytesIO()
    coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
    image = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = np.clip(image + generator.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_shards(folder: Path, pictures: list[bytes], count: int) -> Path:
    """A corpus of `count` pictures, in shards as `mcr shard` writes them."""
    shards = PartFolder(folder, SHARDS, {"modalities": ["image"]})
    for first in range(0, count, SHARD):
        keys = [f"{number:08d}" for number in range(first, min(first + SHARD, count))]
        samples = [ShardSample(key, {"jpg": pictures[int(key) % len(pictures)]}) for key in keys]
        name = f"{first // SHARD:05d}.tar"
        shards.commit(name, name, keys, [], lambda path, samples=samples: write_shard(path, samples))
    shards.finish(0)
    return folder


if __name__ == "__main__":
    main()
