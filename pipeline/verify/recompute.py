"""Compute some embeddings of a store once more, from the bytes in the shards, and compare."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import SampleError, UserError
from pipeline.modalities import modality_of
from pipeline.spaces import Space, SpaceSpec, prepared_for
from pipeline.spaces.apart import preprocess_apart
from pipeline.store import EMBEDDING_COLUMN, Part, Store, read_rows
from pipeline.store.differences import differences
from pipeline.store.integrity.preparation import CORPUS_OPTIONS
from pipeline.store.parts.file import part_file
from pipeline.store.reader import STORE_AS
from pipeline.store.shards import open_shards, read_shard, verify_shard

# Largest difference of one number of an embedding, by precision. In fp32 another batch, another number of threads and
# another CPU round differently by up to about 1e-5 (`tests/spaces/test_conformance.py`); half precision keeps 8 or 11
# bits. Another preprocessing or checkpoint differs by a hundredth and more.
TOLERANCE = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 5e-3, "bf16": 3e-2}
# What rounding alone changes in a number of a unit vector, by what the store keeps.
ROUNDED = {"float16": 2.0**-12}


@dataclass(frozen=True)
class Recomputed:
    """How rows of a store compare with the same rows computed again.

    Attributes:
        rows: How many.
        largest: Largest absolute difference of one number.
        cosine: Smallest cosine between old and new.
        worst: Key of the row with the largest difference.
        tolerance: The largest difference that rounding explains.
        changed: Entries of the fingerprint that are not what they were, in words: they may explain a difference.
    """

    rows: int
    largest: float
    cosine: float
    worst: str
    tolerance: float
    changed: list[str]

    @property
    def agrees(self) -> bool:
        """Whether the store holds what its space computes; False for NaN as well."""
        return self.largest <= self.tolerance


def recorded_spec(store: Store) -> SpaceSpec:
    """The frozen space that `store` says it was made by.

    Raises:
        UserError: Its embeddings were imported, or it does not say.
    """
    fingerprint = store.manifest.fingerprint
    encoder, spec = fingerprint.get("encoder"), fingerprint.get("spec")
    if isinstance(encoder, Mapping) and encoder.get("unverified"):
        raise UserError(
            f"{store.folder} was imported: its embeddings cannot be computed again.",
            "Leave it out, or encode the corpus here to have a store that can be verified.",
        )
    if not isinstance(spec, dict):
        raise UserError(f"{store.folder} does not record which space made it.", "Encode the corpus again.")
    options = fingerprint.get(CORPUS_OPTIONS)
    return prepared_for(SpaceSpec(**spec), options if isinstance(options, dict) else {})


def recompute(store: Store, shards: Path, space: Space, count: int) -> Recomputed:
    """Embed `count` rows, evenly spread over `store`, once more and compare them with what is stored.

    Args:
        store: A store that the encode stage made.
        shards: The shards that it was made from.
        space: The frozen space, see `recorded_spec`.
        count: How many rows; all of them if there are fewer.

    Raises:
        UserError: The shards are missing or are other ones by now.
        CorruptError: A shard or a part is damaged.
    """
    modality = str(store.manifest.fingerprint["modality"])
    sources = {part.sha256: part for part in open_shards(shards).parts}
    keys: list[str] = []
    old: list[np.ndarray] = []
    new: list[np.ndarray] = []
    for part, rows in _evenly(store, count).items():
        if part.source not in sources:
            raise UserError(
                f"{store.folder / part.name} was made from a shard that {shards} no longer holds.",
                "The store is out of date: run `dvc repro`, or `mcr encode` for its job.",
            )
        table = read_rows(part_file(store.folder, part))
        wanted = [table.keys[row] for row in rows]
        payloads = _payloads(verify_shard(shards, sources[part.source]), set(wanted), modality)
        keys += wanted
        old.append(table.vectors[EMBEDDING_COLUMN][rows])
        new.append(_embed(space, modality, [payloads.get(key) for key in wanted]))
    first, second = np.concatenate(old).astype(np.float64), np.concatenate(new).astype(np.float64)
    difference = np.abs(first - second).max(axis=1)
    worst = int(np.argmax(difference))  # NaN counts as the largest
    recorded = store.manifest.fingerprint.get("encoder")
    changed = differences(recorded, space.fingerprint(modality)) if isinstance(recorded, Mapping) else []
    precision = recorded_spec(store).precision
    return Recomputed(
        len(keys),
        float(difference[worst]),
        float((first * second).sum(axis=1).min()),
        keys[worst],
        TOLERANCE[precision] + ROUNDED.get(str(store.manifest.fingerprint.get(STORE_AS)), 0.0),
        changed,
    )


def _evenly(store: Store, count: int) -> dict[Part, list[int]]:
    """Numbers of `count` rows of the store, evenly spread, by part and within it."""
    chosen = np.unique(np.linspace(0, len(store) - 1, min(count, len(store))).round().astype(int))
    found: dict[Part, list[int]] = {}
    start = 0
    for part in store.manifest.parts:
        rows = chosen[(chosen >= start) & (chosen < start + part.rows)] - start
        if len(rows):
            found[part] = rows.tolist()
        start += part.rows
    return found


def _payloads(shard: Path, keys: set[str], modality: str) -> dict[str, bytes]:
    return {
        sample.key: content
        for sample in read_shard(shard)
        if sample.key in keys
        for extension, content in sample.members.items()
        if modality_of(extension) == modality
    }


def _embed(space: Space, modality: str, payloads: list[bytes | None]) -> np.ndarray:
    """Embeddings [N, D]; a sample that is not there or cannot be used any more gives NaN, which no tolerance allows."""
    rows = np.full((len(payloads), space.dimension), np.nan, np.float32)
    with ExitStack() as stack:
        prepare = preprocess_apart(space, modality, stack)
        for number, payload in enumerate(payloads):
            for found in prepare([payload]) if payload is not None else ():
                if not isinstance(found, SampleError):
                    rows[number] = space.encode(modality, torch.stack([found]))[0].numpy()
    return rows
