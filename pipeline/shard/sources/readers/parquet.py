"""Rows of Parquet files, and the pictures or sounds that stand in their cells, as Hugging Face writes them."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pipeline.errors import UserError
from pipeline.files.foreign import HEAD_BYTES, foreign
from pipeline.shard.sources.places import Folder

if TYPE_CHECKING:
    from pipeline.shard.sources.readers.rows import RowReader

BATCH_ROWS = 4096
# Rows whose cells hold files are taken a few at a time.
FILE_ROWS = 64
OPEN_FILES = 2
KEPT_GROUPS = 2
MAX_GROUP_BYTES = 2 << 30
_AGAIN = "Write the file again, or remove it."


@dataclass(frozen=True, slots=True)
class FileCell:
    """A file in a cell.

    Attributes:
        cells: What reads it.
        place: Where it is, for `cells`.
        head: Its first bytes.
        path: The name that it had; empty if that is not known.
    """

    cells: "Cells"
    place: object
    head: bytes
    path: str


class Cells:
    """Files in the cells of Parquet files, by (file, column, row group, row in it); the last row groups are kept, since
    samples with numbered keys are read in their order."""

    def __init__(self, folder: Folder, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = list(names)
        self._open: OrderedDict[int, tuple[BinaryIO, Any]] = OrderedDict()
        self._groups: OrderedDict[tuple[int, str, int], Any] = OrderedDict()

    def __reduce__(self) -> tuple[object, ...]:
        return Cells, (self.folder, self.names)  # another process opens them for itself

    def file(self, number: int) -> Any:
        """Parquet file `number`, open.

        Raises:
            UserError: It is none, or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if number not in self._open:
            origin = self.folder.origin(self.names[number])
            file = self.folder.open(self.names[number])
            try:
                head = file.read(HEAD_BYTES)
                if (found := foreign(head)) and not head.startswith(b"PAR1"):
                    raise UserError(f"{origin} is {found[0]}.", found[1])
                if not head:
                    raise UserError(f"{origin} is empty.", _AGAIN)
                file.seek(0)
                self._open[number] = file, pq.ParquetFile(file)
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"{origin} cannot be read as Parquet ({error}).", _AGAIN) from error
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1][0].close()
        self._open.move_to_end(number)
        return self._open[number][1]

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of the file at `place`."""
        number, column, group, row = cast(tuple[int, str, int, int], place)
        value = self._group(number, column, group)[row].as_py()
        content = value["bytes"] if isinstance(value, dict) else value
        return bytes(content[:limit])

    def _group(self, number: int, column: str, group: int) -> Any:
        import pyarrow as pa

        where = (number, column, group)
        if where not in self._groups:
            try:
                self._groups[where] = self.file(number).read_row_group(group, columns=[column]).column(column)
            except (pa.ArrowException, UserError) as error:
                raise OSError(0, f"the row group cannot be read ({error})") from error
            if len(self._groups) > KEPT_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(where)
        return self._groups[where]

    def origin(self, place: object) -> str:
        """File, row group and row of the cell at `place`."""
        number, column, group, row = cast(tuple[int, str, int, int], place)
        return f"{self.folder.origin(self.names[number])}: {column} in row {row} of row group {group}"


def parquet_rows(cells: Cells, number: int, rows: "RowReader") -> Iterator[Mapping[str, object]]:
    """Rows of Parquet file `number`, with the needed columns only; files in cells become a `FileCell`.

    Raises:
        UserError: It is not a Parquet file, or damaged, or its row groups are too large.
    """
    import pyarrow as pa

    origin = cells.folder.origin(cells.names[number])
    parquet = cells.file(number)
    schema = parquet.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        raise UserError(f"{origin} has several columns of one name.", "Give each its own name.")
    files = [field.name for field in schema if holds_files(field.type)]
    columns = rows.choose(schema.names, files)
    files = [name for name in files if name in columns.files]
    _refuse_large_groups(parquet, files, origin)
    try:
        for group in range(parquet.num_row_groups):
            row_in_group = 0
            batches = parquet.iter_batches(FILE_ROWS if files else BATCH_ROWS, row_groups=[group], columns=columns.read)
            for batch in batches:
                for row in batch.to_pylist():
                    for name in files:
                        row[name] = _file_cell(cells, (number, name, group, row_in_group), row[name])
                    row_in_group += 1
                    yield row
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{origin} cannot be read as Parquet ({error}).", _AGAIN) from error


def holds_files(kind: Any) -> bool:
    """Whether cells of this Arrow type are bytes, or the bytes and the path of a file."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _file_cell(cells: Cells, place: tuple[int, str, int, int], value: Any) -> object:
    """What stands in a cell for files: a file, the path of one that is elsewhere, or nothing."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    path = path if isinstance(path, str) else ""
    return FileCell(cells, place, content[:HEAD_BYTES], path) if content is not None else path or None


def _refuse_large_groups(parquet: Any, files: Sequence[str], origin: str) -> None:
    for group in range(parquet.num_row_groups if files else 0):
        described = parquet.metadata.row_group(group)
        for at in range(described.num_columns):
            column = described.column(at)
            if column.path_in_schema.split(".")[0] in files and column.total_uncompressed_size > MAX_GROUP_BYTES:
                raise UserError(
                    f"{origin} holds {column.total_uncompressed_size:,} bytes of files in one row group, which has to be "
                    "in memory at once.",
                    "Write it again with smaller row groups (`row_group_size=1000`).",
                )
