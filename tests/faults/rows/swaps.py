"""Whole, valid files in the place of others: another part, corpus, modality, space, older values."""

import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.lab import Lab
from tests.faults.row import Row, Trial, said_clearly
from tests.faults.rows import stage_mutants

# By stage: what is put (first) in the place of what (second); files or folders.
SWAPS = {
    "encode-clip": [
        ("data/shards/photos/00000.tar", "data/shards/photos/00001.tar"),
        ("data/shards/sounds", "data/shards/photos"),
        ("data/shards/photos/_manifest.json", "data/shards/heldout/_manifest.json"),
    ],
    "retrieve": [
        (
            "data/embeddings/clip/photos/image/part-00000.parquet",
            "data/embeddings/clip/photos/image/part-00001.parquet",
        ),
        ("data/embeddings/ulip/photos/image", "data/embeddings/clip/photos/image"),
        ("data/embeddings/clip/captions/text", "data/embeddings/clip/photos/image"),
        ("data/embeddings/clip/heldout/image", "data/embeddings/clip/photos/image"),
        ("data/embeddings/clap/captions/text", "data/embeddings/clip/captions/text"),
    ],
    "train": [
        ("data/pairs/unified/clap/base/part-00000.parquet", "data/pairs/unified/clap/base/part-00001.parquet"),
        ("data/pairs/unified/ulip/base", "data/pairs/unified/clap/base"),
        ("data/pairs/unified/clap/leaf", "data/pairs/unified/clap/base"),
    ],
    "evaluate": [
        ("data/models/unified/ulip/projector.safetensors", "data/models/unified/clap/projector.safetensors"),
        ("data/embeddings/clip/photos/image", "data/embeddings/clip/heldout/image"),
        ("data/embeddings/ulip/heldout/image", "data/embeddings/clip/heldout/image"),
    ],
}


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Each pair that can be named; quick: two of each stage."""
    for stage, pairs in SWAPS.items():
        for source, place in draw.sample(pairs, 2) if quick else pairs:
            yield Trial(f"{stage}: {source} as {place}", partial(attempt, stage=stage, source=source, place=place))


def attempt(lab: Lab, stage: str, source: str, place: str) -> list[str]:
    """Put one in the place of the other and run the stage that reads it."""
    lab.restore(stage)
    put(lab.trial / source, lab.trial / place)
    outcome = lab.run(stage)
    if outcome.status:
        return said_clearly(outcome, (1, 2))
    found, whole = lab.results(stage), lab.reference[stage]
    numbers = [name for name in whole if not name.endswith(".json") and found.get(name) != whole[name]]
    return [f"silent: {', '.join(numbers[:3])}"] if numbers else []


def put(source: Path, place: Path) -> None:
    """A copy of `source` in the place of `place`."""
    if source.is_dir():
        shutil.rmtree(place)
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)


def broken() -> None:
    """Files are not compared with what the manifest says of them."""
    stage_mutants.broken()


ROW = Row("files in the place of others", ("silent", "says bug", "exit code"), trials, broken)
