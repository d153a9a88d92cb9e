"""What the report reads: files of the earlier stages, each of which may be missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.links import Link
from pipeline.report.connection_files import CONNECTION, ConnectionFiles, Record, read_records
from pipeline.store import Manifest, load_manifest
from pipeline.store.integrity.made_from import changes_since
from pipeline.store.manifest import MANIFEST_NAME


@dataclass(frozen=True)
class Inputs:
    """Everything that the report reads, found under the data folder.

    Attributes:
        data: The folder.
        links: By connection, in the order of the params: its links.
        tasks: By task of the evaluation: the corpus of each modality.
        subject: The connection that page and card are about; empty for the first that is neither control nor bound.
    """

    data: Path
    links: Mapping[str, Sequence[Link]]
    tasks: Mapping[str, Mapping[str, str]]
    subject: str = ""

    @cached_property
    def connections(self) -> dict[str, ConnectionFiles]:
        """By name, in the order of the params."""
        return {name: ConnectionFiles(self.data, name, links) for name, links in self.links.items()}

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

    @cached_property
    def outdated(self) -> list[str]:
        """What is not any more what the metrics were measured on, in sentences.

        Raises:
            CorruptError: The metrics themselves are damaged.
        """
        roots = {kind: self.data / kind for kind in ("models", "pairs", "embeddings")}
        changes = changes_since(self.data / "metrics", roots, "mcr evaluate")
        return [f"{change} since the metrics were measured: run `mcr evaluate` again." for change in changes]

    def folders(self, kind: str) -> list[tuple[str, Manifest]]:
        """Folders with a manifest under data/`kind`, by their path below it."""
        root = self.data / kind
        manifests = sorted(root.rglob(MANIFEST_NAME)) if root.is_dir() else []
        return [(path.parent.relative_to(root).as_posix(), load_manifest(path.parent)) for path in manifests]

    @property
    def main(self) -> ConnectionFiles | None:
        """The connection that the page is about."""
        if self.subject:
            return self.connections[self.subject]
        return next((files for files in self.connections.values() if files.group == CONNECTION), None)
