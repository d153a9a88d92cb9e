"""Miniatures of the files that corpora come in."""

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import trimesh
from PIL import Image

from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.shard.sources.options import SourceOptions
from pipeline.store.manifest import Manifest
from pipeline.store.shards import read_shard


def picture(seed: int, kind: str = "PNG", side: tuple[int, int] = (6, 4)) -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side[1], side[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def sound(seed: int, kind: str = "FLAC") -> bytes:
    """A sound of noise."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(seed).uniform(-1, 1, 800).astype(np.float32), 8000, format=kind)
    return buffer.getvalue()


def cloud(seed: int, points: int = 20) -> np.ndarray:
    """Points [N, 3]."""
    return np.random.default_rng(seed).standard_normal((points, 3)).astype(np.float32)


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def bomb() -> bytes:
    """An archive of 100 kB that would be 100 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", npy(np.zeros((100, 3))) + bytes(100_000_000))
    return buffer.getvalue()


def mesh(kind: str) -> bytes:
    """A box of 2 x 1 x 1 with its centre at (5, 0, 0)."""
    box = trimesh.creation.box((2, 1, 1))
    box.apply_translation((5, 0, 0))
    content = box.export(file_type=kind)
    return content if isinstance(content, bytes) else content.encode()


def tar(path: Path, members: Iterable[tuple[str, bytes | tarfile.TarInfo]]) -> Path:
    """A tar of regular members, and of members that are given as they are."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def shards(
    source: Path | str | list[str],
    out: Path,
    *modalities: str,
    options: dict[str, str] | None = None,
    **settings: object,
) -> tuple[dict[str, dict[str, bytes]], dict[str, str], Manifest]:
    """Build shards: members by key, reason of the reject by key, and the manifest."""
    values: dict[str, object] = {"samples_per_shard": 100, "duplicates": "error", "max_rejected": 0.999, **settings}
    manifest, _ = build_shards(
        source, out, ShardSettings(modalities, **values), Silent(), SourceOptions(modalities, **(options or {}))
    )
    samples = {one.key: one.members for part in manifest.parts for one in read_shard(out / part.name)}
    return samples, {one.key: one.message for part in manifest.parts for one in part.rejected}, manifest
