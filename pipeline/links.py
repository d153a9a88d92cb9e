"""A connection is a list of links. A link joins two frozen spaces over data: with a base there is one for each other
space, without one a single link holds both. params.yaml makes them, every stage reads them, ``config.json`` keeps them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.settings import Settings


class Memory(Settings):
    """The unpaired samples of one space that partners are made from.

    Attributes:
        modality: What they are.
        corpora: Where they come from; empty where that is not known (an imported projector).
    """

    modality: str
    corpora: tuple[str, ...] = ()


class Witness(Settings):
    """A third space that also embeds the overlapping modality and one of the memories, and so has a say in who fits whom.

    Attributes:
        space: Its name.
        modality: Of the memory that it also embeds.
    """

    space: str
    modality: str


class Keep(Settings):
    """How much frozen spaces count that stand as blocks of their own beside the connected one (`pipeline.connect.own_blocks`).

    Attributes:
        weight: One for all of them, or by space; 0: there are no blocks.
        standardise: Whether `weight` is meant for scores that spread equally: each space then gets its own, from the spread of
            its cosines beside that of the connected space's (`pipeline.connect.spreads`).
    """

    weight: float | dict[str, float] = 0.0
    standardise: bool = False

    def __bool__(self) -> bool:
        return bool(self.weight)

    def __str__(self) -> str:
        if isinstance(self.weight, dict):
            return ", ".join(f"{space} {weight:g}" for space, weight in self.weight.items())
        return f"{self.weight:g}" + (", standardised" if self.standardise else "")


class Link(Settings):
    """Two spaces and what joins them.

    Attributes:
        connection: The connection that it belongs to.
        name: Its folder below those of the connection: the leaf, or both spaces (``clip-clap``).
        spaces: The two spaces, the base first where there is one; the first one's stores decide the order of rows.
        base: The space that stays as it is; empty where both get a projector.
        overlap: The modality that both spaces embed; empty where the method needs none.
        queries: Corpora of the overlapping modality.
        memories: By space.
        sets: Its sets of pairs, each a folder below that of the link.
        witness: The witness of its pairs, whose manifest names it; none where nobody is asked.
        part: Whether it is one of several links that are trained together.
        keep: Weight of the frozen spaces as blocks beside the connected one. It changes no pair and no weight, and is
            written into no file.
        combine: By modality the factor of the leaves, where the method combines them with the base; for `keep`'s reasons in no
            file either.
    """

    connection: str
    name: str
    spaces: tuple[str, str]
    base: str = ""
    overlap: str = ""
    queries: tuple[str, ...] = ()
    memories: dict[str, Memory]
    sets: tuple[str, ...] = Field(default=())
    keep: Keep = Field(default=Keep(), exclude=True)
    combine: dict[str, float] = Field(default={}, exclude=True)
    witness: Witness | None = Field(default=None, exclude=True)
    part: bool = Field(default=False, exclude=True)

    @property
    def label(self) -> str:
        """What it is called, by people and in every seed: the connection, with the leaf where there are several links."""
        return f"{self.connection}/{self.name}" if self.base or self.part else self.connection

    @property
    def place(self) -> str:
        """Its folder below data/pairs and data/models."""
        return f"{self.connection}/{self.name}"

    @property
    def projected(self) -> tuple[str, ...]:
        """The spaces that get a projector."""
        return tuple(space for space in self.spaces if space != self.base)

    @property
    def modalities(self) -> set[str]:
        """Modalities of the memories."""
        return {memory.modality for memory in self.memories.values()}

    @property
    def corpora(self) -> tuple[str, ...]:
        """Every corpus that it reads, once."""
        memories = (corpus for memory in self.memories.values() for corpus in memory.corpora)
        return tuple(dict.fromkeys([*self.queries, *memories]))

    @property
    def overlapping_memory(self) -> str:
        """The space whose memory is of the overlapping modality itself, so that one hop joins the memories; empty: none."""
        found = (space for space, memory in self.memories.items() if memory.modality == self.overlap)
        return next(found, "")

    def memory_column(self, space: str) -> str:
        """Column of the pairs with the samples of the memory of `space`, or their averages, such as ``clip_image``."""
        return f"{space}_{self.memories[space].modality}"

    def overlap_column(self, space: str) -> str:
        """Column of the pairs with the overlapping modality as `space` embeds it, such as ``clip_text``."""
        return f"{space}_{self.overlap}"

    def corpora_of(self, space: str, modality: str) -> tuple[str, ...]:
        """Corpora of `modality` that the link reads through `space`; empty where there are none."""
        memory = self.memories.get(space)
        if memory and memory.modality == modality:
            return memory.corpora
        return self.queries if modality == self.overlap and space in self.spaces else ()


def store_folder(embeddings: Path, space: str, corpus: str, modality: str) -> Path:
    """The embedding store of one modality of a corpus."""
    return embeddings / space / corpus / modality


def name_of(spaces: tuple[str, str], base: str = "") -> str:
    """Name of the link between `spaces`: the one that is not the base, or both."""
    return "-".join(space for space in spaces if space != base)


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``config.json`` of schema version 1 as one of version 2; a newer one as it is.

    Version 1 told of a leaf in the same fields as of a whole connection, and of several leaves in a table of their own.
    """
    if config.get("schema_version") != 1:
        return dict(config)
    told = ("overlap", "memories", "train", "pairs")
    rest = {name: value for name, value in config.items() if name not in (*told, "base", "leaves")}
    base, spaces = config.get("base", ""), list(config.get("spaces", ()))
    leaves = config.get("leaves") or {name_of((spaces[0], spaces[-1]), base): config}
    connection = str(config.get("connection", ""))
    if base and not config.get("leaves"):
        connection = connection.rpartition("/")[0]
    links = [
        {
            **{name: leaf[name] for name in told if name in leaf},
            "memories": {space: {"modality": modality} for space, modality in leaf.get("memories", {}).items()},
            "connection": connection,
            "name": name,
            "spaces": [base, name] if base else spaces,
            "base": base,
        }
        for name, leaf in leaves.items()
    ]
    return {**rest, "schema_version": 2, "connection": connection, "links": links}
