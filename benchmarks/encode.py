"""How near encoding comes to the bare forward rate: files in shards to a store on disk, against the model alone.

    python benchmarks/encode.py                        ViT-B-32 and the compact space, random weights
    python benchmarks/encode.py --only compact         a few seconds
    python benchmarks/encode.py --device cuda --precision bf16 --samples 20000 --workers 16 --json result.json

Both run alternately in one process, with the same model, threads and precision, on the same samples, whose shards the system
holds in memory. The bare rate is `encode` on batches that are decoded and lie in memory; the whole job verifies and reads
shards, decodes, encodes, checks, and writes the store with its manifest. A ratio of 1 says that all of this hides behind the
model; it is of medians over the repeats. `input` is the rate of the job without the model: where it is below the bare rate, as
for towers that are cheaper than decoding what they take, no job can reach 0.9.
Decoding needs cores, so on a CPU one is left to it: `--threads` is what the model gets, in both. Give it all, and the ratio
also says what decoding costs the model.
`untrimmed` is the rate of OpenCLIP's own text tower, which computes the padding too.
"""

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also runs on a machine where the package is not installed

from pipeline.allocator import keep_freed_memory  # noqa: E402
from pipeline.encode.ahead import short_turns  # noqa: E402
from pipeline.encode.batches import stacked_batches  # noqa: E402
from pipeline.encode.decoders import AUTO  # noqa: E402
from pipeline.encode.job import EncodeSettings, encode_corpus  # noqa: E402
from pipeline.encode.prepare import Chunk, prepared_chunks  # noqa: E402
from pipeline.precision import PRECISIONS, multiplying  # noqa: E402
from pipeline.progress import Silent  # noqa: E402
from pipeline.spaces import Space, SpaceSpec, load_space  # noqa: E402
from pipeline.spaces.compact.space import CompactModel, save_compact  # noqa: E402
from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, PointSettings, TextSettings  # noqa: E402
from pipeline.store.parts.folder import PartFolder  # noqa: E402
from pipeline.store.shards import SHARDS, ShardSample, open_shards, write_shard  # noqa: E402

CAPTION = "a the red blue small large dog cat ball table man woman on under near two three running sleeping wooden"
WORDS = CAPTION.split()
CASES = [("open_clip", "image"), ("open_clip", "text")] + [
    ("compact", modality) for modality in ("text", "image", "audio", "point")
]
EXTENSIONS = {"text": "txt", "image": "jpg", "audio": "flac", "point": "npy"}
# What one core of a small machine encodes in a few seconds.
SAMPLES = {"open_clip": 128, "compact": 4096}
SHARD = 1024
# Files that are made; larger corpora hold them several times, which costs a decoder the same.
DISTINCT = 256


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SAMPLES, help="one of the spaces")
    parser.add_argument("--samples", type=int, help="of each corpus")
    parser.add_argument("--batch", type=int, default=64, help="samples in a forward pass")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode; threads for texts on a CPU")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="of the model")
    parser.add_argument("--repeats", type=int, default=3, help="turns that count, after one that does not")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the result here")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()  # as the stage does; the bare forward pass gains as much
    cases = [case for case in CASES if given.only in (None, case[0])]
    with tempfile.TemporaryDirectory() as folder:
        spaces = {family: make_space(family, Path(folder), given) for family, _ in dict(cases).items()}
        rows = [measure(*spaces[family], family, modality, Path(folder), given) for family, modality in cases]
    show(rows, given)
    if given.json:
        result = {"machine": machine(given), "settings": {**vars(given), "json": None}, "rows": rows}
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def make_space(
    family: str,
    folder: Path,
    given: argparse.Namespace,
    architecture: str = "ViT-B-32",
    options: Mapping[str, str] = MappingProxyType({}),
) -> tuple[SpaceSpec, Space]:
    """A space of random weights, loaded from a file as a real one is; `architecture` and `options` are OpenCLIP's."""
    torch.manual_seed(0)
    if family == "compact":
        towers = {
            "text": TextSettings(tuple(WORDS)),
            "image": ImageSettings(),
            "audio": AudioSettings(),
            "point": PointSettings(),
        }
        save_compact(folder / "compact", CompactModel(128, towers))
        spec = SpaceSpec("compact", str(folder / "compact"), precision=given.precision)
    else:
        import open_clip

        path = folder / f"{architecture}.pt"
        torch.save(open_clip.create_model(architecture).state_dict(), path)
        spec = SpaceSpec("open_clip", str(path), architecture, precision=given.precision, options=dict(options))
    return spec, load_space(spec, given.device)


@lru_cache(DISTINCT)
def payload(family: str, modality: str, number: int) -> bytes:
    """One file: a caption, a picture of 256 pixels (32 for the compact space), 0.8 s of sound, a cloud of 512 points."""
    generator, buffer = np.random.default_rng(number), io.BytesIO()
    if modality == "text":
        return " ".join(generator.choice(WORDS, generator.integers(6, 18))).encode()
    if modality == "image":
        side = 32 if family == "compact" else 256
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    elif modality == "audio":
        import soundfile

        soundfile.write(buffer, generator.uniform(-0.5, 0.5, 6400), 8000, format="FLAC")
    else:
        np.save(buffer, generator.random((512, 6), np.float32))
    return buffer.getvalue()


def make_shards(folder: Path, family: str, modality: str, count: int) -> Path:
    """A corpus of `count` samples, in shards as `mcr shard` writes them."""
    shards = PartFolder(folder, SHARDS, {"modalities": [modality]})
    for first in range(0, count, SHARD):
        keys = [f"{number:08d}" for number in range(first, min(first + SHARD, count))]
        samples = [
            ShardSample(key, {EXTENSIONS[modality]: payload(family, modality, int(key) % DISTINCT)}) for key in keys
        ]
        name = f"{first // SHARD:05d}.tar"
        shards.commit(name, name, keys, [], lambda path, samples=samples: write_shard(path, samples))
    shards.finish(0)
    return folder


def measure(
    spec: SpaceSpec, space: Space, family: str, modality: str, folder: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Rates of the whole job and of the model alone, in samples per second."""
    count = given.samples or SAMPLES[family]
    shards = make_shards(folder / f"{family}-{modality}", family, modality, count)
    made = [space.preprocess(modality, payload(family, modality, number)) for number in range(min(count, DISTINCT))]
    batches = batches_of(made, count, given.batch)
    stores = iter(folder / f"{family}-{modality}-{turn}" for turn in range(given.repeats + 1))
    parts = open_shards(shards).parts
    settings = EncodeSettings(given.batch, given.workers, 0.0, given.device, AUTO)
    runs: dict[str, Callable[[], object]] = {
        "bare": lambda: [space.encode(modality, batch) for batch in batches],
        "input": lambda: drained(
            prepared_chunks(space, modality, shards, parts, given.workers, given.batch, AUTO, given.device), given
        ),
        "whole": lambda: encode_corpus(space, family, spec, shards, next(stores), settings, Silent()),
    }
    if (family, modality) == ("open_clip", "text"):
        runs["untrimmed"] = lambda: library_text(space, batches)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(given.repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn:  # the first turn warms up
                times[name].append(time.perf_counter() - started)
    rates = {name: count / statistics.median(each) for name, each in times.items()}
    return {"space": family, "modality": modality, "samples": count, "rates": rates,
            "ratio": rates["whole"] / rates["bare"], "seconds": times}  # fmt: skip


def batches_of(made: list[torch.Tensor], count: int, size: int) -> list[torch.Tensor]:
    """Batches of `count` samples, `made` again and again; equal ones are one, for large ones are slow to put together."""

    @lru_cache(None)
    def stacked(start: int, length: int) -> torch.Tensor:
        return torch.stack([made[number % len(made)] for number in range(start, start + length)])

    return [stacked(first % len(made), min(size, count - first)) for first in range(0, count, size)]


def drained(chunks: Iterable[Chunk], given: argparse.Namespace) -> None:
    """Take all of them as batches, shard by shard, and keep none."""
    with short_turns():
        for _, own in groupby(chunks, key=lambda chunk: chunk.shard.name):
            for batch in stacked_batches(own, given.batch, given.device):
                batch.done()


@torch.inference_mode()
@multiplying()
def library_text(space: Any, batches: list[torch.Tensor]) -> None:
    """OpenCLIP's own text tower on the same batches."""
    for batch in batches:
        space.model.encode_text(batch.to(space.device), normalize=True).float().cpu()


def show(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """Print the table."""
    about = machine(given)
    print(
        f"{about['device']}, {given.precision}, batches of {given.batch}, {given.workers} workers; samples/s, medians"
    )
    print(
        f"{'space':10} {'modality':9} {'samples':>8} {'bare':>9} {'input':>9} {'whole job':>10} {'ratio':>6} {'untrimmed':>10}"
    )
    for row in rows:
        rates = row["rates"]
        untrimmed = f"{rates['untrimmed']:10.1f}" if "untrimmed" in rates else ""
        print(f"{row['space']:10} {row['modality']:9} {row['samples']:8,} {rates['bare']:9.1f} {rates['input']:9.1f} {rates['whole']:10.1f} "
              f"{row['ratio']:6.2f} {untrimmed}")  # fmt: skip


def machine(given: argparse.Namespace) -> dict[str, object]:
    """What the figures were measured on."""
    cpu = f"{platform.machine()}, {given.threads} of {os.cpu_count()} threads for the model"
    return {
        "device": torch.cuda.get_device_name() if given.device.startswith("cuda") else cpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
