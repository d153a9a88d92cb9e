"""Embeddings that others computed, in the files of clip-retrieval, become an embedding store marked unverified.

The layout (github.com/rom1504/clip-retrieval, `clip-retrieval inference`): numbered arrays ``img_emb/img_emb_0.npy``
and ``text_emb/text_emb_0.npy`` [N, D], usually float16, whose rows are those of ``metadata/metadata_0.parquet``.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json, sha256_keys
from pipeline.modalities import IMAGE, TEXT
from pipeline.progress import Progress
from pipeline.store import (
    EMBEDDING_COLUMN,
    EMBEDDINGS,
    Failure,
    Made,
    Manifest,
    PartFolder,
    Rows,
    Source,
    Work,
    run_parts,
    write_rows,
)
from pipeline.store.parts.names import numbered

CODE_VERSION = 1
FOLDERS = {IMAGE: "img_emb", TEXT: "text_emb"}
METADATA = "metadata"
KEY_COLUMNS = ("key", "image_path")
NORMALISE_ROWS = 65_536


@dataclass(frozen=True)
class Block:
    """One array of embeddings and the keys of its rows."""

    number: int
    array: Path
    keys: list[str]


def find_blocks(
    folder: Path, vectors: str, key_column: str = "", key_of: Callable[[str], str] = lambda name: name
) -> list[Block]:
    """The arrays in ``folder/vectors`` in the order of their numbers, with a key for each row.

    Args:
        folder: What clip-retrieval wrote.
        vectors: Folder of the arrays in it, such as ``img_emb``.
        key_column: Column of the metadata that tells samples apart; by default the first of `KEY_COLUMNS` that is
            there. Without metadata rows are numbered.
        key_of: Makes a valid key from a value of that column.

    Raises:
        UserError: There are no arrays, one is not an array [N, D] of floats, the metadata does not fit it, or a key occurs
            twice.
    """
    arrays = {_number(path): path for path in sorted((folder / vectors).glob("*.npy"))}
    if not arrays:
        raise UserError(f"There are no .npy files in {folder / vectors}.", "Name the folder that holds them.")
    tables = {_number(path): path for path in sorted((folder / METADATA).glob("*.parquet"))}
    blocks = []
    for number, path in sorted(arrays.items()):
        rows = len(_open(path))
        if not tables and not key_column:
            keys = [f"{number:05d}-{row:08d}" for row in range(rows)]
        elif number not in tables:
            raise UserError(f"{path} has no metadata of its number in {folder / METADATA}.", "Complete the folder.")
        else:
            keys = [key_of(name) for name in _names(tables[number], key_column)]
        if len(keys) != rows:
            raise UserError(f"{path} has {rows} rows, {tables[number]} has {len(keys)}.", "Complete the folder.")
        blocks.append(Block(number, path, keys))
    _refuse_repeated([key for block in blocks for key in block.keys])
    return blocks


def import_embeddings(
    blocks: Sequence[Block], folder: Path, described: dict[str, object], max_rejected: float, progress: Progress
) -> tuple[Manifest, int]:
    """Write `blocks` as an embedding store to `folder`, normalised to unit rows in float32.

    The manifest says ``unverified``: nothing here knows how the embeddings were made.

    Args:
        blocks: See `find_blocks`.
        folder: Where the store goes.
        described: What the fingerprint of an encoded store of this space says besides its encoder: space, spec,
            modalities, dimension, modality, batch_size.
        max_rejected: Largest share of rows, from 0 to 1, that may be zero or not finite.
        progress: Told how far the work is.

    Returns:
        The manifest, and how many parts were written (the others were up to date).

    Raises:
        UserError: The arrays are not as wide as the space, or too many rows are zero or not finite.
    """
    for block in blocks:
        width = _open(block.array).shape[1]
        if width != described["dimension"]:
            raise UserError(
                f"{block.array} holds embeddings of width {width}, the space has {described['dimension']}.",
                "Name the space that they were made by.",
            )
    encoder = {"family": "imported", "unverified": True, "layout": "clip-retrieval", "code_version": CODE_VERSION}
    fingerprint = {**described, "encoder": encoder}
    works = []
    for block in blocks:
        source = Source(sha256_json([sha256_file(block.array), sha256_keys(block.keys)]))
        make = ImportedBlock(block, {"fingerprint": fingerprint, "source": source.digest})
        works.append(Work(f"part-{numbered(block.number)}.parquet", source, make, len(block.keys)))
    with PartFolder(folder, EMBEDDINGS, fingerprint, corpus=folder.parent.name) as store:
        run_parts(store, works, "import", "rows", progress)
        return store.finish(max_rejected), store.computed


@dataclass(frozen=True)
class ImportedBlock:
    """Makes the part of one array; see `pipeline.store.parts.work.Make`."""

    block: Block
    metadata: dict[str, object]

    def __call__(self, path: Path, progress: Progress) -> Made:
        """Write the part to the file `path`."""
        matrix, good = _unit_rows(_open(self.block.array))
        keys = [key for key, fine in zip(self.block.keys, good, strict=True) if fine]
        rejected = [
            Failure(self.block.keys[row], "import", "BadEmbedding", "the embedding is zero or not finite")
            for row in np.flatnonzero(~good)
        ]
        digest = write_rows(
            path, Rows(keys, {EMBEDDING_COLUMN: matrix[good] if rejected else matrix}, {}), self.metadata
        )
        progress.advance(len(good))
        return Made(keys, rejected, sha256=digest)


def _unit_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`array` [N, D] as unit rows in float32, and which of them are usable [N]."""
    matrix = np.empty(array.shape, np.float32)
    good = np.empty(len(array), bool)
    for start in range(0, len(array), NORMALISE_ROWS):
        rows = array[start : start + NORMALISE_ROWS].astype(np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        good[start : start + len(rows)] = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            matrix[start : start + len(rows)] = rows / norms
    return matrix, good


def _open(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}).", "Fetch it again.") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        raise UserError(f"{path} is not an array [N, D] of floating-point numbers.", "Name the folder of embeddings.")
    return array


def _number(path: Path) -> int:
    digits = re.search(r"(\d+)$", path.stem)
    if digits is None:
        raise UserError(f"{path} has no number at the end of its name.", "Name the files as clip-retrieval does.")
    return int(digits[1])


def _names(path: Path, column: str) -> list[str]:
    try:
        columns = pq.read_schema(path).names
        column = column or next((name for name in KEY_COLUMNS if name in columns), "")
        if column not in columns:
            raise UserError(
                f"{path} has no column {column or ' or '.join(KEY_COLUMNS)!r} to make keys from.",
                f"Choose --key-column among: {', '.join(columns)}.",
            )
        values = pq.read_table(path, columns=[column], partitioning=None).column(column)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}).", "Fetch it again.") from error
    if values.null_count:
        raise UserError(f"{path} has rows without {column!r}.", "Choose another --key-column.")
    return [str(value) for value in values.to_pylist()]


def _refuse_repeated(keys: list[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise UserError(f"The key {key!r} occurs twice.", "Choose a --key-column with another value in every row.")
        seen.add(key)
