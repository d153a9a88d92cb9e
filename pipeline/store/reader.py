"""Read a finished store: a folder of Parquet parts under a manifest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import CorruptError, UserError
from pipeline.hashing import sha256_json, sha256_keys
from pipeline.store.manifest import Manifest, Part, load_complete_manifest
from pipeline.store.parquet import Rows, read_rows

EMBEDDINGS, PAIRS = "embeddings", "pairs"
EMBEDDING_COLUMN = "embedding"


@dataclass(frozen=True)
class Store:
    """A finished store, opened. Every part is checked against the manifest as it is read."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, kind: str = EMBEDDINGS) -> "Store":
        """Open the store in `folder`.

        Raises:
            UserError: There is none, it is unfinished, or it is of another kind.
        """
        return cls(folder, load_complete_manifest(folder, kind))

    @property
    def content_hash(self) -> str:
        """Hash of everything in the store: parts and fingerprint."""
        return sha256_json([self.manifest.fingerprint, [part.sha256 for part in self.manifest.parts]])

    def __len__(self) -> int:
        return self.manifest.rows

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Part, Rows]]:
        """Yield the parts one after the other, so that memory is bounded by one part.

        Raises:
            CorruptError: A part is missing, damaged, or is not the one that the manifest lists.
        """
        for part in self.manifest.parts:
            rows = read_rows(self.folder / part.name, columns)
            if len(rows.keys) != part.rows or sha256_keys(rows.keys) != part.keys_sha256:
                raise CorruptError(
                    f"{self.folder / part.name} does not hold the rows that the manifest lists.",
                    "Remove the folder and run its stage again.",
                )
            yield part, rows

    def read(self, columns: Sequence[str] | None = None) -> Rows:
        """Read all parts as one.

        Raises:
            CorruptError: A part is damaged, or a key occurs twice.
        """
        parts = [rows for _, rows in self.parts(columns)]
        if not parts:
            raise UserError(f"{self.folder} is empty.", "Run the stage that writes it again.")
        keys = [key for rows in parts for key in rows.keys]
        if len(set(keys)) != len(keys):
            raise CorruptError(f"{self.folder} holds a key twice.", "Remove the folder and run its stage again.")
        first = parts[0]
        return Rows(
            keys,
            {name: np.concatenate([rows.vectors[name] for rows in parts]) for name in first.vectors},
            {name: np.concatenate([rows.numbers[name] for rows in parts]) for name in first.numbers},
        )


def read_embeddings(folders: Sequence[Path]) -> tuple[list[str], np.ndarray]:
    """Keys and embeddings [N, D] float32 of one or more stores of the same space and modality.

    Raises:
        UserError: The stores were made by different spaces, or share a key.
    """
    stores = [Store.open(folder) for folder in folders]
    for store in stores[1:]:
        if store.manifest.fingerprint != stores[0].manifest.fingerprint:
            raise UserError(
                f"{stores[0].folder} and {store.folder} have different fingerprints.",
                "Encode both with the same space before using them together.",
            )
    tables = [store.read() for store in stores]
    keys = [key for table in tables for key in table.keys]
    if len(set(keys)) != len(keys):
        raise UserError(
            f"The corpora of {', '.join(map(str, folders))} share keys.", "Give every sample a key of its own."
        )
    return keys, np.concatenate([table.vectors[EMBEDDING_COLUMN] for table in tables])
