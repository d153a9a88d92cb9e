"""What a connection retrieves, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.hashing import sha256_json
from pipeline.retrieve.settings import SearchSettings
from pipeline.store import Store

CODE_VERSION = 1
# These two describe one modality of a space; a connection is about the space.
MODALITY_ENTRIES = ("modality", "encoder")


@dataclass(frozen=True)
class MemoryStores:
    """The embedding stores, one per corpus, that make up a memory."""

    modality: str
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class PairPlan:
    """Everything that decides the pseudo-pairs of one connection.

    Attributes:
        connection: Its name; of a leaf of Ex-MCR ``<connection>/<leaf>``.
        method: A key of `pipeline.retrieve.pseudo_pairs.METHODS`.
        spaces: The two spaces; the first one's stores decide the order of the rows. Of a leaf: base and leaf.
        overlap: The modality that both embed; empty for the oracle.
        queries: By space: its embedding stores of the overlapping modality, one per corpus (none for the oracle).
        memories: By space: its memory.
        settings: How to retrieve.
        seed: Base of every draw.
        centre: Ex-MCR: whose samples are the queries, ``overlap``, ``leaf`` or ``base``.
    """

    connection: str
    method: str
    spaces: tuple[str, str]
    overlap: str
    queries: Mapping[str, tuple[Path, ...]]
    memories: Mapping[str, MemoryStores]
    settings: SearchSettings
    seed: int
    centre: str = "overlap"

    def memory_column(self, space: str) -> str:
        """Column of the partners of `space`, such as ``clip_image``."""
        return f"{space}_{self.memories[space].modality}"

    def overlap_column(self, space: str) -> str:
        """Column of the queries of `space`, such as ``clip_text``."""
        return f"{space}_{self.overlap}"

    def query_stores(self, space: str) -> tuple[Path, ...]:
        """Stores of the queries of `space`; none where nothing overlaps (the oracle)."""
        return tuple(self.queries[space]) if self.overlap else ()

    def averaged(self) -> dict[str, tuple[Path, ...]]:
        """By column: the stores that concern every row, because rows are averages over them or drawn from them."""
        memories = {self.memory_column(space): self.memories[space].folders for space in self.spaces}
        overlaps = {self.overlap_column(space): self.query_stores(space) for space in self.spaces}
        if self.centre == "overlap":
            # A control that shuffles over all queries makes each part depend on all of them; coupling always does.
            whole = self.settings.control != "none" or self.method in ("coupling", "excoupling")
            return memories | overlaps if whole else memories
        base, leaf = self.spaces
        asks = self.memory_column(leaf if self.centre == "leaf" else base)
        return overlaps | {column: folders for column, folders in memories.items() if column != asks}


def fingerprint(plan: PairPlan) -> dict[str, object]:
    """Everything that can change a part, apart from the part's own queries."""
    # Which sets there are changes none of them. `auto` leaves the precision to the device; each part records what it was.
    left_out = {"sets", "precision"} if plan.settings.precision == "auto" else {"sets"}
    entries: dict[str, object] = {"settings": plan.settings.model_dump(mode="json", exclude=left_out)}
    if plan.method == "exmcr":
        entries["centre"] = plan.centre
    return entries | {
        "connection": plan.connection,
        "method": plan.method,
        "spaces": {space: _space_fingerprint(plan, space) for space in plan.spaces},
        "overlap": plan.overlap,
        "memories": {space: plan.memories[space].modality for space in plan.spaces},
        "sources": {column: stores_hash(folders) for column, folders in plan.averaged().items()},
        "seed": plan.seed,
        "code": CODE_VERSION,
    }


def stores_hash(folders: tuple[Path, ...]) -> str:
    """Hash of the content of several embedding stores, in their order."""
    return sha256_json([Store.open(folder).content_hash for folder in folders])


def _space_fingerprint(plan: PairPlan, space: str) -> dict[str, object]:
    folders = (*plan.memories[space].folders, *plan.query_stores(space))
    found = [
        {name: value for name, value in Store.open(folder).manifest.fingerprint.items() if name not in MODALITY_ENTRIES}
        for folder in folders
    ]
    for folder, entry in zip(folders, found, strict=True):
        if {**entry, "batch_size": 0} != {**found[0], "batch_size": 0}:
            raise UserError(
                f"{folders[0]} and {folder} were not made by the same space {space!r}.",
                "Encode both with the same space; `dvc repro` makes the stale one again.",
            )
    return found[0]
