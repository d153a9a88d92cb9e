"""Hashes of the raw bytes of every sample of a corpus, so that corpora are compared without reading them again.

The shard stage has read and hashed every raw file anyway; the table is small (about 100 bytes a sample), and what was
made smaller or converted on its way into a shard is still known by the bytes that it came from.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files.reading import open_patiently, written_by_us
from pipeline.store.integrity.check import check_file
from pipeline.store.manifest import load_manifest
from pipeline.store.parquet import write_rows_of

CONTENTS_NAME = "_contents.parquet"
BATCH_ROWS = 65_536
_SCHEMA = pa.schema([("key", pa.string()), ("modality", pa.string()), ("sha256", pa.binary(32))])


def write_contents(path: Path, rows: Iterable[tuple[str, str, bytes]]) -> None:
    """Write key, modality and SHA-256 of every member to the file `path`; equal rows give equal bytes."""
    write_rows_of(path, _SCHEMA, rows)


def contents_of(folder: Path) -> Path:
    """The table of the corpus in `folder`.

    Raises:
        UserError: The corpus is not sharded, or was by an earlier version.
    """
    path = folder / CONTENTS_NAME
    if not path.is_file():
        raise UserError(f"{folder} has no {CONTENTS_NAME}.", "Run `mcr shard` for this corpus, or `dvc repro`.")
    return path


def read_contents(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield key, modality and hash of every member of the corpus in `folder`, in bounded memory.

    Raises:
        UserError: The corpus is not sharded, or was by an earlier version.
        CorruptError: The table cannot be read.
    """
    path = contents_of(folder)
    recorded = load_manifest(folder).files.get(CONTENTS_NAME)
    if recorded:
        check_file(path, recorded, "Run `mcr shard` for this corpus again.")
    with (
        written_by_us(path, "Run `mcr shard` for this corpus again."),
        open_patiently(path) as file,
        pq.ParquetFile(file, page_checksum_verification=True) as table,
    ):
        for batch in table.iter_batches(BATCH_ROWS):
            yield from zip(*(batch.column(name).to_pylist() for name in _SCHEMA.names), strict=True)
