"""Files of every kind that we write, cut, with bytes missing or bits flipped: what their readers make of them."""

import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.errors import CorruptError, McrError, UserError
from tests.faults.lab import Lab
from tests.faults.row import Row, Trial

FULL, QUICK = 1000, 40


def readers() -> dict[str, tuple[str, Callable[[Path], object]]]:
    """By kind: a file of the project, and what reads it, as the stages do."""
    from pipeline.connect.config import load_config
    from pipeline.connect.connected_space import ConnectedSpace
    from pipeline.leaks.likeness import look_at
    from pipeline.leaks.tables import kept_likeness, read_likeness
    from pipeline.progress import Silent
    from pipeline.report.inputs import Inputs
    from pipeline.spaces.compact.space import load_compact
    from pipeline.store import Store, load_manifest
    from pipeline.store.content.hashes import read_contents
    from pipeline.store.shards import open_shards, read_shard, verify_shard

    def shards(path: Path) -> object:
        parts = open_shards(path.parent).parts
        return [list(read_shard(verify_shard(path.parent, part))) for part in parts]

    def likeness(path: Path) -> object:
        corpus = path.parents[2] / "shards" / path.parent.name
        look_at([corpus], path.parents[1], Silent())
        kept = [kept_likeness(path.parent, shard) for shard in open_shards(corpus).parts]
        return list(read_likeness(file for file in kept if file))

    def store(kind: str, path: Path) -> object:
        return Store.open(path.parent, kind).read()

    def metrics(path: Path) -> object:
        inputs = Inputs(path.parents[1], {}, {})
        return [inputs.outdated, inputs.metrics]

    def projectors(path: Path) -> object:
        space = ConnectedSpace.load(path.parents[1])
        return space.project("clap", np.eye(space.config.spaces["clap"].dimension, dtype=np.float32), "audio")

    return {
        "shard": ("data/shards/photos/00001.tar", shards),
        "embeddings": ("data/embeddings/clip/photos/image/part-00001.parquet", partial(store, "embeddings")),
        "pairs": ("data/pairs/unified/clap/base/part-00001.parquet", partial(store, "pairs")),
        "manifest": ("data/embeddings/clip/photos/image/_manifest.json", lambda path: load_manifest(path.parent)),
        "contents": ("data/shards/photos/_contents.parquet", lambda path: list(read_contents(path.parent))),
        "likeness": ("data/likeness/photos/*.parquet", likeness),
        "model": ("data/models/unified/clap/projector.safetensors", projectors),
        "configuration": ("data/models/unified/config.json", lambda path: load_config(path.parent)),
        "metrics": ("data/metrics/metrics.parquet", metrics),
        "record": ("data/metrics/_made_from.json", metrics),
        "space": ("data/spaces/clip/weights.safetensors", lambda path: load_compact(path.parent).state_dict()),
    }


# Kinds of which no hash is kept: what is changed within a value cannot be seen. (Weights of a space are inputs, whose
# hash params.yaml may name.)
WITHOUT_HASH = {"space"}


def mutated(content: bytes, draw: random.Random) -> bytes:
    """`content` cut (a quarter of the time), with a few bytes missing (a tenth), or with 1 to 8 bits flipped."""
    way = draw.random()
    if way < 0.25:
        return content[: draw.randrange(len(content))]
    if way < 0.35:
        start = draw.randrange(len(content))
        return content[:start] + content[start + draw.randint(1, 63) :]
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def same(one: object, other: object) -> bool:
    """Whether two things that were read are equal, tensors and arrays by their bytes."""
    return digest(one) == digest(other)


def digest(value: object) -> str:
    """A name for what was read."""

    def plain(value: object) -> object:
        if hasattr(value, "detach"):
            value = value.detach().numpy()
        if isinstance(value, np.ndarray):
            return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        if isinstance(value, Mapping):
            return {str(name): plain(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        if hasattr(value, "__dict__"):
            return plain(vars(value))
        return repr(value)

    return json.dumps(plain(value))


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Mutants of each kind."""
    lab.restore("end")
    for kind in readers():
        for number in range(QUICK if quick else FULL):
            yield Trial(f"{kind} {number}", partial(attempt, kind=kind, seed=draw.random()))


def attempt(lab: Lab, kind: str, seed: float) -> list[str]:
    """Read a mutant; an error that names the file, or the same content as before."""
    if not (lab.trial / "data").exists():
        lab.restore("end")
    logging.getLogger("pipeline").setLevel(logging.ERROR)  # What is made again is said each time.
    if lab.broken:
        lab.broken()
    name, read = readers()[kind]
    path = min(lab.trial.glob(name))
    content = path.read_bytes()
    try:
        whole = digest(read(path))
        path.write_bytes(mutated(content, random.Random(seed)))
        found = digest(read(path))
    except (CorruptError, UserError) as error:
        named = path.name in error.message or path.parent.name in error.message
        return [] if named else [f"not named: {error.message[:200]}"]
    except McrError as error:
        return [f"wrong error: {type(error).__name__}: {error.message[:200]}"]
    except Exception as error:
        return [f"says bug: {type(error).__name__}: {str(error)[:200]}"]
    finally:
        path.write_bytes(content)
    return [] if found == whole or kind in WITHOUT_HASH else ["silent"]


def broken() -> None:
    """Nothing is checked against a hash, as Parquet's readers do by default."""
    import pipeline.store.content.hashes as contents
    import pipeline.store.parquet as parquet
    import pipeline.store.reader as reader
    import pipeline.store.shards as shards

    contents.check_file = reader.check_file = shards.check_file = lambda path, *_: path

    whole = parquet.pq.ParquetFile

    class Trusting(whole):  # type: ignore[misc,valid-type]
        def __init__(self, source: object, **options: object) -> None:
            super().__init__(source)

    parquet.pq.ParquetFile = Trusting
    shards.verify_shard = lambda folder, part: folder / part.name  # type: ignore[assignment]


ROW = Row("damaged files at their readers", ("silent", "not named", "wrong error", "says bug"), trials, broken)
