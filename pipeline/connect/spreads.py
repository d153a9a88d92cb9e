"""Weights of own blocks that mean the same in every space: standardised by how far cosines spread.

A block whose cosines spread over little needs a larger weight before it decides anything. With s the standard deviation of the
cosines between a space's two modalities, less the mean of each query, and s' that of the same samples in the connected space, the
weight a becomes a' with a' / (1 - a') = a / (1 - a) * s' / s.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.errors import UserError
from pipeline.links import Keep, Link, store_folder
from pipeline.store import EMBEDDING_COLUMN, open_placed

# Samples of each modality, and parts that they are read from; more move no weight.
SAMPLES, PARTS = 2048, 8


def load_kept(folder: Path, links: Sequence[Link], embeddings: Path, device: str = "cpu") -> ConnectedSpace:
    """The connected space in `folder` as params.yaml wants it: its blocks weighed, its leaves combined.

    Args:
        folder: ``data/models/<connection>``.
        links: Of the connection.
        embeddings: Folder of all embedding stores; read only where weights are standardised.
        device: Where to compute.

    Raises:
        UserError: See `ConnectedSpace.load`; or weights cannot be standardised without data.
        CorruptError: A file is not the one that was written.
    """
    keep = links[0].keep
    combine = links[0].combine or None
    if not keep.standardise:
        return ConnectedSpace.load(folder, device, keep.weight, combine)
    plain = ConnectedSpace.load(folder, device, combine=combine)
    return ConnectedSpace.load(folder, device, standardised(plain, links, embeddings, keep), combine)


def standardised(space: ConnectedSpace, links: Sequence[Link], embeddings: Path, keep: Keep) -> dict[str, float]:
    """By space that has a block: its weight.

    Args:
        space: The connected space without blocks.
        links: Of the connection, whose unpaired data is measured.
        embeddings: Folder of all embedding stores.
        keep: The weight for spaces whose cosines spread as those of the connected space.

    Raises:
        UserError: The links name no data.
    """
    assert not isinstance(keep.weight, dict)
    found: dict[str, float] = {}
    for link in links:
        for name in link.spaces:
            if name == space.config.base or name in found:
                continue
            modalities = link.memories[name].modality, link.overlap
            if modalities[0] == modalities[1]:
                continue
            own, other = (_samples(link, name, modality, embeddings) for modality in modalities)
            made = [
                space.project(name, rows, modality).numpy()
                for rows, modality in zip((own, other), modalities, strict=True)
            ]
            odds = keep.weight / (1 - keep.weight) * spread(*made) / spread(own, other)
            found[name] = float(odds / (1 + odds))
    return found


def spread(queries: np.ndarray, gallery: np.ndarray) -> float:
    """Standard deviation of the inner products of `queries` [N, D] with `gallery` [M, D], less the mean of each query."""
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    return float((scores - scores.mean(1, keepdims=True)).std())


def _samples(link: Link, space: str, modality: str, embeddings: Path) -> np.ndarray:
    corpora = link.corpora_of(space, modality)
    if not corpora:
        raise UserError(
            f"{link.label} names no {modality} of {space}, so the spread of its cosines is unknown.",
            "Give `keep` weights by space, or name corpora in `join`.",
        )
    stores = [open_placed(store_folder(embeddings, space, corpus, modality)) for corpus in corpora]
    parts = [(store, part) for store in stores for part in store.manifest.parts]
    # Evenly over a few parts, and evenly within each: a corpus may be sorted.
    chosen = [parts[at] for at in sorted({round(at) for at in np.linspace(0, len(parts) - 1, PARTS)})]
    found = []
    for store, part in chosen:
        rows = store.read_part(part, [EMBEDDING_COLUMN]).vectors[EMBEDDING_COLUMN]
        found.append(rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLES // len(chosen))).round().astype(int)])
    return np.concatenate(found)
