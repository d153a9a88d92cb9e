"""Find the raw samples of a corpus, whatever kind of source it comes from; one file of this folder per kind."""

import csv
from collections.abc import Callable, Iterator, Sequence

from pipeline.errors import UserError
from pipeline.modalities import EXTENSIONS, SOURCE_EXTENSIONS, SOURCE_MODALITY_OF
from pipeline.shard.sources.audiocaps import is_audiocaps, read_audiocaps
from pipeline.shard.sources.clotho import is_clotho, read_clotho
from pipeline.shard.sources.coco import read_coco
from pipeline.shard.sources.folder import read_folder
from pipeline.shard.sources.jsonl import read_jsonl
from pipeline.shard.sources.lines import read_lines, read_text_lines
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder, locate
from pipeline.shard.sources.sample import RawSample
from pipeline.shard.sources.table import read_table
from pipeline.shard.sources.webdataset import read_webdataset

Reader = Callable[[Folder, Sequence[str], SourceOptions], Iterator[RawSample]]

READERS: dict[str, Reader] = {
    "folder": read_folder,
    "lines": read_text_lines,
    "jsonl": read_jsonl,
    "table": read_table,
    "webdataset": read_webdataset,
    "coco": read_coco,
    "audiocaps": read_audiocaps,
    "clotho": read_clotho,
}
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
# Kinds that are told from a table by their columns.
FILE_KIND = {"audiocaps": "table", "clotho": "table"}


def find_samples(source: str, options: SourceOptions) -> Iterator[RawSample]:
    """All samples of `source` that hold at least one of the wanted modalities, in the order of the source.

    Raises:
        UserError: The source does not exist, is of a kind that is not understood, or holds no such sample.
    """
    folder, names = locate(source)
    single = names is not None and names == [source.rpartition("/")[2]]
    if options.index:
        locate(f"{source.rstrip('/')}/{options.index}")
        names, single = [options.index], True
    found = folder.names() if names is None else names
    kind = options.kind if options.kind != "auto" else _detect(source, folder, found, single, options)
    if kind != "folder" and not single:
        found = [name for name in found if KIND_OF.get(_suffix(name)) == FILE_KIND.get(kind, kind)]
    count = 0
    for sample in READERS[kind](folder, found, options):
        count += 1
        yield sample
    if not count:
        wanted = ", ".join(
            f".{extension}"
            for modality in options.modalities
            for extension in (*EXTENSIONS[modality], *SOURCE_EXTENSIONS.get(modality, ()))
        )
        raise UserError(
            f"{source} holds no sample of {', '.join(options.modalities)} (read as {kind}, {len(found)} files).",
            f"Looked for files that end in {wanted}; or set the corpus' `kind`.",
        )


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _detect(source: str, folder: Folder, names: Sequence[str], single: bool, options: SourceOptions) -> str:
    """The kind of a source that does not say it.

    Raises:
        UserError: It can be two kinds, or is none.
    """
    suffixes = {_suffix(name) for name in names}
    if single:
        kind = KIND_OF.get(_suffix(names[0]), "")
        if not kind:
            raise UserError(
                f"{source} is no kind of corpus that is understood.",
                f"Give a folder of files, or a file that ends in {', '.join('.' + suffix for suffix in KIND_OF)}.",
            )
        return _by_columns(folder, names[0], options) if kind == "table" else kind
    media = any(SOURCE_MODALITY_OF.get(suffix) in options.modalities for suffix in suffixes)
    if media and "tar" in suffixes:
        raise UserError(
            f"{source} holds tars as well as single files of {', '.join(options.modalities)}.",
            "Say which of them are the corpus with `kind: webdataset` or `kind: folder`.",
        )
    if media or not suffixes & KIND_OF.keys():
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


def _by_columns(folder: Folder, name: str, options: SourceOptions) -> str:
    """Tell the CSV files of AudioCaps and Clotho from other tables, unless columns are named."""
    if _suffix(name) != "csv" or options.text_column or options.path_column or options.key_column:
        return "table"
    with folder.open(name) as file:
        header = next(csv.reader([next(read_lines(file), "") or ""]), [])
    if is_audiocaps(header):
        return "audiocaps"
    return "clotho" if is_clotho(header) else "table"
