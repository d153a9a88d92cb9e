"""Which columns of a table hold what: as the corpus says, or as they are usually called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.modalities import TEXT
from pipeline.shard.sources.options import KEY_COLUMN, PATH_COLUMNS, TEXT_COLUMNS, SourceOptions


@dataclass(frozen=True)
class Columns:
    """Names of columns; empty for one that is not there or not needed.

    Attributes:
        key: Of the keys.
        item: Of what tells items apart.
        text: Of the captions.
        files: Of the files or their paths.
    """

    key: str
    item: str
    text: str
    files: tuple[str, ...]

    @property
    def read(self) -> list[str]:
        """All of them."""
        return list(dict.fromkeys(name for name in (self.key, self.item, self.text, *self.files) if name))


def choose_columns(
    found: Sequence[str], options: SourceOptions, origin: str, file_columns: Collection[str] = ()
) -> Columns:
    """The columns to read among those `found`.

    Args:
        found: Names of all columns.
        options: What the corpus says about them.
        origin: Name of the file, for messages.
        file_columns: Those whose cells hold whole files.

    Raises:
        UserError: A column is not there; the message lists those that are.
    """
    wanted = options.modalities

    def choose(setting: str, chosen: str, known: Sequence[str]) -> str:
        if chosen and chosen not in found:
            raise UserError(
                f"{origin} has no column {chosen!r}; it has {', '.join(map(str, found)) or '(none)'}.",
                f"Correct the corpus' `{setting}` in params.yaml.",
            )
        return chosen or next((name for name in known if name in found), "")

    key = choose("key_column", options.key_column, (KEY_COLUMN,))
    item = choose("item_column", options.item_column, ())
    text = choose("text_column", options.text_column, TEXT_COLUMNS) if TEXT in wanted else ""
    media = [modality for modality in wanted if modality != TEXT]
    files: tuple[str, ...] = ()
    if media or not text:
        path = choose("path_column", options.path_column, PATH_COLUMNS)
        # Data sets of Hugging Face call the column of the pictures `image`.
        files = (path,) if path else tuple(name for name in media if name in found)
        files = files or tuple(name for name in file_columns if media)[:1]
    # Texts alone may be in files that the rows name.
    lacking = [TEXT] * (TEXT in wanted and not text and not (files and not media)) + media * (not files)
    if lacking:
        setting = "text_column" if lacking[0] == TEXT else "path_column"
        raise UserError(
            f"{origin} has the columns {', '.join(map(str, found)) or '(none)'}: none is known to hold the "
            f"{', '.join(lacking)}.",
            f"Say which one in the corpus' `{setting}`; known are {', '.join(TEXT_COLUMNS + PATH_COLUMNS)}.",
        )
    return Columns(key, item, text, files)
