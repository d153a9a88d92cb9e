"""Which kind of source files are, where the corpus does not say it."""

import logging
from collections.abc import Sequence

from pipeline.errors import UserError
from pipeline.files.foreign import HEAD_BYTES, foreign
from pipeline.modalities import EXTENSIONS, SOURCE_MODALITY_OF, TEXT, declared_modality
from pipeline.shard.sources.kinds.audiocaps import is_audiocaps
from pipeline.shard.sources.kinds.clotho import is_clotho
from pipeline.shard.sources.kinds.table import header_of, is_table
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder

log = logging.getLogger(__name__)

KIND_OF = {
    "txt": "lines",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "table",
    "tsv": "table",
    "parquet": "table",
    "tar": "webdataset",
    "json": "coco",
}


def kind_of_file(folder: Folder, name: str, source: str, options: SourceOptions) -> str:
    """The kind of a source that is one file.

    Raises:
        UserError: It is none.
    """
    kind = KIND_OF.get(_suffix(name), "")
    if not kind and is_medium(name, options):
        return "folder"
    if not kind:
        raise UserError(
            f"{source} is not a supported kind of corpus{_is_instead(folder, name)}.",
            f"Give a folder of files, or a file that ends in {', '.join('.' + suffix for suffix in KIND_OF)}.",
        )
    if kind == "lines" and is_table(columns := header_of(folder, name), options):
        log.info("%s is read as a table with the columns %s", source, ", ".join(columns))
        return "table"
    return _by_columns(folder, name, options) if kind == "table" else kind


def _is_instead(folder: Folder, name: str) -> str:
    found = foreign(folder.read(name, HEAD_BYTES))
    return f"; it is {found[0]}" if found else ""


def kind_of_files(source: str, names: Sequence[str], options: SourceOptions) -> str:
    """The kind of a source of several files.

    Raises:
        UserError: They can be of two kinds.
    """
    suffixes = {_suffix(name) for name in names}
    media = any(is_medium(name, options) for name in names)
    if media and "tar" in suffixes:
        raise UserError(
            f"{source} holds tars as well as single files of {', '.join(options.modalities)}.",
            "Say which of them are the corpus with `kind: webdataset` or `kind: folder`.",
        )
    if media:
        _refuse_captions_elsewhere(source, names, options)
        return "folder"
    if "arrow" in suffixes:
        raise UserError(
            f"{source} holds .arrow files, as Hugging Face's `save_to_disk` writes them, which are not supported.",
            "Save it as Parquet: `datasets.load_from_disk(...).to_parquet('data.parquet')`.",
        )
    if not suffixes & KIND_OF.keys():
        return "folder"
    if "tar" in suffixes:
        return "webdataset"
    kinds = {KIND_OF[suffix] for suffix in suffixes & KIND_OF.keys()}
    if len(kinds) > 1:
        raise UserError(
            f"{source} holds files of several kinds: {', '.join(sorted(kinds))}.",
            "Name the file in the corpus' `index`, or set its `kind`.",
        )
    return kinds.pop()


def _refuse_captions_elsewhere(source: str, names: Sequence[str], options: SourceOptions) -> None:
    """Refuse files whose captions stand in a table beside them, as in Hugging Face's image folders.

    Raises:
        UserError: Captions are wanted, no file is one, and there is a table.
    """
    if TEXT not in options.modalities or any(_suffix(name) in EXTENSIONS[TEXT] for name in names):
        return
    if tables := [name for name in names if KIND_OF.get(_suffix(name)) in ("table", "jsonl", "coco")]:
        raise UserError(
            f"{source} holds no .txt with a caption, but {', '.join(tables[:3])}.",
            f"If the captions are there, say so with the corpus' `index: {tables[0]}`.",
        )


def is_medium(name: str, options: SourceOptions) -> bool:
    """Whether a file is a sample, or a part of one, by itself."""
    declared, _ = declared_modality(name, options.declared, options.modalities)
    return (declared or SOURCE_MODALITY_OF.get(_suffix(name))) in options.modalities


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def _by_columns(folder: Folder, name: str, options: SourceOptions) -> str:
    """Tell the CSV files of AudioCaps and Clotho from other tables, unless columns are named."""
    if _suffix(name) != "csv" or any(
        (options.text_column, options.path_column, options.key_column, options.item_column)
    ):
        return "table"
    header = header_of(folder, name)
    if is_audiocaps(header):
        return "audiocaps"
    return "clotho" if is_clotho(header) else "table"
