"""Samples from rows with named columns, whatever file the rows come from."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import SampleError
from pipeline.keys import key_of_file
from pipeline.modalities import SOURCE_MODALITY_OF, TEXT
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.columns import Columns, choose_columns
from pipeline.shard.sources.readers.files import cell_member, file_member, files_folder
from pipeline.shard.sources.readers.parquet import FileCell
from pipeline.shard.sources.readers.texts import Texts, captions_in, kind_of_value
from pipeline.shard.sources.sample import ITEM_SEPARATOR, RawMember, RawSample, numbered_key, row_name, samples_of
from pipeline.shard.sources.unread import Unread


@dataclass
class _Item:
    """What the first row of an item said, and how many captions it has so far."""

    files: list[object]
    captions: int = 0


@dataclass
class RowReader:
    """Makes samples of rows.

    Which columns hold what is settled by the first row; a later row without them is a sample with a fault.

    Attributes:
        folder: Where the file with the rows is.
        options: The names of the columns.
        unread: Told of captions and rows that are passed over.
    """

    folder: Folder
    options: SourceOptions
    unread: Unread
    texts: Texts = field(default_factory=Texts)
    _name: str = ""
    _columns: Columns | None = None
    _items: dict[str, _Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = files_folder(self.folder, self.options)

    def begin(self, name: str) -> None:
        """The next rows come from the file `name`, whose columns may have other names."""
        self._name, self._columns = name, None
        self.texts.begin(name)

    def choose(self, found: Sequence[str], file_columns: Collection[str] = ()) -> Columns:
        """Settle which of the columns `found` are read.

        Raises:
            UserError: A column is not there; the message lists those that are.
        """
        self._columns = choose_columns(found, self.options, self._name, file_columns)
        return self._columns

    def samples(self, row: Mapping[str, object], prefix: str, number: int) -> Iterator[RawSample]:
        """The samples of row `number`, from 0; `prefix` begins its key if the source gives none.

        A row is one sample; one of several captions, or of an item that several rows describe, is more than one.
        """
        columns = self._columns or self.choose(list(row))
        if columns.item:
            yield from self._samples_of_item(columns, row, prefix, number)
            return
        value = row.get(columns.key) if columns.key else numbered_key(prefix, number)
        if value is None or value == "":
            yield RawSample(row_name(prefix, number), fault="the row has no key")
            return
        key = str(value)
        try:
            media = self._media(columns, row)
            texts = self._captions(columns, row, number)
        except SampleError as error:
            yield RawSample(key, fault=error.message)
            return
        members = ({TEXT: texts[0]} if texts else {}) | media
        if not members:
            yield RawSample(key, fault=f"the row has no {'text' if columns.text else 'path'}")
        else:
            yield from samples_of(key, members, texts, self.options)

    def _samples_of_item(
        self, columns: Columns, row: Mapping[str, object], prefix: str, number: int
    ) -> Iterator[RawSample]:
        """The item with its files when it comes first, and the captions of the row as partners of it."""
        value = row.get(columns.item)
        if value is None or value == "":
            yield RawSample(row_name(prefix, number), fault="the row has no item")
            return
        key = key_of_file(str(value))
        named = [_identity(row.get(name)) for name in columns.files]
        known = self._items.get(key)
        if known and known.files != named:
            fault = f"the row names another file than the first row of its item {key[:80]}"
            yield RawSample(row_name(prefix, number), fault=fault)
            return
        item = self._items.setdefault(key, known or _Item(named))
        wanted = tuple(modality for modality in self.options.modalities if modality != TEXT)
        if wanted and not known:
            try:
                yield RawSample(key, self._media(columns, row), wanted=wanted)
            except SampleError as error:
                yield RawSample(key, fault=error.message)
        elif not columns.text:
            self.unread.add("further rows of an item")
        if columns.text:
            try:
                texts = self._captions(columns, row, number)
                if not texts:
                    raise SampleError("read", "the row has no text")
            except SampleError as error:
                yield RawSample(row_name(prefix, number), fault=error.message)
                return
            for text in texts:
                yield RawSample(f"{key}{ITEM_SEPARATOR}{item.captions}", {TEXT: text}, wanted=(TEXT,))
                item.captions += 1

    def _captions(self, columns: Columns, row: Mapping[str, object], number: int) -> list[RawMember]:
        if not columns.text:
            return []
        captions = captions_in(
            row.get(columns.text), f"the column {columns.text!r}", self.options.captions, self.unread
        )
        return [self.texts.add(caption, number + 1) for caption in captions]

    def _media(self, columns: Columns, row: Mapping[str, object]) -> dict[str, RawMember]:
        """The files of a row by modality; a row without a path has none.

        Raises:
            SampleError: What stands there is no file that could be read.
        """
        members: dict[str, RawMember] = {}
        for name in columns.files:
            value = row.get(name)
            if isinstance(value, FileCell):
                member = cell_member(value, name)
            elif isinstance(value, str) and value:
                member = file_member(self.files, value)
            elif value is None or value == "":
                continue
            else:
                raise SampleError("read", f"the column {name!r} holds {kind_of_value(value)}, no path")
            members.setdefault(SOURCE_MODALITY_OF[member.extension], member)
        return members


def _identity(value: object) -> object:
    """What a cell names, as far as it can be compared with another."""
    return (value.head, value.path) if isinstance(value, FileCell) else value
