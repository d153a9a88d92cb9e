"""The source kind `table`: CSV, TSV or Parquet with named columns of keys, captions or files."""

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from pipeline.errors import UserError
from pipeline.shard.sources.kinds.lines import EMPTY, prefixes, read_lines, text_file
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.parquet import Cells, parquet_rows
from pipeline.shard.sources.readers.records import delimiter_of, read_records, said_delimiter
from pipeline.shard.sources.readers.rows import RowReader
from pipeline.shard.sources.sample import RawSample, no_key, row_name
from pipeline.shard.sources.unread import Unread

log = logging.getLogger(__name__)

# Names of columns by which the first line of a .txt is told from a caption.
COLUMN_NAMES = {
    *("key", "id", "text", "caption", "captions", "sentence", "label", "url", "image", "image_name", "image_id"),
    *("audio", "path", "file", "filename", "file_name", "comment", "comment_number", "caption_number", "split"),
}


def read_table(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """One sample in each row; without a column of keys, the key is the number of the row, from 0.

    Raises:
        UserError: A file is not a table, or lacks the columns.
    """
    rows = RowReader(folder, options, unread)
    cells = Cells(folder, names)
    for number, (name, prefix) in enumerate(zip(names, prefixes(names, options), strict=True)):
        rows.begin(folder.origin(name))
        is_parquet = name.lower().endswith(".parquet")
        found = parquet_rows(cells, number, rows) if is_parquet else csv_rows(folder, name)
        for row_number, row in enumerate(found):
            if isinstance(row, str):
                yield RawSample(row_name(prefix, row_number) if row != EMPTY else no_key(name), fault=row)
            else:
                yield from rows.samples(row, prefix, row_number)


def csv_rows(folder: Folder, name: str) -> Iterator[Mapping[str, object] | str]:
    """Rows of a CSV or TSV file by column, or what is wrong with a row; blank lines are none.

    Raises:
        UserError: It is not text, its first row cannot be read, or two columns have one name.
    """
    origin = folder.origin(name)
    with text_file(folder, name) as file:
        header: list[str] | None = None
        spread: list[int] = []
        line = first_line(file)
        for record in read_records(file, delimiter_of(line, name)):
            if header is None and record.line == 1 and said_delimiter(line):
                continue
            if header is None:
                if record.fault:
                    raise UserError(
                        f"{origin} has no line of column names: {record.fault}.", "Correct the first line of the file."
                    )
                header = _column_names(record.cells, origin) if record.cells else None
            elif record.fault:
                yield record.fault
            elif record.cells and len(record.cells) != len(header):
                yield f"the row has {len(record.cells)} cells, the header has {len(header)}"
            elif record.cells:
                spread += [record.line] * (record.lines > 1)
                yield dict(zip(header, record.cells, strict=True))
        if header is None:
            yield EMPTY
    if spread:
        log.info("%s: %d rows have cells of several lines, such as that of line %d", origin, len(spread), spread[0])


def _column_names(cells: Sequence[str], origin: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise UserError(
            f"{origin} has {Counter(names)[twice[0]]} columns that are called {twice[0]!r}.", "Give each its own name."
        )
    return names


def first_line(file: BinaryIO) -> str:
    """The first line of a file that is not blank; the file is at its start before and after."""
    line = next((line for line in read_lines(file) if line is None or line.strip()), None) or ""
    file.seek(0)
    return line


def header_of(folder: Folder, name: str) -> list[str]:
    """Names of the columns of a CSV or TSV file.

    Raises:
        UserError: It is not text.
    """
    with text_file(folder, name) as file:
        line = first_line(file)
        if said := said_delimiter(line):
            lines = (one for one in read_lines(file) if one and one.strip() and not said_delimiter(one))
            return [cell.strip() for cell in next(lines, "").split(said)]
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter_of(line, name)), [])]
        except csv.Error:
            return []


def is_table(columns: Sequence[str], options: SourceOptions) -> bool:
    """Whether the first line of a .txt holds the names of columns rather than a caption."""
    named = {options.key_column, options.text_column, options.path_column, options.item_column} - {""}
    return len(columns) > 1 and (
        all(column.lower() in COLUMN_NAMES for column in columns) or bool(named and named <= set(columns))
    )


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
