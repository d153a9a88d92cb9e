"""One Parquet file of keyed vectors.

A vector column is a non-null fixed-size binary of little-endian float32, or float16 where that was asked for: measured against a list column it
scans several times faster (``benchmarks/store.py``), and it opens anywhere without this code::

    table = pandas.read_parquet("data/embeddings/clip/photos/image")
    numpy.frombuffer(b"".join(table.embedding), "<f4").reshape(len(table), -1)
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files.reading import retried, written_by_us
from pipeline.hashing import HashedFile

METADATA_KEY = b"mcr"
ROW_GROUP_ROWS = 65_536
# Of tables: what Arrow takes where nothing else is said.
TABLE_GROUP_ROWS = 1 << 20
FLOAT_BYTES = 4
SINGLE, HALF = "<f4", "<f2"
# What is read at a time: bytes of a column, and rows.
_BUFFER = 1 << 21
_ROWS_AT_ONCE = 2048
# Numbers that torch converts in the thread that asks: with more it would start threads for each thread that reads.
_ALONE = 1 << 15


@dataclass(frozen=True)
class Rows:
    """Keyed rows in memory, column by column.

    Attributes:
        keys: N unique keys.
        vectors: Arrays [N, D] by column name: float32 when read; float16 to be written in half the bytes.
        numbers: Arrays [N] float64 or int64 by column name.
    """

    keys: list[str]
    vectors: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]


def write_table(path: Path, table: pa.Table, compression: str = "snappy") -> None:
    """Write any table to `path` with page checksums, which turn a flipped bit into an error where they are verified."""
    pq.write_table(table, path, compression=compression, write_page_checksum=True)


def write_rows_of(path: Path, schema: pa.Schema, rows: Iterable[tuple[object, ...]]) -> None:
    """Write the same file as `write_table` from `rows`, of which a row group at a time is in memory."""
    with pq.ParquetWriter(path, schema, compression="snappy", write_page_checksum=True) as writer:
        batches: list[pa.RecordBatch] = []
        remaining, first = iter(rows), True
        while first or batches:
            batches = list(islice(_batches(remaining, schema), TABLE_GROUP_ROWS // ROW_GROUP_ROWS))
            if first or batches:
                writer.write_table(pa.Table.from_batches(batches, schema).combine_chunks(), TABLE_GROUP_ROWS)
            first = False


def _batches(rows: Iterator[tuple[object, ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while some := list(islice(rows, ROW_GROUP_ROWS)):
        columns = [pa.array(values, kind) for values, kind in zip(zip(*some, strict=True), schema.types, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def read_table(path: Path) -> pa.Table:
    """Read a table of ours whole, page checksums verified.

    Raises:
        CorruptError: The file is damaged or not Parquet.
    """
    with written_by_us(path):
        return retried(lambda: _read_table(path, None))


def write_rows(path: Path, rows: Rows, metadata: Mapping[str, object]) -> str:
    """Write `rows` to `path`; equal rows and metadata give equal bytes.

    Page checksums are on: a reader that verifies them turns every flipped bit into an error.

    Returns:
        SHA-256 of the file.
    """
    columns: list[pa.Array] = [pa.array(rows.keys, pa.string())]
    fields = [pa.field("key", pa.string(), nullable=False)]
    for name, matrix in rows.vectors.items():
        matrix = np.ascontiguousarray(matrix, dtype=_stored_type(matrix))
        kind = pa.binary(matrix.shape[1] * matrix.itemsize)
        columns.append(pa.FixedSizeBinaryArray.from_buffers(kind, len(matrix), [None, pa.py_buffer(matrix)]))
        fields.append(pa.field(name, kind, nullable=False))
    for name, numbers in rows.numbers.items():
        columns.append(pa.array(numbers))
        fields.append(pa.field(name, columns[-1].type, nullable=False))
    vectors = {
        name: {"dimension": int(matrix.shape[1]), "dtype": _stored_type(matrix)}
        for name, matrix in rows.vectors.items()
    }
    described = {**metadata, "vectors": vectors}
    schema = pa.schema(fields, metadata={METADATA_KEY: json.dumps(described, sort_keys=True)})
    with HashedFile(path) as file:
        pq.write_table(
            pa.Table.from_arrays(columns, schema=schema),
            file,
            compression="NONE",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
            row_group_size=ROW_GROUP_ROWS,
        )
    return file.sha256


def read_rows(path: Path, columns: Sequence[str] | None = None, into: Mapping[str, np.ndarray] | None = None) -> Rows:
    """Read keys and the named columns (all if None) of `path`, page checksums verified.

    Args:
        path: The file.
        columns: Their names.
        into: Arrays [N, D] float32 by column name, which are filled instead of new ones if they are of the file's shape.

    Raises:
        CorruptError: The file is damaged, not one of ours, or lacks a column.
    """
    with written_by_us(path):
        return retried(lambda: _read_rows(path, None if columns is None else ["key", *columns], into or {}))


def read_widths(path: Path) -> dict[str, int]:
    """Width D of every column of vectors in `path`; no row is read.

    Raises:
        CorruptError: The file is damaged or not one of ours.
    """
    with written_by_us(path):
        metadata = retried(lambda: pq.read_schema(path)).metadata
        return {name: int(spec["dimension"]) for name, spec in json.loads(metadata[METADATA_KEY])["vectors"].items()}


def _read_table(path: Path, columns: list[str] | None) -> pa.Table:
    # Not pq.read_table, which imports and builds a data set for this one file.
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns=columns)


def _read_rows(path: Path, wanted: list[str] | None, into: Mapping[str, np.ndarray]) -> Rows:
    # A few rows at a time, each of them copied once, through memory that stays in the processor's cache.
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER) as file:
        names = list(file.schema_arrow.names if wanted is None else wanted)
        if lacking := sorted({*names, *into} - set(file.schema_arrow.names)):  # it leaves them out without a word
            raise KeyError(f"no column {', '.join(lacking)}")
        count = file.metadata.num_rows
        described = json.loads(file.schema_arrow.metadata[METADATA_KEY])["vectors"]
        widths = {name: int(spec["dimension"]) for name, spec in described.items() if name in names}
        types = {name: _known_type(described[name]["dtype"]) for name in widths}
        if any(count * widths[name] * types[name].itemsize > path.stat().st_size for name in widths):
            raise ValueError(f"{count} rows do not fit into it")
        vectors = {
            name: into[name]
            if name in into and into[name].shape == (count, width)
            else np.empty((count, width), SINGLE)
            for name, width in widths.items()
        }
        empty = file.schema_arrow.empty_table()
        numbers = {name: [empty.column(name).to_numpy()] for name in names if name != "key" and name not in widths}
        keys: list[str] = []
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
            rows = slice(len(keys), len(keys) + len(batch))
            for name, width in widths.items():
                _put(_vectors(batch.column(name), width, types[name]), vectors[name][rows])
            for name, found in numbers.items():
                found.append(batch.column(name).to_numpy(zero_copy_only=False))
            keys += batch.column("key").to_numpy(zero_copy_only=False).tolist()
        if len(keys) != count:
            raise ValueError(f"{len(keys)} rows instead of {count}")
        return Rows(keys, vectors, {name: np.concatenate(found) for name, found in numbers.items()})


def _stored_type(matrix: np.ndarray) -> str:
    return HALF if matrix.dtype == np.float16 else SINGLE


def _known_type(said: str) -> np.dtype[Any]:
    if said not in (SINGLE, HALF):
        raise ValueError(f"numbers of the type {said}")
    return np.dtype(said)


def _put(found: np.ndarray, place: np.ndarray) -> None:
    """Write rows of a column over those of the array that is read into."""
    if found.dtype == np.float16:
        import torch  # converts halves at the speed of memory; numpy 1.26 is many times slower

        halves, target = torch.frombuffer(found, dtype=torch.float16).view(found.shape), torch.from_numpy(place)
        rows = max(1, _ALONE // found.shape[1])
        for start in range(0, len(found), rows):
            target[start : start + rows].copy_(halves[start : start + rows])
    else:
        place[:] = found


def _vectors(column: pa.Array, width: int, kind: np.dtype[Any]) -> np.ndarray:
    found = np.frombuffer(column.buffers()[1], kind).reshape(-1, width)
    return found[column.offset : column.offset + len(column)]
