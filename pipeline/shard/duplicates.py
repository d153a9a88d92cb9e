"""The table of samples of one corpus that hold the same bytes."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from pipeline.store.parquet import write_rows_of

DUPLICATES_NAME = "_duplicates.parquet"
_SCHEMA = pa.schema([("key", pa.string()), ("first_key", pa.string())])


def write_duplicates(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write key and first key of each duplicate to the file `path`."""
    write_rows_of(path, _SCHEMA, rows)
