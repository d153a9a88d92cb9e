"""The table of samples of one corpus that hold the same bytes."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from pipeline.store.parquet import read_table, write_rows_of

DUPLICATES_NAME = "_duplicates.parquet"
_SCHEMA = pa.schema([("key", pa.string()), ("first_key", pa.string())])


def write_duplicates(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write key and first key of each duplicate to the file `path`."""
    write_rows_of(path, _SCHEMA, rows)


def read_duplicates(folder: Path) -> list[tuple[str, str]]:
    """Key and first key of each sample whose bytes another sample of the corpus in `folder` holds as well."""
    return [(row["key"], row["first_key"]) for row in read_table(folder / DUPLICATES_NAME).to_pylist()]
