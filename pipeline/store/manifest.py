"""The manifest of a folder of parts: what it does not list does not exist."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptError, UserError
from pipeline.files.reading import written_by_us
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_json
from pipeline.store.parts.journal import read_journal
from pipeline.store.parts.names import file_name_of, stays_inside

SCHEMA_VERSION = 2
# Version 1 lists no tables and names no corpus.
READABLE_VERSIONS = (1, 2)
# The underscore hides the file from Parquet readers that open the whole folder as one table.
MANIFEST_NAME = "_manifest.json"
FAILURES_NAME = "_failures.parquet"
# The command that writes a folder, by the name that such folders lie below.
WRITERS = {"shards": "shard", "embeddings": "encode", "pairs": "retrieve"}


@dataclass(frozen=True)
class Failure:
    """One rejected sample: a row of the failures file."""

    key: str
    step: str
    error: str
    message: str


@dataclass(frozen=True)
class Location:
    """Where a file lies that is not in the folder.

    Attributes:
        address: Of the object, such as ``s3://bucket/project/shards/photos/00000.tar``.
        size: In bytes.
        etag: What the store calls this content; empty where it has no word for it.
    """

    address: str
    size: int
    etag: str = ""


@dataclass(frozen=True)
class Part:
    """One file of the folder, or at the address that the folder has elsewhere; committed.

    Attributes:
        name: Path within the folder, see `path_in_folder`.
        rows: Samples in the file.
        sha256: Hash of the file.
        keys_sha256: Hash of the keys in their order.
        source: Hash of what the part was made from; a part whose source changed is stale.
        rejected: Samples of the source that are not in the file.
        arithmetic: Kind of device and precision that computed it, such as ``cuda fp16``; empty where nothing did, and in
            parts of earlier versions, which count as a CPU's.
        decoders: Version of the decoders that made it, or that would have made the same; 0 where nothing was decoded.
        transparent: Pictures among its samples with an alpha channel or a transparent colour; 0 also where nobody looked.
        location: Where the file lies; None: in the folder.
    """

    name: str
    rows: int
    sha256: str
    keys_sha256: str
    source: str
    rejected: tuple[Failure, ...] = ()
    arithmetic: str = ""
    decoders: int = 0
    transparent: int = 0
    location: Location | None = None

    @property
    def file_name(self) -> str:
        """What the part is called, in whichever subfolder it lies."""
        return file_name_of(self.name)

    @property
    def samples_in(self) -> int:
        """Samples that the source held: rows plus rejects."""
        return self.rows + len(self.rejected)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Part":
        """The part that a manifest or a journal describes.

        Raises:
            CorruptError: Its name leads out of the folder.
        """
        if not stays_inside(entry["name"]):
            raise CorruptError(
                f"A part is called {entry['name']!r}, which leads out of its folder.",
                "Remove the folder and run the stage again.",
            )
        location = Location(**entry["location"]) if entry.get("location") else None
        rejected = tuple(Failure(**failure) for failure in entry["rejected"])
        return cls(**{**entry, "rejected": rejected, "location": location})

    def entry(self) -> dict[str, Any]:
        """The part as a manifest or a journal describes it: a location is named where there is one."""
        found = asdict(self)
        return found if self.location else {name: value for name, value in found.items() if name != "location"}


@dataclass(frozen=True)
class Manifest:
    """State of a folder of parts, written when all of them are there; until then the journal lists what is committed.

    Attributes:
        kind: ``shards``, ``embeddings`` or ``pairs``.
        fingerprint: Everything that can change the content of a part, apart from the part's own source.
        parts: Committed parts in the order of their file names, which is that of their numbers.
        complete: Whether every part that the stage planned is there; readers refuse an incomplete folder.
        files: SHA-256 by name of the tables beside the parts: failures, contents, examples.
        corpus: Whose samples these are; empty for pairs, and in manifests of the first version.
        not_read: How much of the source is neither in a part nor rejected, by what it is (``.gif``, ``hidden``).
    """

    kind: str
    fingerprint: dict[str, object]
    parts: tuple[Part, ...] = ()
    complete: bool = False
    files: dict[str, str] = field(default_factory=dict)
    corpus: str = ""
    schema_version: int = field(default=SCHEMA_VERSION)
    not_read: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Samples in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def rejected(self) -> int:
        """Rejected samples of all parts."""
        return sum(len(part.rejected) for part in self.parts)

    @property
    def content_hash(self) -> str:
        """Hash of everything in the folder: parts and fingerprint."""
        return sha256_json([self.fingerprint, [part.sha256 for part in self.parts]])

    def save(self, folder: Path) -> None:
        """Write the manifest to `folder` atomically."""
        # Sorted at every depth: readers take the order in a fingerprint for the alphabet's.
        content = {**asdict(replace(self, parts=())), "parts": [part.entry() for part in self.parts]}
        write_sealed(folder / MANIFEST_NAME, json.loads(json.dumps(content, sort_keys=True)))


def load_manifest(folder: Path) -> Manifest:
    """Read what is committed in `folder`: its manifest, and while it is under construction what its journal adds.

    Raises:
        UserError: There is neither, or a newer version of this program wrote it.
        CorruptError: It is not a manifest.
    """
    path = folder / MANIFEST_NAME
    entries = read_journal(folder).entries
    if not path.is_file() and not entries:
        writer = next((stage for kind, stage in WRITERS.items() if kind in folder.parts), "")
        again = f"`dvc repro`, or `mcr {writer}`" if writer else "`dvc repro`"
        raise UserError(f"{folder} has no {MANIFEST_NAME}.", f"Correct its name, or run {again} first.")
    manifest = read_manifest(path) if path.is_file() else None
    if not entries:
        assert manifest
        return manifest
    header = entries[0]
    fingerprint = header.get("fingerprint", {})
    parts = (
        {part.file_name: part for part in manifest.parts} if manifest and manifest.fingerprint == fingerprint else {}
    )
    parts |= parts_in(entries)
    listed = tuple(parts[name] for name in sorted(parts))
    return Manifest(header.get("kind", ""), fingerprint, listed, corpus=header.get("corpus", ""))


def parts_in(entries: Iterable[Mapping[str, Any]]) -> dict[str, Part]:
    """The parts that entries of a journal commit, by file name; of one that was committed twice, the later.

    Raises:
        CorruptError: See `Part.of`.
    """
    parts = (Part.of(entry["part"]) for entry in entries if "part" in entry)
    return {part.file_name: part for part in parts}


def read_manifest(path: Path) -> Manifest:
    """Read the manifest in the file `path`.

    Raises:
        UserError: A newer version of this program wrote it.
        CorruptError: It is not a manifest.
    """
    with written_by_us(path, "Remove the folder and run the stage again."):
        content = read_sealed(path)
        version = content["schema_version"]
        if version not in READABLE_VERSIONS:
            raise UserError(
                f"{path} has schema version {version}, this program reads {' and '.join(map(str, READABLE_VERSIONS))}.",
                "Use the version of mcr-connect that wrote it, or remove the folder and run the stage again.",
            )
        content |= {"schema_version": SCHEMA_VERSION, "parts": tuple(Part.of(part) for part in content["parts"])}
        return Manifest(**content)


def load_complete_manifest(folder: Path, kind: str) -> Manifest:
    """Read the manifest of a finished folder of `kind`.

    Raises:
        UserError: Missing, unfinished, or of another kind.
    """
    manifest = load_manifest(folder)
    if manifest.kind != kind:
        raise UserError(f"{folder} holds {manifest.kind}, not {kind}.", "Check the paths in params.yaml and dvc.yaml.")
    if not manifest.complete:
        raise UserError(
            f"{folder} is unfinished: {len(manifest.parts)} parts are committed.",
            "Run the stage that writes it again; it continues where it stopped.",
        )
    return manifest
