"""How the time of the parts grows with the data, at four sizes: ``python -m benchmarks.all.growth --json FILE``.

A slope of 1 on logarithmic axes is linear. Sizes are large enough that starting up does not hide it.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.encode import make_shards, make_space
from benchmarks.train import QUICK, heads_of, objective_of, random_tables, settings_of
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.evaluate.ranking.counting import rank
from pipeline.evaluate.ranking.positives import Positives
from pipeline.progress import Silent
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.shard.build import build_shards
from pipeline.shard.build import settings_of as corpus_settings
from pipeline.shard.settings import CorpusSettings
from pipeline.store import Rows, read_rows, write_rows
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.loop import Trainer
from pipeline.train.steps.draws import Draws

SIZES = (1, 2, 4, 8)
REPEATS = 3


def main() -> None:
    """Time each part at each size; the fastest of some repeats counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    found = {}
    for part in (shard, encode, scan, retrieve, train, evaluate):
        with tempfile.TemporaryDirectory() as folder:
            work = [part(size, Path(folder) / str(size)) for size in SIZES]
            seconds = [min(timed(one) for _ in range(REPEATS)) for one in work]
        found[part.__name__] = slope(seconds)
        print(part.__name__, [round(each, 3) for each in seconds], f"slope {found[part.__name__]:.2f}")
    given.json.write_text(json.dumps(found, indent=1) + "\n")


def slope(seconds: list[float]) -> float:
    """Of time over size, by least squares on logarithmic axes."""
    return float(np.polyfit([math.log(size) for size in SIZES], [math.log(each) for each in seconds], 1)[0])


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def shard(size: int, folder: Path) -> Callable[[], object]:
    """Shards of 2,000 x `size` captions, each time into a new folder."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for number in range(2000 * size):
        (raw / f"{number:06d}.txt").write_text(f"a photo of the number {number}")
    corpus = CorpusSettings.model_validate({"modalities": ["text"], "source": str(raw)})
    settings, options = corpus_settings(corpus, 0.0)
    turns = iter(range(1000))
    return lambda: build_shards(corpus.places, folder / f"made-{next(turns)}", settings, Silent(), options)


def scan(size: int, folder: Path) -> Callable[[], object]:
    """A part of 20,000 x `size` vectors, 512 wide."""
    folder.mkdir()
    vectors = np.random.default_rng(0).standard_normal((20_000 * size, 512), dtype=np.float32)
    keys = [f"{row:08d}" for row in range(len(vectors))]
    write_rows(folder / "part", Rows(keys, {"embedding": vectors}, {}), {})
    return lambda: read_rows(folder / "part")


def retrieve(size: int, folder: Path) -> Callable[[], object]:
    """An aggregation of 512 queries over a memory of 10,000 x `size`."""
    queries, memory = (normalize(torch.randn(rows, 512), dim=1) for rows in (512, 10_000 * size))
    return lambda: aggregate(queries, memory, [memory], 0.01)


def encode(size: int, folder: Path) -> Callable[[], object]:
    """Embeddings of 2,000 x `size` captions by a small space, each time into a new folder."""
    folder.mkdir(parents=True)
    given = argparse.Namespace(precision="fp32", device="cpu")
    spec, space = make_space("compact", folder, given)
    shards = make_shards(folder / "shards", "compact", "text", 2000 * size)
    settings, turns = EncodeSettings(256, 2, 0.0), iter(range(1000))
    return lambda: encode_corpus(space, "compact", spec, shards, folder / f"store-{next(turns)}", settings, Silent())


def train(size: int, folder: Path) -> Callable[[], object]:
    """An epoch of 10 x `size` steps."""
    batch, width, hidden = QUICK
    tables = random_tables(10 * size * batch, width, "cpu")
    settings = settings_of(batch, width, hidden).model_copy(update={"epochs": 1})
    turns = iter(range(1000))

    def epoch() -> None:
        heads = heads_of(width, hidden, "cpu")
        trainer = Trainer(objective_of(width, settings), dict(tables), heads, settings, Draws(0, "benchmark"))
        trainer.run(Checkpoint(folder / f"model-{next(turns)}", {}), Silent(), "benchmark")

    return epoch


def evaluate(size: int, folder: Path) -> Callable[[], object]:
    """Ranks of 500 x `size` queries among 4,000 items."""
    queries, gallery = (normalize(torch.randn(rows, 256), dim=1).numpy() for rows in (500 * size, 4000))
    right = np.arange(500 * size)
    positives = Positives.of_pairs(right, right % 4000, (500 * size, 4000))
    return lambda: rank(queries, gallery, positives)


if __name__ == "__main__":
    main()
