"""A store in the connected space: projected once, and kept in a file that a later process reads instead."""

import json
import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.errors import McrError
from pipeline.files.atomic import atomic_path
from pipeline.hashing import sha256_json
from pipeline.links import store_folder
from pipeline.store import EMBEDDING_COLUMN, Rows, Store, open_placed, read_rows, write_rows
from pipeline.store.parquet import METADATA_KEY

log = logging.getLogger(__name__)

CODE_VERSION = 1  # raise it when the same model and store give other rows
KEPT, MADE_FROM = "projected", "made_from"


@dataclass(frozen=True)
class Gallery:
    """The items of one store.

    Attributes:
        corpus: Their corpus.
        modality: What they are.
        keys: N keys.
        vectors: Unit rows [N, E] float32, in the order of the keys.
        shards: Names of the shards that the items are in, in their order.
        ends: By shard: how many items it and those before it hold.
    """

    corpus: str
    modality: str
    keys: Sequence[str]
    vectors: Tensor
    shards: Sequence[str]
    ends: Sequence[int]

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {key: row for row, key in enumerate(self.keys)}

    def row_of(self, key: str) -> int | None:
        """Row of the item with `key`; None if there is none."""
        return self._rows.get(key)

    def shard_of(self, row: int) -> str:
        """Name of the shard that holds the item of `row`."""
        return self.shards[bisect_right(self.ends, row)]


def load_gallery(
    space: ConnectedSpace, frozen: str, embeddings: Path, corpus: str, modality: str, kept: Path | None
) -> Gallery:
    """The store ``<embeddings>/<frozen>/<corpus>/<modality>`` in the connected space.

    Args:
        space: The connected space.
        frozen: The frozen space whose embeddings are taken.
        embeddings: Folder of all stores.
        corpus: Whose items.
        modality: What they are.
        kept: Folder that keeps projected rows from one process to the next; None to keep none. What it holds of another
            model or another state of the store, or what is damaged, is made again.

    Raises:
        UserError: The store is missing, unfinished, or that of another space.
        CorruptError: A part of the store is damaged.
    """
    store = open_placed(store_folder(embeddings, frozen, corpus, modality))
    # The rows of a base are those of its store: a copy would not be quicker.
    path = kept / frozen / corpus / f"{modality}.parquet" if kept and not space.keeps_rows_of(frozen) else None
    identity = _identity(space, store)
    found = _read(path, identity, len(store), space.dimension) if path else None
    if found is None:
        rows = store.read([EMBEDDING_COLUMN])
        found = rows.keys, space.project(frozen, rows.vectors[EMBEDDING_COLUMN], modality)
        if path:
            _keep(path, identity, *found)
    return _gallery(corpus, modality, store, *found)


def load_frozen(frozen: str, embeddings: Path, corpus: str, modality: str) -> Gallery:
    """The same store as its frozen space embedded it, [N, D].

    Raises:
        UserError: See `load_gallery`.
        CorruptError: See `load_gallery`.
    """
    store = open_placed(store_folder(embeddings, frozen, corpus, modality))
    rows = store.read([EMBEDDING_COLUMN])
    return _gallery(corpus, modality, store, rows.keys, torch.from_numpy(rows.vectors[EMBEDDING_COLUMN]))


def _gallery(corpus: str, modality: str, store: Store, keys: Sequence[str], vectors: Tensor) -> Gallery:
    parts = store.manifest.parts
    shards = [f"{Path(part.name).stem.removeprefix('part-')}.tar" for part in parts]
    return Gallery(corpus, modality, keys, vectors, shards, list(accumulate(part.rows for part in parts)))


def _identity(space: ConnectedSpace, store: Store) -> str:
    """Hash of everything that decides the projected rows, up to rounding."""
    model = space.config.model_dump(mode="json")  # with the hashes of its weights
    return sha256_json([CODE_VERSION, model, space.keep, store.content_hash])


def _read(path: Path, identity: str, rows: int, width: int) -> tuple[list[str], Tensor] | None:
    """Keys and rows in `path`; None if it is not there, damaged, or was made from something else."""
    try:
        described = json.loads((pq.read_metadata(path).metadata or {})[METADATA_KEY])
        if described.get(MADE_FROM) != identity:
            return None
        found = read_rows(path)
        vectors = found.vectors[KEPT]
    except FileNotFoundError:
        return None
    except (McrError, OSError, ValueError, KeyError, TypeError) as error:
        log.info("%s is made again: %s", path, error)
        return None
    if vectors.shape != (rows, width):
        return None
    return found.keys, torch.from_numpy(np.require(vectors, requirements="W"))


def _keep(path: Path, identity: str, keys: list[str], vectors: Tensor) -> None:
    try:
        with atomic_path(path) as temporary:
            write_rows(temporary, Rows(keys, {KEPT: vectors.numpy()}, {}), {MADE_FROM: identity})
    except McrError as error:  # a full disk, a project that may only be read: only the next process is slower for it
        log.info("%s is not kept: %s", path, error.message)
