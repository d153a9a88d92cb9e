"""Lines of a text file in bounded memory, and the source kind `lines`: one caption in each."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawSample, key_of_path, numbered_key, row_name
from pipeline.shard.sources.texts import Texts
from pipeline.shard.sources.unread import Unread

MAX_LINE_BYTES = 4 << 20
_MARK = b"\xef\xbb\xbf"


def read_lines(file: BinaryIO) -> Iterator[str | None]:
    """The lines of `file` with their ends, or None for a line that is too long to be one.

    Bytes that are no UTF-8 become lone surrogates.
    """
    first = True
    while line := file.readline(MAX_LINE_BYTES):
        if first:
            line, first = line.removeprefix(_MARK), False
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line.decode(errors="surrogateescape")


def prefixes(names: Sequence[str]) -> list[str]:
    """What the keys of numbered rows begin with: nothing for a single file, else a form of the file's name."""
    return [""] if len(names) == 1 else [key_of_path(name) for name in names]


def read_text_lines(
    folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread
) -> Iterator[RawSample]:
    """One caption in each line that is not blank; its key is the number of the line, from 0."""
    texts = Texts()
    for name, prefix in zip(names, prefixes(names), strict=True):
        texts.begin(folder.origin(name))
        with folder.open(name) as file:
            for number, line in enumerate(read_lines(file)):
                if line is None:
                    yield RawSample(row_name(prefix, number), fault="the line is too long")
                elif line.strip():
                    yield texts.sample(numbered_key(prefix, number), line.strip(), number + 1)
