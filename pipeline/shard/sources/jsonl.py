"""The source kind `jsonl`: one JSON object in each line, with a caption, a file, or both."""

import json
from collections.abc import Iterator, Sequence

from pipeline.shard.sources.lines import prefixes, read_lines
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.rows import RowReader
from pipeline.shard.sources.sample import RawSample, row_name
from pipeline.shard.sources.unread import Unread


def read_jsonl(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """One sample in each line that is not blank.

    Raises:
        UserError: The first object lacks the columns.
    """
    rows = RowReader(folder, options)
    for name, prefix in zip(names, prefixes(names), strict=True):
        rows.begin(folder.origin(name))
        with folder.open(name) as file:
            for number, line in enumerate(read_lines(file)):
                if line is not None and not line.strip():
                    continue
                yield _sample(rows, line, prefix, number)


def _sample(rows: RowReader, line: str | None, prefix: str, number: int) -> RawSample:
    name = row_name(prefix, number)
    if line is None:
        return RawSample(name, fault="the line is too long")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return RawSample(name, fault="the line is no JSON")
    if not isinstance(row, dict):
        return RawSample(name, fault="the line is no JSON object")
    return rows.sample(row, prefix, number)
