"""Read a finished store: a folder of Parquet parts under a manifest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipeline.errors import CorruptError, UserError, first_few
from pipeline.store.differences import differences
from pipeline.store.integrity.preparation import comparable
from pipeline.store.manifest import Manifest, Part, load_complete_manifest
from pipeline.store.parquet import SINGLE, Rows, read_rows, read_widths
from pipeline.store.parts.file import AGAIN, checked_part, part_bytes
from pipeline.store.threads import map_ahead, readers

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
        """Yield the parts one after the other. Those that come next are read meanwhile, about `MOST_BYTES` of them.

        Raises:
            CorruptError: A part is missing, damaged, or is not the one that the manifest lists.
        """
        if not self.manifest.parts:
            return
        size = _largest(self)
        threads = readers(size, size * (1 if self.manifest.fingerprint.get(STORE_AS) is None else 2))
        yield from map_ahead(lambda part: (part, self.read_part(part, columns)), self.manifest.parts, threads)

    def read_part(
        self, part: Part, columns: Sequence[str] | None = None, into: Mapping[str, np.ndarray] | None = None
    ) -> Rows:
        """Read one part, after its file was compared with the manifest; each file is hashed once per process.

        Args:
            part: One of the manifest's.
            columns: Names of the columns that are read besides the keys; all if None.
            into: Arrays [N, D] float32 by column name, which are filled instead of new ones.

        Raises:
            CorruptError: It is missing or damaged, or holds what no part of its kind may: numbers that are not finite, or
                embeddings that are not unit vectors or of another width than the space.
        """
        path = checked_part(self.folder, part)
        rows = read_rows(path, columns, into)
        if len(rows.keys) != part.rows:
            raise CorruptError(f"{path} holds {len(rows.keys)} rows, the manifest lists {part.rows}.", AGAIN)
        for name, matrix in rows.vectors.items():
            unit = self.manifest.kind == EMBEDDINGS and name == EMBEDDING_COLUMN
            check_vectors(
                path, rows.keys, name, matrix, unit, self.manifest.fingerprint.get("dimension") if unit else None
            )
        for name, place in (into or {}).items():
            if rows.vectors[name] is not place:
                raise CorruptError(
                    f"{path} holds {name} of width {rows.vectors[name].shape[1]}, other parts of {place.shape[1]}.",
                    AGAIN,
                )
        return rows

    def read(self, columns: Sequence[str] | None = None) -> Rows:
        """Read all parts as one.

        Raises:
            CorruptError: A part is damaged, or a key occurs twice.
        """
        return _read_as_one([self], columns)


def _largest(store: Store) -> int:
    """Bytes of the file of the part with most rows."""
    return part_bytes(store.folder, max(store.manifest.parts, key=lambda part: part.rows))


def _read_as_one(stores: Sequence[Store], columns: Sequence[str] | None) -> Rows:
    """All parts of `stores`, each read to its place in arrays that hold all of them."""
    for store in stores:
        if not store.manifest.parts:
            raise UserError(f"{store.folder} is empty.", "Run the stage that writes it again.")
    total = sum(len(store) for store in stores)
    widths = read_widths(checked_part(stores[0].folder, stores[0].manifest.parts[0]))
    vectors = {
        name: np.empty((total, width), SINGLE) for name, width in widths.items() if columns is None or name in columns
    }

    def read(place: tuple[Store, Part, int]) -> Rows:
        store, part, start = place
        into = {name: matrix[start : start + part.rows] for name, matrix in vectors.items()}
        return store.read_part(part, columns, into)

    listed = [(store, part) for store in stores for part in store.manifest.parts]
    starts = accumulate((part.rows for _, part in listed), initial=0)
    places = [(store, part, start) for (store, part), start in zip(listed, starts, strict=False)]
    parts = list(map_ahead(read, places, readers(max(map(_largest, stores)))))
    keys = [key for rows in parts for key in rows.keys]
    _check_unique(stores, keys)
    numbers = {name: np.concatenate([rows.numbers[name] for rows in parts]) for name in parts[0].numbers}
    return Rows(keys, vectors, numbers)


def _check_unique(stores: Sequence[Store], keys: list[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    start = 0
    for store in stores:
        if len(set(keys[start : start + len(store)])) != len(store):
            raise CorruptError(f"{store.folder} holds a key twice.", "Remove the folder and run its stage again.")
        start += len(store)
    raise UserError(
        f"The corpora of {', '.join(str(store.folder) for store in stores)} share keys.",
        "Give every sample a key of its own.",
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
    rows = _read_as_one(stores, [EMBEDDING_COLUMN])
    return rows.keys, rows.vectors[EMBEDDING_COLUMN]


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
        shown = first_few([keys[row] for row in bad])
        what = "no unit vectors" if unit and np.isfinite(squares).all() else "not finite"
        raise CorruptError(f"{path} holds rows of {column} that are {what}: {shown}.", AGAIN)
