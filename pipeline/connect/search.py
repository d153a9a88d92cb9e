"""Find the nearest items of any modality to a text, a picture, a sound or a shape."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.precision import multiplying
from pipeline.store.reader import read_embeddings


@multiplying()
def search(
    space: ConnectedSpace,
    modality: str,
    payload: bytes,
    gallery_space: str,
    stores: Mapping[str, Path],
    count: int,
    query_space: str | None = None,
    gallery_modality: str | None = None,
) -> list[tuple[str, str, float]]:
    """The `count` items of the stores that are nearest to `payload` in the connected space.

    Args:
        space: The connected space.
        modality: What `payload` is.
        payload: Bytes of a file, or UTF-8 text.
        gallery_space: The frozen space whose embeddings `stores` hold.
        stores: Embedding stores by corpus.
        count: How many.
        query_space: The frozen space that embeds the query, where several can.
        gallery_modality: What the stores hold embeddings of; only a leaf of Ex-MCR needs to know.

    Returns:
        (corpus, key, cosine), nearest first.

    Raises:
        UserError: The payload cannot be used, or a store is missing.
    """
    query = space.embed(modality, [payload], query_space)[0]
    found: list[tuple[str, str, float]] = []
    for corpus, folder in stores.items():
        keys, embeddings = read_embeddings([folder])
        scores = space.project(gallery_space, embeddings, gallery_modality) @ query
        best = torch.topk(scores, min(count, len(keys)))
        found += [
            (corpus, keys[row], score) for row, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    return _nearest(found, count)


def _nearest(found: Sequence[tuple[str, str, float]], count: int) -> list[tuple[str, str, float]]:
    return sorted(found, key=lambda item: (-item[2], item[0], item[1]))[:count]
