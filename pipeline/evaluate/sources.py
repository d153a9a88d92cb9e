"""Where the evaluation reads from, in plain values, and how the data of a bridge is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.connect.config import load_config
from pipeline.errors import UserError
from pipeline.evaluate.baselines import Bridge
from pipeline.evaluate.baselines.hops import evenly
from pipeline.hashing import seed_from
from pipeline.store import PAIRS, Store, common_keys, read_embeddings


@dataclass(frozen=True)
class Folders:
    """What the evaluation reads (embeddings, models, pairs, annotations) and writes (metrics)."""

    embeddings: Path
    models: Path
    pairs: Path
    metrics: Path
    annotations: Path | None = None

    def store(self, space: str, corpus: str, modality: str) -> Path:
        """The embedding store of one modality of a corpus."""
        return self.embeddings / space / corpus / modality


@dataclass(frozen=True)
class Memory:
    """The unpaired data of one space of a connection."""

    modality: str
    corpora: tuple[str, ...]


@dataclass(frozen=True)
class ConnectionData:
    """What a connection was made from.

    Attributes:
        spaces: Names of its frozen spaces.
        overlap: The overlapping modality; empty for an oracle.
        queries: Corpora of the overlapping modality.
        memories: By space.
        leaves: Of Ex-MCR, by leaf: its link to the base, which has all of the above, where the connection has nothing.
        pairs: Folder of the pseudo-pairs below that of the connection or leaf.
    """

    spaces: tuple[str, ...]
    overlap: str = ""
    queries: tuple[str, ...] = ()
    memories: Mapping[str, Memory] = field(default_factory=dict)
    leaves: Mapping[str, "ConnectionData"] = field(default_factory=dict)
    pairs: str = ""

    @property
    def bridged(self) -> set[str]:
        """Modalities of the memories."""
        return {memory.modality for memory in self.memories.values()}


def link_of(name: str, connection: ConnectionData, modalities: tuple[str, str]) -> tuple[str, ConnectionData]:
    """What joins two spaces by memories of `modalities`, and its name: the connection itself, or one of its leaves."""
    fitting = [leaf for leaf, link in connection.leaves.items() if set(modalities) <= link.bridged]
    return (f"{name}/{fitting[0]}", connection.leaves[fitting[0]]) if fitting else (name, connection)


def load_bridge(
    name: str, connection: ConnectionData, modalities: tuple[str, str], folders: Folders, most: int, seed: int
) -> Bridge:
    """Read what the baselines of connection `name` may know, in the order of the task's `modalities`.

    Raises:
        UserError: The connection does not bridge these modalities, or a store that it needs is missing.
    """
    spaces = bridge_spaces(name, connection, modalities)
    name, connection = link_of(name, connection, modalities)
    overlaps = [
        read_embeddings([folders.store(space, corpus, connection.overlap) for corpus in connection.queries])
        for space in spaces
    ]
    # Ordered by key: what a baseline holds out must not depend on the order of the task's modalities.
    keys, rows, others = common_keys(overlaps[0][0], overlaps[1][0])
    order = np.argsort(np.array(keys))
    rows, others = rows[order], others[order]
    memories = [_memory(connection.memories[space], space, folders) for space in spaces]
    columns = [f"{space}_{modality}" for space, modality in zip(spaces, modalities, strict=True)]
    pairs = Store.open(folders.pairs / name / connection.pairs, PAIRS)
    # Coupling pairs samples by the numbers of their rows, several to one: no table of pairs lies there.
    pseudo = None
    if pairs.manifest.fingerprint.get("method") not in ("coupling", "excoupling"):
        vectors = pairs.read(columns).vectors
        pseudo = evenly(vectors[columns[0]], most), evenly(vectors[columns[1]], most)
    config = load_config(folders.models / name)
    return Bridge(
        overlap=(evenly(overlaps[0][1][rows], most), evenly(overlaps[1][1][others], most)),
        memories=(evenly(memories[0], most), evenly(memories[1], most)),
        pseudo=pseudo,
        projectors=(config.projectors.get(spaces[0]), config.projectors.get(spaces[1])),
        init=str(config.train.get("projector", {}).get("init", "xavier")),
        seed=seed_from(seed, name, "baselines"),
    )


def bridge_spaces(name: str, connection: ConnectionData, modalities: tuple[str, str]) -> tuple[str, str]:
    """The spaces whose memories hold the two modalities.

    Raises:
        UserError: There are none: the connection has nothing to say about this pair without training.
    """
    _, link = link_of(name, connection, modalities)
    space_of = {memory.modality: space for space, memory in link.memories.items()}
    if not link.overlap or set(modalities) - space_of.keys():
        links = [*connection.leaves.values()] or [connection]
        held = "; or ".join(" and ".join(sorted(each.bridged)) for each in links)
        overlaps = "" if all(each.overlap for each in links) else ", and it has no overlapping modality"
        raise UserError(
            f"Connection {name} cannot give baselines for {modalities[0]} and {modalities[1]}: "
            f"its memories hold {held}{overlaps}.",
            "Name a connection whose two memories hold the task's modalities, or leave `baselines` empty.",
        )
    return space_of[modalities[0]], space_of[modalities[1]]


def _memory(memory: Memory, space: str, folders: Folders) -> np.ndarray:
    _, embeddings = read_embeddings([folders.store(space, corpus, memory.modality) for corpus in memory.corpora])
    return embeddings
