"""A small world of pseudo-pairs: two spaces are rotations of one latent plus what only they see."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.hashing import sha256_bytes
from pipeline.store import PAIRS, PartFolder, Rows, write_rows

LATENT, WIDTHS = 12, {"clip": 24, "clap": 20}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class World:
    """Embeds latents in either space; the last dimensions of a space are nuisance of its own."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.rotation = {
            space: np.linalg.qr(self.draw.standard_normal((width, width)))[0] for space, width in WIDTHS.items()
        }

    def latents(self, count: int) -> np.ndarray:
        return unit(self.draw.standard_normal((count, LATENT)))

    def embed(self, space: str, latents: np.ndarray, nuisance: float) -> np.ndarray:
        private = self.draw.standard_normal((len(latents), WIDTHS[space] - LATENT)) * nuisance
        return unit(np.hstack([latents, private]) @ self.rotation[space]).astype(np.float32)


def aggregate(queries: np.ndarray, memory: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((queries @ memory.T - 1) / temperature)
    return (weights / weights.sum(1, keepdims=True)) @ memory


@dataclass(frozen=True)
class Pairs:
    """Finished pairs of connection audio_image: the folder of all pairs, and the columns in them."""

    root: Path
    columns: dict[str, np.ndarray]
    world: World


def write_pairs(folder: Path, columns: dict[str, np.ndarray], method: str = "cmcr", parts: int = 2) -> None:
    """Write `columns` as the retrieve stage would."""
    fingerprint = {
        "connection": "audio_image",
        "method": method,
        "spaces": {
            space: {
                "space": space,
                "spec": {"encoder": "compact", "checkpoint": f"{space}.safetensors"},
                "modalities": ["text", {"clip": "image", "clap": "audio"}[space]],
                "dimension": WIDTHS[space],
                "batch_size": 8,
            }
            for space in WIDTHS
        },
        "overlap": "" if method == "oracle" else "text",
        "memories": {"clip": "image", "clap": "audio"},
        "code": 1,
    }
    store = PartFolder(folder, PAIRS, fingerprint)
    count = len(next(iter(columns.values())))
    for number, rows in enumerate(np.array_split(np.arange(count), parts)):
        keys = [f"query{row:05d}" for row in rows]
        content = Rows(keys, {name: matrix[rows] for name, matrix in columns.items()}, {})
        store.commit(
            f"part-{number:05d}.parquet",
            sha256_bytes(b"".join(matrix[rows].tobytes() for matrix in columns.values())),
            keys,
            [],
            lambda path, content=content: write_rows(path, content, {}),
        )
    store.finish(0.0)


@pytest.fixture
def make_pairs(tmp_path: Path) -> Callable[..., Pairs]:
    """Make pseudo-pairs of `count` texts with memories of the same size."""

    def make(count: int = 96, name: str = "pairs", seed: int = 0, **changed: np.ndarray) -> Pairs:
        world = World(seed)
        texts = world.latents(count)
        columns = {f"{space}_text": world.embed(space, texts, 0.1) for space in WIDTHS}
        for space, modality in {"clip": "image", "clap": "audio"}.items():
            memory = world.embed(space, world.latents(count), 0.2)
            columns[f"{space}_{modality}"] = aggregate(columns[f"{space}_text"], memory, 0.05).astype(np.float32)
        columns |= changed
        write_pairs(tmp_path / name / "audio_image" / "clip-clap" / "overlap", columns)
        return Pairs(tmp_path / name, columns, world)

    return make
