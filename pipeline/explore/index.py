"""Exact search over galleries that are projected once: all scores are computed, a block of rows at a time."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.explore.gallery import Gallery, load_frozen, load_gallery
from pipeline.links import store_folder
from pipeline.precision import multiplying
from pipeline.store.manifest import MANIFEST_NAME

# Rows whose scores are computed by one product: [BLOCK_ROWS, E] of a mapped gallery are all that is touched at a time.
BLOCK_ROWS = 262_144


class Place(NamedTuple):
    """A store: one modality of a corpus, embedded by a frozen space."""

    frozen: str
    corpus: str
    modality: str


@dataclass(frozen=True)
class Found:
    """One item.

    Attributes:
        corpus: Its corpus.
        modality: What it is.
        key: Its key.
        score: Cosine to the query.
        shard: Name of the shard that holds it.
    """

    corpus: str
    modality: str
    key: str
    score: float
    shard: str


class Index:
    """The galleries of one connected space, each loaded at its first use and again only when its store changes.

    Args:
        space: The connected space.
        embeddings: Folder of all embedding stores.
        kept: Folder that keeps projected galleries from one process to the next; None to keep none.
    """

    def __init__(self, space: ConnectedSpace, embeddings: Path, kept: Path | None = None) -> None:
        self.space, self._embeddings, self._kept = space, embeddings, kept
        self._galleries: dict[tuple[Place, bool], tuple[tuple[int, ...], Gallery]] = {}

    def gallery(self, place: Place) -> Gallery:
        """The items at `place`.

        Raises:
            UserError: The store is missing, unfinished, or that of another space.
            CorruptError: A part of the store is damaged.
        """
        return self._held(
            place,
            True,
            lambda: load_gallery(self.space, place.frozen, self._embeddings, place.corpus, place.modality, self._kept),
        )

    def frozen(self, place: Place) -> Gallery:
        """The items at `place` as their frozen space embeds them; see `gallery`."""
        return self._held(
            place, False, lambda: load_frozen(place.frozen, self._embeddings, place.corpus, place.modality)
        )

    def _held(self, place: Place, projected: bool, load: Callable[[], Gallery]) -> Gallery:
        state = state_of(store_folder(self._embeddings, *place) / MANIFEST_NAME)
        held = self._galleries.get((place, projected))
        if held is None or held[0] != state:
            held = self._galleries[place, projected] = state, load()
        return held[1]

    def nearest(self, query: Tensor, places: Iterable[Place], count: int) -> list[Found]:
        """The `count` items at `places` that are nearest to `query` [E], nearest first; of equal ones by corpus and key.

        Raises:
            UserError: See `gallery`.
            CorruptError: See `gallery`.
        """
        found = [item for place in places for item in nearest_of(self.gallery(place), query, count)]
        return sorted(found, key=lambda item: (-item.score, item.corpus, item.key))[:count]


@multiplying()
def nearest_of(gallery: Gallery, query: Tensor, count: int) -> list[Found]:
    """The `count` items of `gallery` that are nearest to `query` [E], and those that are as near as the last; in no order."""
    if not len(gallery.keys):
        return []
    scores = torch.cat([block @ query[:, None] for block in torch.split(gallery.vectors, BLOCK_ROWS)])[:, 0]
    # Equal items must not be chosen by chance: all that reach the last score are looked at.
    least = torch.topk(scores, min(count, len(scores))).values[-1]
    return [
        Found(gallery.corpus, gallery.modality, gallery.keys[row], float(scores[row]), gallery.shard_of(row))
        for row in (scores >= least).nonzero()[:, 0].tolist()
    ]


def state_of(path: Path) -> tuple[int, ...]:
    """What differs once a file was written anew; empty if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
