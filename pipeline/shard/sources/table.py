"""The source kind `table`: CSV, TSV or Parquet with named columns of keys, captions or files."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from pipeline.errors import UserError
from pipeline.shard.sources.lines import prefixes, read_lines
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.rows import RowReader
from pipeline.shard.sources.sample import RawSample, row_name
from pipeline.shard.sources.unread import Unread

BATCH_ROWS = 4096


def read_table(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """One sample in each row; without a column of keys, the key is the number of the row, from 0.

    Raises:
        UserError: A file is no table, or lacks the columns.
    """
    rows = RowReader(folder, options)
    for name, prefix in zip(names, prefixes(names), strict=True):
        origin = folder.origin(name)
        rows.begin(origin)
        with folder.open(name) as file:
            found = parquet_rows(file, rows, origin) if name.lower().endswith(".parquet") else csv_rows(file, name)
            for number, row in enumerate(found):
                if isinstance(row, str):
                    yield RawSample(row_name(prefix, number), fault=row)
                else:
                    yield rows.sample(row, prefix, number)


def csv_rows(file: BinaryIO, name: str) -> Iterator[Mapping[str, object] | str]:
    """Rows of a CSV or TSV file by column, or what is wrong with a row."""
    lines = _CsvLines(file)
    reader = csv.reader(lines, delimiter="\t" if name.lower().endswith(".tsv") else ",", strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"the row is damaged: {error}"
            continue
        if lines.too_long():
            yield "the row is too long"
        elif header is None:
            header = row
        elif row and len(row) != len(header):
            yield f"the row has {len(row)} cells, the header has {len(header)}"
        elif row:
            yield dict(zip(header, row, strict=True))


def require(columns: Iterable[str], row: Mapping[str, object], origin: str) -> None:
    """Refuse a table whose rows do not have all of `columns`.

    Raises:
        UserError: With the columns found.
    """
    if missing := [column for column in columns if column not in row]:
        raise UserError(
            f"{origin} has the columns {', '.join(row)}, but no {', '.join(missing)}.",
            "Set the corpus' `kind: table`, and `text_column` or `path_column`, or correct the file.",
        )


class _CsvLines:
    """Lines for the CSV reader; remembers that one was too long, since an iterator cannot say so otherwise."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = read_lines(file)
        self._too_long = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if line is None:
                self._too_long = True
                yield "\n"
            else:
                yield line

    def too_long(self) -> bool:
        """Whether a line since the last call was too long."""
        was, self._too_long = self._too_long, False
        return was


def parquet_rows(file: BinaryIO, rows: RowReader, origin: str) -> Iterator[Mapping[str, object]]:
    """Rows of a Parquet file, with the needed columns only.

    Raises:
        UserError: It is no Parquet file, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        columns = [column for column in rows.columns(parquet.schema_arrow.names) if column]
        for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{origin} cannot be read as Parquet ({error}).", "Write the file again, or remove it."
        ) from error
