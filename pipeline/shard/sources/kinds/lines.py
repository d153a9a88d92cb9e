"""Lines of a text file in bounded memory, and the source kind `lines`: one caption in each."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import BinaryIO

from pipeline.errors import UserError
from pipeline.files.foreign import HEAD_BYTES, foreign_text
from pipeline.keys import key_of_path
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawSample, no_key, numbered_key, row_name
from pipeline.shard.sources.unread import Unread

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 4 << 20
BLOCK_BYTES = 1 << 16
_MARK = b"\xef\xbb\xbf"
# Fewer lines than these tell nothing about a file.
FEW_LINES = 5
EMPTY = "the file is empty"


@contextmanager
def text_file(folder: Folder, name: str) -> Iterator[BinaryIO]:
    """A file of UTF-8 text, open at its start.

    Raises:
        UserError: It is something else: a pointer, an archive, an error page, UTF-16.
    """
    with closing(folder.open(name)) as file:
        head = file.read(HEAD_BYTES)
        if found := foreign_text(head):
            raise UserError(f"{folder.origin(name)} is {found[0]}.", found[1])
        file.seek(0)
        yield file


def read_lines(file: BinaryIO) -> Iterator[str | None]:
    """The lines of `file` with their ends, or None for a line that is too long to be one.

    Lines end in a line feed; in a file without any, in a carriage return. Bytes that are not UTF-8 become lone
    surrogates.
    """
    start = file.tell()
    head = file.read(BLOCK_BYTES)
    file.seek(start)
    lines = _lines_by_return(file) if b"\r" in head and b"\n" not in head else _lines_by_feed(file)
    for number, line in enumerate(lines):
        if line is not None and number == 0:
            line = line.removeprefix(_MARK)
        yield None if line is None else line.decode(errors="surrogateescape")


def _lines_by_feed(file: BinaryIO) -> Iterator[bytes | None]:
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line


def _lines_by_return(file: BinaryIO) -> Iterator[bytes | None]:
    rest, cut = b"", False
    while block := file.read(BLOCK_BYTES):
        *lines, rest = (rest + block).replace(b"\n", b"\r").split(b"\r")
        for line in lines:
            yield None if cut else line + b"\n"
            cut = False
        if len(rest) > MAX_LINE_BYTES:
            rest, cut = b"", True
    if rest or cut:
        yield None if cut else rest


def prefixes(names: Sequence[str], options: SourceOptions) -> list[str]:
    """What the keys of numbered rows begin with: nothing for a single file, else a form of the file's name."""
    return [""] if len(names) == 1 and not options.further else [key_of_path(name) for name in names]


def read_text_lines(
    folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread
) -> Iterator[RawSample]:
    """One caption in each line that is not blank; its key is the number of the line, from 0."""
    texts = Texts()
    for name, prefix in zip(names, prefixes(names, options), strict=True):
        texts.begin(folder.origin(name))
        with text_file(folder, name) as file:
            empty = True
            _warn_of_columns(file, folder.origin(name))
            for number, line in enumerate(read_lines(file)):
                empty = False
                if line is None:
                    yield RawSample(row_name(prefix, number), fault="the line is too long")
                elif "\r" in line.strip():
                    yield RawSample(
                        row_name(prefix, number), fault="the line holds a carriage return, as if it were two"
                    )
                elif line.strip():
                    yield texts.sample(numbered_key(prefix, number), line.strip(), number + 1)
            if empty and len(names) > 1:
                yield RawSample(no_key(name), fault=EMPTY)


def _warn_of_columns(file: BinaryIO, origin: str) -> None:
    """Say so if the first lines look like rows of a table: each would become a caption with all its columns."""
    lines = file.read(BLOCK_BYTES).split(b"\n")[:-1]
    file.seek(0)
    tabs = {line.count(b"\t") for line in lines if line.strip()}
    if len(lines) >= FEW_LINES and len(tabs) == 1 and tabs != {0}:
        log.warning(
            "%s: each line has %d tabs and is read as one caption; if it is a table, give it a line with the names of "
            "its columns and set the corpus' `kind: table`",
            origin, tabs.pop(),
        )  # fmt: skip
