"""What the report reads: files of the earlier stages, each of which may be missing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.reading import read_bytes, retried, written_by_us
from pipeline.store import Manifest, load_manifest
from pipeline.store.manifest import MANIFEST_NAME

TRAINED = ("cmcr", "coupling", "exmcr", "excoupling", "oracle")
Record = dict[str, Any]


def read_records(path: Path) -> list[Record] | None:
    """The rows of a Parquet file; None when it does not exist.

    Raises:
        CorruptError: It exists and cannot be read.
    """
    if not path.is_file():
        return None
    with written_by_us(path):
        records: list[Record] = retried(lambda: pq.read_table(path, partitioning=None).to_pylist())
        return records


def read_json(path: Path) -> Record | None:
    """The JSON object in `path`; None when it does not exist.

    Raises:
        CorruptError: It exists and is not a JSON object.
    """
    if not path.is_file():
        return None
    with written_by_us(path):
        content = json.loads(read_bytes(path))
        if not isinstance(content, dict):
            raise TypeError("it is not a JSON object")
        return content


@dataclass(frozen=True)
class Sources:
    """Corpora that a connection was made from. Keys are unique within a corpus only, so samples are looked up there.

    Attributes:
        queries: Corpora of the overlapping modality.
        memories: By space: corpora of its memory.
        leaves: Of Ex-MCR, by leaf: the same of its link to the base.
    """

    queries: tuple[str, ...] = ()
    memories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaves: Mapping[str, "Sources"] = field(default_factory=dict)


@dataclass(frozen=True)
class ConnectionFiles:
    """What is known about one connection."""

    data: Path
    name: str

    @cached_property
    def config(self) -> Record | None:
        """What `train` wrote about the projectors."""
        return read_json(self.data / "models" / self.name / "config.json")

    @cached_property
    def history(self) -> list[Record] | None:
        """Loss terms by step."""
        return read_records(self.data / "models" / self.name / "history.parquet")

    @cached_property
    def leaves(self) -> dict[str, "ConnectionFiles"]:
        """Of Ex-MCR: every leaf as a connection of its own to the base, in the order of the configuration."""
        named = (self.config or {}).get("leaves") or {}
        found = {path.split("/")[0]: None for path in self.pairs if path.count("/") == 1}
        return {leaf: ConnectionFiles(self.data, f"{self.name}/{leaf}") for leaf in {**dict.fromkeys(named), **found}}

    @cached_property
    def pairs(self) -> dict[str, Manifest]:
        """Manifests of the pseudo-pairs by folder: "." of C-MCR, "overlap" of a leaf, "clap/overlap" of Ex-MCR."""
        root = self.data / "pairs" / self.name
        found = sorted(root.rglob(MANIFEST_NAME)) if root.is_dir() else []
        # The sets of a leaf stand in the order in which they are explained: overlap first.
        found.sort(key=lambda path: (path.parent.parent, path.parent.name != "overlap"))
        return {path.parent.relative_to(root).as_posix(): load_manifest(path.parent) for path in found}

    @property
    def rows(self) -> int | None:
        """Number of pseudo-pairs; None when there are none."""
        return sum(manifest.rows for manifest in self.pairs.values()) if self.pairs else None

    def neighbours(self, folder: str = ".") -> list[Record] | None:
        """A few queries of one set with their nearest neighbours in every memory."""
        return read_records(self.data / "pairs" / self.name / folder / "_examples.parquet")

    @property
    def fingerprint(self) -> Record:
        """Fingerprint of the pseudo-pairs, of the first set if there are several; empty when there are none."""
        return next((manifest.fingerprint for manifest in self.pairs.values()), {})

    @property
    def method(self) -> str:
        """``cmcr``, ``oracle`` ...; empty when unknown."""
        return str((self.config or {}).get("method") or self.fingerprint.get("method") or "")

    @property
    def control(self) -> str:
        """Which negative control the connection is; ``none`` when it is none."""
        settings = self.fingerprint.get("settings")
        return str(settings.get("control", "none")) if isinstance(settings, dict) else "none"

    @property
    def spaces(self) -> Record:
        """By space: fingerprint with its modalities and its spec."""
        return dict((self.config or {}).get("spaces") or self.fingerprint.get("spaces") or {})

    @property
    def group(self) -> str:
        """Where it stands in the table: ``control``, ``connection`` or ``oracle``."""
        if self.method == "oracle":
            return "oracle"
        return "connection" if self.control == "none" else "control"


@dataclass(frozen=True)
class Inputs:
    """Everything that the report reads, found under the data folder.

    Attributes:
        data: The folder.
        sources: By connection, in the order of the params.
        tasks: By task of the evaluation: the corpus of each modality.
    """

    data: Path
    sources: Mapping[str, Sources]
    tasks: Mapping[str, Mapping[str, str]]

    @cached_property
    def connections(self) -> dict[str, ConnectionFiles]:
        """By name, in the order of the params."""
        return {name: ConnectionFiles(self.data, name) for name in self.sources}

    def _metrics(self, name: str) -> list[Record] | None:
        return read_records(self.data / "metrics" / name)

    @cached_property
    def metrics(self) -> list[Record] | None:
        """Long table of all numbers."""
        return self._metrics("metrics.parquet")

    @cached_property
    def differences(self) -> list[Record] | None:
        """Every connection minus the first one of its task, on the same items."""
        return self._metrics("differences.parquet")

    @cached_property
    def examples(self) -> list[Record] | None:
        """Queries with what was found for them."""
        return self._metrics("examples.parquet")

    @cached_property
    def similarities(self) -> list[Record] | None:
        """Histograms of similarities."""
        return self._metrics("similarities.parquet")

    @cached_property
    def ranks(self) -> list[Record] | None:
        """Rank of the true sample for each query."""
        return self._metrics("ranks.parquet")

    @cached_property
    def sweeps(self) -> dict[str, list[Record]]:
        """By sweep: what each changed setting does to its connection, one row for each."""
        paths = sorted((self.data / "sweeps" / "tables").glob("*.parquet"))
        return {path.stem: read_records(path) or [] for path in paths}

    def folders(self, kind: str) -> list[tuple[str, Manifest]]:
        """Folders with a manifest under data/`kind`, by their path below it."""
        root = self.data / kind
        manifests = sorted(root.rglob(MANIFEST_NAME)) if root.is_dir() else []
        return [(path.parent.relative_to(root).as_posix(), load_manifest(path.parent)) for path in manifests]

    @property
    def main(self) -> ConnectionFiles | None:
        """The connection that the page is about: the first that is neither control nor oracle."""
        return next((files for files in self.connections.values() if files.group == "connection"), None)
