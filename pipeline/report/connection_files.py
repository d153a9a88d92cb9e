"""What is known about one connection: files of the earlier stages, each of which may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.files.reading import written_by_us
from pipeline.files.sealed import read_sealed
from pipeline.hashing import sha256_json
from pipeline.links import Link, upgraded
from pipeline.methods import Method, methods
from pipeline.store import Manifest, load_manifest
from pipeline.store.integrity.check import check_file
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parquet import read_table

CONTROL, CONNECTION, BOUND = "control", "connection", "bound"
EXAMPLES_NAME, HISTORY_NAME = "_examples.parquet", "history.parquet"
Record = dict[str, Any]


def read_records(path: Path, recorded: str = "") -> list[Record] | None:
    """The rows of a Parquet file; None when it does not exist.

    Args:
        path: The file.
        recorded: Its SHA-256, where somebody wrote it down.

    Raises:
        CorruptError: It exists and cannot be read, or has another hash.
    """
    if not path.is_file():
        return None
    if recorded:
        check_file(path, recorded, "Run the stage again that writes it.")
    records: list[Record] = read_table(path).to_pylist()
    return records


def read_json(path: Path) -> Record | None:
    """The JSON object in `path`; None when it does not exist.

    Raises:
        CorruptError: It exists and is not a JSON object.
    """
    if not path.is_file():
        return None
    with written_by_us(path):
        return read_sealed(path)


@dataclass(frozen=True)
class LinkFiles:
    """What is known about one link of a connection."""

    data: Path
    link: Link

    @property
    def label(self) -> str:
        """What the page calls it."""
        return self.link.label

    @cached_property
    def history(self) -> list[Record] | None:
        """Loss terms by step."""
        folder = self.data / "models" / (self.link.connection if self.link.part else self.link.place)
        config = read_json(folder / "config.json") or {}
        return read_records(folder / HISTORY_NAME, config.get("files", {}).get(HISTORY_NAME, ""))

    @cached_property
    def pairs(self) -> dict[str, Manifest]:
        """Manifests of the pairs by set, in the order of the link; what is not there is missing."""
        folders = {name: self.data / "pairs" / self.link.place / name for name in self.link.sets}
        return {name: load_manifest(path) for name, path in folders.items() if (path / MANIFEST_NAME).is_file()}

    @property
    def rows(self) -> int | None:
        """Number of pairs; None when there are none."""
        return sum(manifest.rows for manifest in self.pairs.values()) if self.pairs else None

    @property
    def fingerprint(self) -> Record:
        """Fingerprint of the pairs, of the first set if there are several; empty when there are none."""
        return next((manifest.fingerprint for manifest in self.pairs.values()), {})

    def neighbours(self, name: str) -> list[Record] | None:
        """A few queries of one set with their nearest neighbours in every memory."""
        path = self.data / "pairs" / self.link.place / name / EXAMPLES_NAME
        return read_records(path, self.pairs[name].files.get(EXAMPLES_NAME, "") if name in self.pairs else "")


@dataclass(frozen=True)
class ConnectionFiles:
    """What is known about one connection."""

    data: Path
    name: str
    links: Sequence[Link]

    @cached_property
    def parts(self) -> list[LinkFiles]:
        """The same of every link."""
        return [LinkFiles(self.data, link) for link in self.links]

    @cached_property
    def config(self) -> Record | None:
        """What `train` wrote about the projectors."""
        path = self.data / "models" / self.name / "config.json"
        with written_by_us(path):
            return upgraded(read_json(path) or {}) or None

    def trained(self, link: Link) -> Record:
        """What `train` wrote about one link; empty when it is not there."""
        told = (self.config or {}).get("links", ())
        return next((dict(one) for one in told if one.get("name") == link.name), {})

    @property
    def pairs_hash(self) -> str:
        """Content hash of the pairs that the projectors were trained on."""
        return sha256_json([self.trained(link).get("pairs") for link in self.links])

    @property
    def fingerprint(self) -> Record:
        """Fingerprint of the pairs, of the first set if there are several; empty when there are none."""
        return next((part.fingerprint for part in self.parts if part.pairs), {})

    @property
    def method(self) -> str:
        """Name of the method; empty when unknown."""
        return str((self.config or {}).get("method") or self.fingerprint.get("method") or "")

    @property
    def record(self) -> Method | None:
        """What is known of the method; None where its package is not installed here."""
        return methods().get(self.method)

    @property
    def pairs_are(self) -> str:
        """What the two sides of a pair are to each other, as `Method.pairs` says."""
        return self.record.pairs if self.record else ""

    @property
    def base(self) -> str:
        """The space that stays as it is; empty where there is none."""
        return self.links[0].base if self.links else ""

    @property
    def control(self) -> str:
        """Which negative control the connection is; ``none`` when it is none."""
        settings = self.fingerprint.get("settings")
        return str(settings.get("control", "none")) if isinstance(settings, dict) else "none"

    @property
    def spaces(self) -> Record:
        """By space: fingerprint with its modalities and its spec."""
        made = {name: space for part in self.parts for name, space in part.fingerprint.get("spaces", {}).items()}
        return dict((self.config or {}).get("spaces") or made)

    @property
    def group(self) -> str:
        """Where it stands in the table: `CONTROL`, `CONNECTION` or `BOUND`."""
        if self.pairs_are == "true":
            return BOUND
        return CONNECTION if self.control == "none" else CONTROL
