"""Find the nearest items of any modality to a text, a picture, a sound or a shape, and which connection can do it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.connect.embed import modality_of
from pipeline.errors import UserError
from pipeline.links import Link
from pipeline.modalities import MODALITY_OF, TEXT
from pipeline.precision import multiplying
from pipeline.store import read_placed


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
        keys, embeddings = read_placed([folder])
        scores = space.project(gallery_space, embeddings, gallery_modality) @ query
        best = torch.topk(scores, min(count, len(keys)))
        found += [
            (corpus, keys[row], score) for row, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    return _nearest(found, count)


def read_query(query: str) -> tuple[str, bytes]:
    """Modality and bytes of what is looked for: a file, or the words themselves.

    Raises:
        UserError: It looks like the path of a file and there is none, or the file is of no modality.
    """
    file = Path(query)
    if file.suffix and file.is_file():
        return modality_of(file), file.read_bytes()
    if file.suffix[1:].lower() in MODALITY_OF or re.search(r"\S[/\\]\S", query):
        raise UserError(
            f"There is no file {query}.",
            "Correct its path; to look for words, leave the ending off and set a space beside a slash.",
        )
    return TEXT, query.encode()


def widest(connections: Mapping[str, Sequence[Link]], source: str, target: str) -> str:
    """Of the connections that hold both modalities the one that holds most; the first of several.

    Raises:
        UserError: There is none.
    """
    held = {
        name: {modality for link in links for modality in (*link.modalities, link.overlap)}
        for name, links in connections.items()
    }
    fitting = {name: len(modalities) for name, modalities in held.items() if {source, target} <= modalities}
    if not fitting:
        raise UserError(f"No connection joins {source} and {target}.", "Add one to `connections` in params.yaml.")
    return max(fitting, key=lambda name: fitting[name])


def gallery_of(links: Sequence[Link], space: ConnectedSpace, modality: str) -> tuple[str, tuple[str, ...]]:
    """The frozen space that embeds what is looked for, and the corpora of it that the connection was made from."""
    for link in links:
        for name, memory in link.memories.items():
            if memory.modality == modality:
                return name, memory.corpora
    queries = next((link.queries for link in links if link.overlap == modality), ())
    return space.space_of(modality), queries


def _nearest(found: Sequence[tuple[str, str, float]], count: int) -> list[tuple[str, str, float]]:
    return sorted(found, key=lambda item: (-item[2], item[0], item[1]))[:count]
