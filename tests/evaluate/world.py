"""A tiny world on disk: two spaces, three unpaired corpora, an evaluation set and two trained connections."""

from pathlib import Path

import numpy as np
import torch

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.connect.config import PROJECTOR_NAME, ConnectionConfig, TrainedLink
from pipeline.connect.weights import save_projectors
from pipeline.evaluate.folders import Folders
from pipeline.hashing import sha256_file, sha256_json
from pipeline.links import Link
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PAIRS, PartFolder, Rows, load_manifest, write_rows
from tests.makers.links import make_link

WIDTHS = {"clip": 12, "clap": 10}
MODALITIES = {"clip": ["text", "image"], "clap": ["text", "audio"]}
CORPORA = {"captions": 240, "photos": 150, "sounds": 160, "heldout": 40}
CONNECTIONS = {
    "audio_image": (make_link(),),
    "oracle": (make_link("oracle", overlap="", sets=("true",)),),
}


def build_world(root: Path) -> Folders:
    """Scenes are 8 numbers; a space is a fixed linear map of them, a modality a little noise and an offset."""
    folders = Folders(root / "embeddings", root / "models", root / "pairs", root / "metrics")
    for corpus, count in CORPORA.items():
        modalities = {"captions": ["text"], "photos": ["image"], "sounds": ["audio"]}.get(
            corpus, ["text", "image", "audio"]
        )
        for space in WIDTHS:
            for modality in set(modalities) & set(MODALITIES[space]):
                write_store(folders, space, corpus, modality, [f"{corpus}-{i:04d}" for i in range(count)])
    write_pairs(folders)
    for number, connection in enumerate(CONNECTIONS):
        write_model(folders, connection, number)
    return folders


def embedded(space: str, corpus: str, modality: str, count: int) -> np.ndarray:
    def normal(name: str, *shape: int) -> np.ndarray:
        return np.random.default_rng(list(name.encode())).normal(size=shape)

    rows = normal(corpus, count, 8) @ normal(space, 8, WIDTHS[space]) + 2 * normal(space + modality, WIDTHS[space])
    rows += 0.3 * normal(space + corpus + modality, count, WIDTHS[space])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fingerprint(space: str) -> dict[str, object]:
    spec = {"encoder": "none", "checkpoint": f"{space}.pt"}
    return {"spec": spec, "modalities": MODALITIES[space], "dimension": WIDTHS[space]}


def write_store(
    folders: Folders, space: str, corpus: str, modality: str, keys: list[str], vectors: np.ndarray | None = None
) -> None:
    vectors = embedded(space, corpus, modality, len(keys)) if vectors is None else vectors
    rows = Rows(keys, {EMBEDDING_COLUMN: vectors}, {})
    folder = PartFolder(
        folders.store(space, corpus, modality), EMBEDDINGS, {**fingerprint(space), "modality": modality}
    )
    folder.commit("part-00000.parquet", f"{corpus}{len(keys)}", keys, [], lambda path: write_rows(path, rows, {}))
    folder.finish(0.0)


def write_pairs(folders: Folders, length: float = 0.8) -> None:
    keys = [f"captions-{i:04d}" for i in range(CORPORA["captions"])]
    vectors = {
        name: embedded(*name.split("_")[:1], "captions", name.split("_")[1], len(keys)) * length
        for name in ("clip_text", "clip_image", "clap_text", "clap_audio")
    }
    folder = PartFolder(folders.pairs / "audio_image" / "clip-clap" / "overlap", PAIRS, {})
    folder.commit("part-00000.parquet", "", keys, [], lambda path: write_rows(path, Rows(keys, vectors, {}), {}))
    folder.finish(0.0)


def pairs_of(folders: Folders, link: Link) -> str:
    """What a model says that was trained on the pairs of `link`; those of the oracle are not there."""
    places = [folders.pairs / link.place / name for name in link.sets]
    return sha256_json([load_manifest(place).content_hash for place in places if place.is_dir()])


def write_model(folders: Folders, name: str, seed: int) -> None:
    specs = {space: ProjectorSpec(kind="mlp", input=width, hidden=16, dimension=12) for space, width in WIDTHS.items()}
    projectors = {
        space: build_projector(spec, generator=torch.Generator().manual_seed(seed)) for space, spec in specs.items()
    }
    (folders.models / name).mkdir(parents=True, exist_ok=True)
    save_projectors(folders.models / name / PROJECTOR_NAME, projectors)
    config = ConnectionConfig.model_validate(
        {
            "code": 1,
            "connection": name,
            "method": "oracle" if name == "oracle" else "cmcr",
            "spaces": {space: fingerprint(space) for space in WIDTHS},
            "links": [
                TrainedLink(
                    **link.model_dump(), train={"projector": {"init": "xavier"}}, pairs=pairs_of(folders, link)
                ).model_dump()
                for link in CONNECTIONS[name]
            ],
            "projectors": {space: spec.model_dump() for space, spec in specs.items()},
            "seed": 0,
            "threads": 1,
            "files": {PROJECTOR_NAME: sha256_file(folders.models / name / PROJECTOR_NAME)},
        }
    )
    config.save(folders.models / name)
