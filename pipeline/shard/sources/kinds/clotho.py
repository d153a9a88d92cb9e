"""The source kind `clotho`: a CSV with `file_name` and `caption_1` to `caption_5`, beside a folder of sounds."""

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.keys import key_of_path
from pipeline.modalities import TEXT
from pipeline.shard.sources.kinds.captioned import Caption, caption_samples, item_samples
from pipeline.shard.sources.kinds.table import csv_rows, require
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.files import files_folder
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawSample, row_name
from pipeline.shard.sources.unread import Unread

CAPTION_COLUMN = re.compile(r"caption_([0-9]+)")


def is_clotho(columns: Sequence[str]) -> bool:
    """Whether a CSV with these columns is one of Clotho's."""
    return "file_name" in columns and "caption_1" in columns


def read_clotho(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """Captions as ``<file>-0`` to ``-4``, or sounds under the key of their file name."""
    texts = Texts()
    faults: list[RawSample] = []
    rows = _rows(folder, names, texts, faults)
    if options.modalities == (TEXT,):
        yield from caption_samples((caption for row in rows for caption in _captions(*row)), texts)
    else:
        held = [(number, dict(row)) for number, row in rows]
        captions = (caption for row in held for caption in _captions(*row)) if TEXT in options.modalities else None
        items = ((key_of_path(str(row["file_name"])), str(row["file_name"])) for _, row in held)
        yield from item_samples(items, captions, texts, files_folder(folder, options), options, unread)
    yield from faults


def _rows(
    folder: Folder, names: Sequence[str], texts: Texts, faults: list[RawSample]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    for name in names:
        texts.begin(folder.origin(name))
        for number, row in enumerate(csv_rows(folder, name), 1):
            if isinstance(row, str):
                faults.append(RawSample(row_name(key_of_path(name), number - 1), fault=row))
            else:
                require(("file_name", "caption_1"), row, folder.origin(name))
                yield number, row


def _captions(number: int, row: Mapping[str, object]) -> Iterator[Caption]:
    item = key_of_path(str(row["file_name"]))
    for column, text in row.items():
        if match := CAPTION_COLUMN.fullmatch(column):
            yield Caption(item, str(int(match[1]) - 1), text or None, number)
