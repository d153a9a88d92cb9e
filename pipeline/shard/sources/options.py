"""What a user says about a source, besides where it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """How a source is to be understood; see `CorpusSettings` for the meaning of each value.

    Attributes:
        modalities: What is wanted of each sample.
        kind: One of `KINDS`, or a plug-in.
        index: Captions file or manifest within the source folder.
        files: Folder of the files that an index names.
        key_column: Column of the keys; empty: ``key`` if there is one, else rows are numbered.
        item_column: Column of what tells items apart; empty: each row is an item.
        text_column: Column of the captions; empty: the first of `TEXT_COLUMNS`.
        path_column: Column of the files; empty: the first of `PATH_COLUMNS`, or the name of a modality.
        captions: What becomes of several captions in one place: ``one``, ``first`` or ``all``.
        caption_lines: Whether each line of a ``.txt`` is a caption of its own.
        declared: Modalities that the parameters declare, with the endings of their files.
        further: Whether other places come before this one, whose rows are numbered already.
    """

    modalities: tuple[str, ...]
    kind: str = "auto"
    index: str = ""
    files: str = ""
    key_column: str = ""
    item_column: str = ""
    text_column: str = ""
    path_column: str = ""
    captions: str = "one"
    caption_lines: bool = False
    declared: tuple[tuple[str, str], ...] = ()
    further: bool = False


KINDS = ("auto", "folder", "lines", "jsonl", "table", "webdataset", "coco", "audiocaps", "clotho")
KEY_COLUMN = "key"
TEXT_COLUMNS = ("text", "caption")
PATH_COLUMNS = ("path", "file_name", "filename", "file")
