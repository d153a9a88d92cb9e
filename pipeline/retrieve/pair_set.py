"""One set of the pairs of a link, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.hashing import sha256_json
from pipeline.links import Link, store_folder
from pipeline.plugins import METHODS, made_by
from pipeline.retrieve.settings import SearchSettings
from pipeline.store import open_placed
from pipeline.store.integrity.agreement import space_of

CODE_VERSION = 1

Sources = Mapping[str, tuple[Path, ...]]
"""Embedding stores by the column of the pairs that is made from them."""


@dataclass(frozen=True)
class PairSet:
    """Everything that decides one set of the pairs of a link.

    Attributes:
        link: What is joined.
        method: Name of the method.
        settings: How the pairs are made.
        seed: Base of every draw.
        embeddings: Folder of the embedding stores.
        name: One of the sets that the method knows.
        scratch: Folder for what is made on the way to the pairs, and read again after a kill; nothing depends on it.
    """

    link: Link
    method: str
    settings: SearchSettings
    seed: int
    embeddings: Path
    name: str
    scratch: Path | None = None

    @property
    def place(self) -> str:
        """Its folder below data/pairs."""
        return f"{self.link.place}/{self.name}"

    def memory_stores(self, space: str) -> tuple[Path, ...]:
        """Stores of the memory of `space`, one for each corpus."""
        memory = self.link.memories[space]
        return tuple(store_folder(self.embeddings, space, corpus, memory.modality) for corpus in memory.corpora)

    def query_stores(self, space: str) -> tuple[Path, ...]:
        """Stores of the overlapping modality as `space` embeds it, one for each corpus; none where nothing overlaps."""
        if not self.link.overlap:
            return ()
        return tuple(store_folder(self.embeddings, space, corpus, self.link.overlap) for corpus in self.link.queries)

    @property
    def memory_sources(self) -> Sources:
        """Stores of both memories."""
        return {self.link.memory_column(space): self.memory_stores(space) for space in self.link.spaces}

    @property
    def overlap_sources(self) -> Sources:
        """Stores of the overlapping modality in both spaces."""
        return {self.link.overlap_column(space): self.query_stores(space) for space in self.link.spaces}

    @property
    def witness_sources(self) -> Sources:
        """Stores of the overlapping modality, and of the memory that it knows, as the witness embeds them."""
        if not (witness := self.link.witness):
            return {}
        memory = next(memory for memory in self.link.memories.values() if memory.modality == witness.modality)
        asked = {self.link.overlap: self.link.queries, witness.modality: memory.corpora}
        return {
            f"{witness.space}_{modality}": tuple(
                store_folder(self.embeddings, witness.space, corpus, modality) for corpus in corpora
            )
            for modality, corpora in asked.items()
        }


def fingerprint(pairs: PairSet) -> dict[str, object]:
    """What can change a part, apart from embeddings.

    Raises:
        UserError: A store is missing or unfinished, or those of a space were not made by one and the same.
    """
    link = pairs.link
    # Which sets there are changes none of them. `auto` leaves the precision to the device; each part records what it was.
    left_out = {"sets", "precision"} if pairs.settings.precision == "auto" else {"sets"}
    return {
        "settings": pairs.settings.model_dump(mode="json", exclude=left_out),
        "set": pairs.name,
        "connection": link.label,
        "method": pairs.method,
        "spaces": {space: _space_fingerprint(pairs, space) for space in link.spaces},
        "overlap": link.overlap,
        "memories": {space: link.memories[space].modality for space in link.spaces},
        "seed": pairs.seed,
        "code": CODE_VERSION,
        **_witness(pairs),
        **made_by(METHODS, pairs.method),
    }


def stores_hash(folders: tuple[Path, ...]) -> str:
    """Hash of the content of several embedding stores, in their order."""
    return sha256_json([open_placed(folder).content_hash for folder in folders])


def _witness(pairs: PairSet) -> dict[str, object]:
    if not pairs.link.witness:
        return {}
    folders = [folder for each in pairs.witness_sources.values() for folder in each]
    made = space_of(pairs.link.witness.space, [open_placed(folder) for folder in folders])
    return {"witness": {"modality": pairs.link.witness.modality, "space": made}}


def _space_fingerprint(pairs: PairSet, space: str) -> dict[str, object]:
    folders = (*pairs.memory_stores(space), *pairs.query_stores(space))
    return space_of(space, [open_placed(folder) for folder in folders])
