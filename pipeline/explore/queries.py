"""What is looked for, with which connection, and in which stores: decided before any model is loaded."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.connect.embed import modality_of_file
from pipeline.connect.given.items import utf8_of
from pipeline.errors import UserError, choice
from pipeline.links import Link
from pipeline.modalities import MODALITIES, MODALITY_OF, TEXT


def read_query(query: str) -> tuple[str, bytes]:
    """Modality and bytes of what is looked for: a file, or the words themselves.

    Raises:
        UserError: It is empty, or looks like the path of a file and there is none, or the file is of no modality.
    """
    if not query.strip():
        raise UserError("A query is empty.", "Name words or a file.")
    file = Path(query)
    if file.suffix and os.path.isfile(query):  # which is false for words that are too long to be a name
        return modality_of_file(file), file.read_bytes()
    if file.suffix[1:].lower() in MODALITY_OF or re.search(r"\S[/\\]\S", query):
        raise UserError(
            f"There is no file {query}.",
            "Correct its path; to look for words, leave out the extension, and put spaces around slashes.",
        )
    return TEXT, utf8_of(query, "The query")


def widest(connections: Mapping[str, Sequence[Link]], sources: Sequence[str], target: str) -> str:
    """Of the connections that hold all modalities the one that holds most; the first of several.

    Raises:
        UserError: There is none.
    """
    held = {
        name: {modality for link in links for modality in (*link.modalities, link.overlap)}
        for name, links in connections.items()
    }
    known = {*MODALITIES, *(modality for modalities in held.values() for modality in modalities)} - {""}
    if target not in known:
        raise UserError(f"There is no modality {target!r}.", choice(target, sorted(known)))
    wanted = {*sources, target}
    fitting = {name: len(modalities) for name, modalities in held.items() if wanted <= modalities}
    if not fitting:
        joined = " and ".join(dict.fromkeys([*sources, target]))
        raise UserError(f"No connection joins {joined}.", "Add one to `connections` in params.yaml.")
    return max(fitting, key=lambda name: fitting[name])


def gallery_of(links: Sequence[Link], space: ConnectedSpace, modality: str) -> tuple[str, tuple[str, ...]]:
    """The frozen space that embeds what is looked for, and the corpora of it that the connection was made from."""
    for link in links:
        for name, memory in link.memories.items():
            if memory.modality == modality:
                return name, memory.corpora
    queries = next((link.queries for link in links if link.overlap == modality), ())
    return space.space_of(modality), queries
