"""Read a finished store: a folder of Parquet parts under a manifest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import CorruptError, UserError
from pipeline.store.differences import differences
from pipeline.store.integrity.preparation import comparable
from pipeline.store.manifest import Manifest, Part, load_complete_manifest
from pipeline.store.parquet import Rows, read_rows
from pipeline.store.parts.file import AGAIN, checked_part

EMBEDDINGS, PAIRS = "embeddings", "pairs"
EMBEDDING_COLUMN = "embedding"
# What a fingerprint says of the numbers in the store; nothing of float32.
STORE_AS = "store_as"
# A unit vector whose norm is further from 1 than this was not normalised, or is zero. Rounding
# to float16 changes a norm by 2**-11 at most, which is half of this.
NORM_TOLERANCE = 1e-3


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
        return self.manifest.content_hash

    def __len__(self) -> int:
        return self.manifest.rows

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Part, Rows]]:
        """Yield the parts one after the other, so that memory is bounded by one part.

        Raises:
            CorruptError: A part is missing, damaged, or is not the one that the manifest lists.
        """
        for part in self.manifest.parts:
            yield part, self.read_part(part, columns)

    def read_part(self, part: Part, columns: Sequence[str] | None = None) -> Rows:
        """Read one part, after its file was compared with the manifest; each file is hashed once per process.

        Raises:
            CorruptError: It is missing or damaged, or holds what no part of its kind may: numbers that are not finite, or
                embeddings that are not unit vectors or of another width than the space.
        """
        path = checked_part(self.folder, part)
        rows = read_rows(path, columns)
        if len(rows.keys) != part.rows:
            raise CorruptError(f"{path} holds {len(rows.keys)} rows, the manifest lists {part.rows}.", AGAIN)
        for name, matrix in rows.vectors.items():
            unit = self.manifest.kind == EMBEDDINGS and name == EMBEDDING_COLUMN
            check_vectors(
                path, rows.keys, name, matrix, unit, self.manifest.fingerprint.get("dimension") if unit else None
            )
        return rows

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
        CorruptError: A part is damaged, or holds a row that is not a unit vector.
    """
    return read_stores([Store.open(folder) for folder in folders])


def read_stores(stores: Sequence[Store]) -> tuple[list[str], np.ndarray]:
    """The same of stores that are open."""
    first = stores[0]
    for store in stores[1:]:
        if reasons := differences(*comparable(first.manifest.fingerprint, store.manifest.fingerprint)):
            raise UserError(
                f"{first.folder} and {store.folder} have different fingerprints: {'; '.join(reasons)}.",
                "Encode both with the same space before using them together.",
            )
    tables = [store.read() for store in stores]
    keys = [key for table in tables for key in table.keys]
    if len(set(keys)) != len(keys):
        raise UserError(
            f"The corpora of {', '.join(str(store.folder) for store in stores)} share keys.",
            "Give every sample a key of its own.",
        )
    return keys, np.concatenate([table.vectors[EMBEDDING_COLUMN] for table in tables])


def check_vectors(
    path: Path, keys: Sequence[str], column: str, matrix: np.ndarray, unit: bool, width: object = None
) -> None:
    """See that vectors [N, D] are finite and, if `unit`, of norm 1 within `NORM_TOLERANCE`, and as wide as they should be.

    Raises:
        CorruptError: They are not; the message names file, column and keys.
    """
    if width is not None and matrix.shape[1] != width:
        raise CorruptError(f"{path} holds embeddings of width {matrix.shape[1]}, the space has {width}.", AGAIN)
    squares = np.einsum("nd,nd->n", matrix, matrix)
    good = np.abs(squares - 1) < 2 * NORM_TOLERANCE if unit else np.isfinite(squares)
    if not good.all():
        bad = np.flatnonzero(~good)
        shown = ", ".join(keys[row] for row in bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        what = "no unit vectors" if unit and np.isfinite(squares).all() else "not finite"
        raise CorruptError(f"{path} holds rows of {column} that are {what}: {shown}.", AGAIN)
