"""Samples from rows with named columns, whatever file the rows come from."""

import os
from collections.abc import Iterable, Mapping

from pipeline.errors import UserError
from pipeline.modalities import SOURCE_MODALITY_OF, TEXT
from pipeline.shard.sources.locate import locate
from pipeline.shard.sources.options import KEY_COLUMN, PATH_COLUMNS, TEXT_COLUMNS, SourceOptions
from pipeline.shard.sources.places import Folder, RemoteFolder
from pipeline.shard.sources.sample import RawMember, RawSample, numbered_key, row_name
from pipeline.shard.sources.texts import Texts


def files_folder(folder: Folder, options: SourceOptions) -> Folder:
    """The folder of the files that an index names: `options.files` as it stands or below the index' folder.

    Raises:
        UserError: There is no such folder.
    """
    if not options.files:
        return folder
    if "://" in options.files or os.path.isabs(options.files):
        return locate(options.files).folder
    if isinstance(folder, RemoteFolder):
        return locate(f"{folder.root.rstrip('/')}/{options.files}").folder
    return locate(os.path.join(folder.root, options.files)).folder


class RowReader:
    """Makes samples of rows.

    Which columns hold what is settled by the first row; a later row without them is a sample with a fault.

    Args:
        folder: Where the file with the rows is.
        options: The names of the columns.
    """

    def __init__(self, folder: Folder, options: SourceOptions) -> None:
        self.files = files_folder(folder, options)
        self.options = options
        self.texts = Texts()
        self._name = ""
        self._columns: tuple[str, str, str] | None = None

    def begin(self, name: str) -> None:
        """The next rows come from the file `name`, whose columns may have other names."""
        self._name, self._columns = name, None
        self.texts.begin(name)

    def columns(self, found: Iterable[str]) -> tuple[str, str, str]:
        """Names of the columns of keys, texts and paths among those `found`; empty for one that is not needed.

        Raises:
            UserError: A column is not there; the message lists those that are.
        """
        found = list(found)
        wanted, options = self.options.modalities, self.options
        key = self._choose(found, "key_column", options.key_column, (KEY_COLUMN,))
        text = self._choose(found, "text_column", options.text_column, TEXT_COLUMNS) if TEXT in wanted else ""
        files = not text or len(wanted) > 1
        path = self._choose(found, "path_column", options.path_column, PATH_COLUMNS) if files else ""
        if not text and not path:
            setting = "text_column" if wanted == (TEXT,) else "path_column"
            raise UserError(
                f"{self._name} has the columns {', '.join(map(str, found)) or '(none)'}: none is known to hold the "
                f"{', '.join(wanted)}.",
                f"Say which one in the corpus' `{setting}`; known are {', '.join(TEXT_COLUMNS + PATH_COLUMNS)}.",
            )
        return key, text, path

    def _choose(self, found: list[str], setting: str, chosen: str, known: tuple[str, ...]) -> str:
        if chosen and chosen not in found:
            raise UserError(
                f"{self._name} has no column {chosen!r}; it has {', '.join(map(str, found)) or '(none)'}.",
                f"Correct the corpus' `{setting}` in params.yaml.",
            )
        return chosen or next((name for name in known if name in found), "")

    def sample(self, row: Mapping[str, object], prefix: str, number: int) -> RawSample:
        """The sample of row `number`, from 0; `prefix` begins its key if the source gives none."""
        if self._columns is None:
            self._columns = self.columns(row)
        key_column, text_column, path_column = self._columns
        value = row.get(key_column) if key_column else numbered_key(prefix, number)
        if value is None or value == "":
            return RawSample(row_name(prefix, number), fault="the row has no key")
        key = str(value)
        members: dict[str, RawMember] = {}
        if text_column and (text := self.texts.add(row.get(text_column), number + 1)):
            members[TEXT] = text
        if path_column and (path := row.get(path_column)) and isinstance(path, str):
            extension = path.rpartition(".")[2].lower()
            members.setdefault(SOURCE_MODALITY_OF.get(extension, ""), RawMember(extension, self.files, path))
        if not members:
            return RawSample(key, fault=f"the row has no {'text' if text_column else 'path'}")
        return RawSample(key, members)
