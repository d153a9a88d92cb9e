"""What the unpaired data of connections show: signs of each connection, and how far the texts reach."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.connect import ConnectedSpace
from pipeline.evaluate.advice.signs import Signs, signs
from pipeline.evaluate.advice.topics import covered
from pipeline.evaluate.baselines.link_data import evenly
from pipeline.links import Link, store_folder
from pipeline.store import read_placed


def signs_of(links: Sequence[Link], pair: tuple[str, str], embeddings: Path, model: Path, most: int) -> Signs | None:
    """The signs between two modalities of a connection; None where its unpaired data lack one of them, or are all alike there.

    Args:
        links: Of the connection.
        pair: The two modalities.
        embeddings: Folder of the stores.
        model: Folder of the connection.
        most: Samples of each memory that are looked at, evenly spread.
    """
    places = [_place(links, modality, embeddings) for modality in pair]
    if None in places or not (model / "config.json").is_file():
        return None
    memories = [(where[0], _rows(where[1], most)) for where in places if where]
    if any((rows == rows[0]).all() for _, rows in memories):
        return None  # without neighbours; a method that centres its samples leaves nothing of them
    space = ConnectedSpace.load(model)
    sides = [space.project(name, rows, modality).numpy() for (name, rows), modality in zip(memories, pair, strict=True)]
    return signs(sides[0], sides[1])


def covered_by_texts(
    connections: Mapping[str, Sequence[Link]], pair: tuple[str, str], embeddings: Path, most: int, seed: int
) -> Iterator[tuple[str, str, str, float]]:
    """Of every memory of one of the two modalities: it, what has to speak of it, the space that embeds both, and the share
    that is covered.
    """
    seen = set()
    for link in (link for links in connections.values() for link in links):
        for space, memory in link.memories.items():
            told = (space, memory.modality, memory.corpora, link.overlap, link.queries)
            known = memory.corpora and link.queries  # published projectors name no data
            if not known or memory.modality not in pair or link.overlap in ("", memory.modality) or told in seen:
                continue
            seen.add(told)
            samples, texts = (
                _rows([store_folder(embeddings, space, corpus, modality) for corpus in corpora], limit)
                for modality, corpora, limit in (
                    (memory.modality, memory.corpora, most),
                    (link.overlap, link.queries, 8 * most),
                )
            )
            yield ", ".join(memory.corpora), ", ".join(link.queries), space, covered(samples, texts, seed)


def _place(links: Sequence[Link], modality: str, embeddings: Path) -> tuple[str, list[Path]] | None:
    for link in links:
        for space, memory in link.memories.items():
            if memory.modality == modality and memory.corpora:
                return space, [store_folder(embeddings, space, corpus, modality) for corpus in memory.corpora]
    return None


def _rows(folders: Sequence[Path], most: int) -> np.ndarray:
    return evenly(read_placed(folders)[1], most)
