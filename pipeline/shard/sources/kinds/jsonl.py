"""The source kind `jsonl`: one JSON object in each line, with a caption, a file, or both."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from pipeline.errors import UserError
from pipeline.shard.sources.kinds.lines import BLOCK_BYTES, EMPTY, prefixes, read_lines, text_file
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.rows import RowReader
from pipeline.shard.sources.sample import RawSample, no_key, row_name
from pipeline.shard.sources.unread import Unread


def read_jsonl(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """One sample in each line that is not blank.

    Raises:
        UserError: The first object lacks the columns.
    """
    rows = RowReader(folder, options, unread)
    for name, prefix in zip(names, prefixes(names, options), strict=True):
        rows.begin(folder.origin(name))
        with text_file(folder, name) as file:
            _refuse_list(file, folder.origin(name))
            empty = True
            for number, line in enumerate(read_lines(file)):
                empty = False
                if line is None or line.strip():
                    yield from _samples(rows, line, prefix, number)
            if empty and len(names) > 1:
                yield RawSample(no_key(name), fault=EMPTY)


def _refuse_list(file: BinaryIO, origin: str) -> None:
    if re.match(rb"\s*\[\s*\{", file.read(BLOCK_BYTES).removeprefix(b"\xef\xbb\xbf")):
        raise UserError(f"{origin} is one JSON list, expected an object in each line.", "Write each entry as a line.")
    file.seek(0)


def _samples(rows: RowReader, line: str | None, prefix: str, number: int) -> Iterator[RawSample]:
    name = row_name(prefix, number)
    fault = ""
    row: object = None
    if line is None:
        fault = "the line is too long"
    else:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            fault = "the line is not JSON"
    if isinstance(row, dict):
        yield from rows.samples(row, prefix, number)
    else:
        yield RawSample(name, fault=fault or "the line is not a JSON object")
