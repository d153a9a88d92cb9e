"""A small world of two spaces, and every stage after `encode` on it, for any method: from the parameters to the page."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from typer.testing import CliRunner

from pipeline.methods import method_called
from pipeline.spaces import SpaceSpec
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PartFolder, Rows, write_rows
from tests.report import world

WIDTHS = {"clip": 12, "clap": 10}
MODALITIES = {"clip": ["text", "image"], "clap": ["text", "audio"]}
CORPORA = {"captions": ["text"], "photos": ["image"], "sounds": ["audio"], "pairs": ["image", "audio"]}
CORPORA["heldout"] = ["text", "image", "audio"]
ROWS = 64
EXTENSION = {"text": "txt", "image": "png", "audio": "flac"}
# The name is not the method's: nothing may follow from it.
FIRST = "main"


def build(method: str) -> dict[str, Any]:
    """Write shards, stores and params.yaml with one connection by `method` into the working directory."""
    for corpus, modalities in CORPORA.items():
        write_shards(corpus, modalities)
        for space in WIDTHS:
            for modality in modalities:
                if modality in MODALITIES[space]:
                    write_store(space, corpus, modality)
    raw = parameters(method)
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return raw


def parameters(method: str) -> dict[str, Any]:
    """One connection by `method`, with every setting that has a default left out, and one task."""
    record = method_called(method)
    corpora = dict.fromkeys(("image", "audio"), "pairs") if record.is_bound else {"image": "photos", "audio": "sounds"}
    memories = {
        space: {"modality": kind, "corpora": [corpora[kind]]}
        for space, kind in {"clip": "image", "clap": "audio"}.items()
    }
    link: dict[str, Any] = {"memories": memories}
    link |= {"overlap": "text", "queries": ["captions"]} if record.needs_overlap else {}
    join = {"base": "clip", "leaves": {"clap": link}} if record.keeps_base else {"spaces": ["clip", "clap"], **link}
    join = {"links": {"clap": link}} if record.joint else join
    head = {"hidden": 6} if record.keeps_base else {"hidden": 6, "dimension": 8}
    task = {"task": "retrieval", "corpus": "heldout", "modalities": ["audio", "image"], "connections": [FIRST]}
    return {
        "seed": 0,
        "threads": 1,
        "limits": {"max_rejected": 0.0},
        "corpora": {name: {"modalities": kinds, "source": f"raw/{name}"} for name, kinds in CORPORA.items()},
        "spaces": {name: {"encoder": "compact", "checkpoint": f"{name}.pt"} for name in WIDTHS},
        "encode": {
            f"{space}-{corpus}": {"space": space, "corpus": corpus}
            for space in WIDTHS
            for corpus, kinds in CORPORA.items()
            if set(kinds) & set(MODALITIES[space])
        },
        "connections": {
            FIRST: {
                "method": method,
                "join": join,
                "retrieve": {},
                "train": {"epochs": 1, "batch_size": 16, "projector": head} if record.objective else {},
            }
        },
        "evaluate": {"bootstrap": 20, "examples": 2, "tasks": {"held_out": {**task, "hub_temperature": 0.1}}},
        "report": {"pseudo_pairs": 6},
    }


def keys(corpus: str) -> list[str]:
    """Keys of a corpus."""
    return [f"{corpus}-{number:03d}" for number in range(ROWS)]


def write_shards(corpus: str, modalities: list[str]) -> None:
    """One tar of pictures, sounds and captions."""
    import io
    import tarfile

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            for number, key in enumerate(keys(corpus)):
                for modality in modalities:
                    content = world.MEMBER[EXTENSION[modality]](number % 6 + 1)
                    info = tarfile.TarInfo(f"{key}.{EXTENSION[modality]}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))

    folder = PartFolder(Path("data/shards") / corpus, "shards", {"corpus": corpus, "modalities": modalities})
    folder.commit("00000.tar", corpus, keys(corpus), [], write)
    folder.finish(0.0)


def write_store(space: str, corpus: str, modality: str) -> None:
    """Latents of the corpus, turned by the space and moved by the modality."""

    def normal(name: str, *shape: int) -> np.ndarray:
        return np.random.default_rng([*name.encode()]).standard_normal(shape)

    rows = normal(corpus, ROWS, 6) @ normal(space, 6, WIDTHS[space]) + normal(space + modality, WIDTHS[space])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    made = {"spec": asdict(SpaceSpec("compact", f"{space}.pt")), "modalities": MODALITIES[space]}
    made |= {"dimension": WIDTHS[space], "modality": modality}
    folder = PartFolder(Path("data/embeddings") / space / corpus / modality, EMBEDDINGS, made)
    for number, part in enumerate(np.array_split(np.arange(ROWS), 2)):
        names = [keys(corpus)[row] for row in part]
        content = Rows(names, {EMBEDDING_COLUMN: rows[part]}, {})
        folder.commit(f"part-{number:05d}.parquet", corpus, names, [], lambda path, c=content: write_rows(path, c, {}))
    folder.finish(0.0)


def mcr(*arguments: str) -> str:
    """Run a command; what it printed."""
    from stages.cli import app

    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def build_trained(method: str) -> None:
    """`build`, with its pairs retrieved and its projectors trained."""
    build(method)
    mcr("retrieve", FIRST)
    mcr("train", FIRST)


def walk(method: str) -> str:
    """Everything from the parameters to the page; what the commands printed."""
    build(method)
    said = mcr("check") + mcr("plan", "--probe", "1")
    return said + mcr("retrieve", FIRST) + mcr("train", FIRST) + mcr("evaluate") + mcr("report")


if __name__ == "__main__":
    start = Path.cwd()
    for name in sys.argv[1:]:
        (start / name).mkdir(exist_ok=True)
        os.chdir(start / name)
        Path("printed.txt").write_text(walk(name))
