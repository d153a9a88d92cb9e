"""The bridge and own blocks over many texts and samples: seconds, and how much memory is taken beside what it starts with.

Both spaces' embeddings are drawn at random, in stores on disk as `mcr encode` writes them. Then the retrieve stage makes texts and means,
the train stage the loadable folder, and samples are embedded. At last all samples of one store go through a projector with random weights and stand
beside their own blocks, a part at a time. Memory must not grow with the number of texts or samples.

    python benchmarks/scale/bridge.py --texts 1000000 --samples 1000000 --dimension 512 --folder /somewhere/large

Most of the time is that of the means, each over 8,192 samples; `--mean-rows` takes fewer, which changes neither what is streamed nor memory.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from pipeline.connect import ConnectedSpace, ProjectorSpec, build_projector
from pipeline.connect.config import PROJECTOR_NAME, load_config
from pipeline.connect.weights import save_projectors
from pipeline.hashing import sha256_file
from pipeline.links import Link, Memory
from pipeline.progress import Silent
from pipeline.retrieve.methods import bridge
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.pseudo_pairs import write_pairs
from pipeline.retrieve.settings import BridgeRetrieveSettings
from pipeline.spaces import SpaceSpec
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PartFolder, Rows, Store, write_rows
from pipeline.train.run import train_connection
from pipeline.train.settings import BridgeTrainSettings

PART_ROWS = 50_000
SPACES = {"clip": ("text", "image"), "clap": ("text", "audio")}
CORPUS = {"text": "texts", "image": "images", "audio": "sounds"}
LINK = Link(
    connection="bridged",
    name="clip-clap",
    spaces=("clip", "clap"),
    overlap="text",
    queries=("texts",),
    memories={
        "clip": Memory(modality="image", corpora=("images",)),
        "clap": Memory(modality="audio", corpora=("sounds",)),
    },
    sets=("texts", "means"),
)


def write_store(embeddings: Path, space: str, modality: str, rows: int, dimension: int) -> None:
    """A store of random unit rows [rows, dimension], part by part: those of the first part, their columns moved on."""
    made = {"spec": asdict(SpaceSpec("compact", f"{space}.pt")), "modalities": list(SPACES[space])}
    made |= {"dimension": dimension, "modality": modality}
    store = PartFolder(embeddings / space / CORPUS[modality] / modality, EMBEDDINGS, made)
    draw = np.random.default_rng([len(space), len(modality), rows])
    drawn = draw.standard_normal((min(PART_ROWS, rows), dimension), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    for number, start in enumerate(range(0, rows, PART_ROWS)):
        count = min(PART_ROWS, rows - start)
        vectors = np.roll(drawn[:count], number, axis=1)
        keys = [f"{start + row:09d}" for row in range(count)]
        content = Rows(keys, {EMBEDDING_COLUMN: vectors}, {})
        store.commit(
            f"part-{number:05d}.parquet", str(start), keys, [], lambda path, c=content: write_rows(path, c, {})
        )
    store.finish(0.0)


def write_stores(embeddings: Path, given: argparse.Namespace) -> None:
    """All stores, each by a process of its own: drawing and hashing millions of rows takes a core a while."""
    rows = {"text": given.texts, "image": given.samples, "audio": getattr(given, "sounds", None) or given.samples}
    works = [
        (embeddings, space, modality, rows[modality], given.dimension)
        for space, modalities in SPACES.items()
        for modality in modalities
    ]
    with ProcessPoolExecutor(min(len(works), os.cpu_count() or 1), get_context("spawn")) as pool:
        list(pool.map(write_store, *zip(*works, strict=True)))


def peak() -> float:
    """Largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def with_projectors(bridge: Path, folder: Path) -> None:
    """A C-MCR connection of the same spaces in `folder`, with random weights."""
    made = load_config(bridge)
    specs = {
        space: ProjectorSpec(
            kind="mlp", input=record.dimension, hidden=2 * record.dimension, dimension=record.dimension
        )
        for space, record in made.spaces.items()
    }
    folder.mkdir()
    save_projectors(folder / PROJECTOR_NAME, {space: build_projector(spec) for space, spec in specs.items()})
    files = {PROJECTOR_NAME: sha256_file(folder / PROJECTOR_NAME)}
    made.model_copy(update={"method": "cmcr", "projectors": specs, "files": files}).save(folder)


def main() -> None:
    """Make the stores, run the stages, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--mean-rows", type=int, default=bridge.MEAN_ROWS, help="Samples of which a mean profile is taken."
    )
    parser.add_argument(
        "--temperature",
        type=float,
        help="A fixed one: no perplexity is solved for, which takes many passes over the texts.",
    )
    parser.add_argument("--embedded", type=int, default=10_000, help="Samples that are embedded by the bridge.")
    parser.add_argument("--folder", type=Path, help="Where to work; by default a temporary folder.")
    parser.add_argument("--json", type=Path, help="Write the results to this file.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bridge.MEAN_ROWS = arguments.mean_rows
    solved = BridgeRetrieveSettings()
    settings = (
        BridgeRetrieveSettings(profile={"temperature": arguments.temperature}) if arguments.temperature else solved
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_stores(folder / "embeddings", arguments)
        found: dict[str, float] = {"start MB": peak()}

        def timed(what: str, since: float) -> None:
            found[f"{what} s"], found[f"{what} MB"] = time.perf_counter() - since, peak()
            print(f"{what}: {found[f'{what} s']:.1f} s, {found[f'{what} MB']:.0f} MB at most", flush=True)

        for each in LINK.sets:
            since = time.perf_counter()
            wanted = PairSet(LINK, "bridge", settings, 0, folder / "embeddings", each)
            write_pairs(wanted, folder / "pairs" / LINK.place / each, "cpu", arguments.threads, 0.0, Silent())
            timed(f"retrieve {each}", since)
        since = time.perf_counter()
        train_connection([(LINK, BridgeTrainSettings())], "bridge", folder / "pairs", folder / "model")
        timed("train", since)
        since = time.perf_counter()
        draw = torch.randn(arguments.embedded, arguments.dimension, generator=torch.Generator().manual_seed(0))
        vectors = torch.nn.functional.normalize(draw, dim=1)
        ConnectedSpace.load(folder / "model").project("clip", vectors, "image")
        timed(f"embed {arguments.embedded:,}", since)
        with_projectors(folder / "model", folder / "projected")
        since, kept = time.perf_counter(), ConnectedSpace.load(folder / "projected", keep=0.9)
        for _, rows in Store.open(folder / "embeddings/clip/images/image").parts([EMBEDDING_COLUMN]):
            assert kept.project("clip", rows.vectors[EMBEDDING_COLUMN], "image").shape[1] == kept.dimension
        timed(f"own blocks of {arguments.samples:,}", since)
    if arguments.json:
        asked = ("texts", "samples", "dimension", "mean_rows", "embedded", "temperature")
        said = {**{name: getattr(arguments, name) for name in asked}, **found}
        arguments.json.write_text(json.dumps({name: round(value, 1) for name, value in said.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
