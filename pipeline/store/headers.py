"""Headers of tars as nearly all programs write them, read several times as fast as by `tarfile`; what is unusual is left to it."""

import tarfile
from collections.abc import Iterator
from functools import lru_cache
from io import SEEK_SET
from typing import BinaryIO, NamedTuple

BLOCK = tarfile.BLOCKSIZE
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class Header(NamedTuple):
    """One regular file in a tar.

    Attributes:
        name: Of the member.
        start: Of its content, in bytes.
        size: Of its content.
    """

    name: str
    start: int
    size: int


def plain_headers(file: BinaryIO) -> Iterator[Header]:
    """Regular files with a name of at most 100 bytes, from the start of `file` up to its end or the first member that is anything
    else, where `file` is left: `tarfile` reads on from there, and says what is wrong with it.

    Raises:
        EOFError: The file ends within a member.
    """
    place = 0
    while header := _header(file.read(BLOCK), place + BLOCK):
        yield header
        place = header.start + -(-header.size // BLOCK) * BLOCK
        file.seek(place, SEEK_SET)
    file.seek(max(place - 1, 0), SEEK_SET)
    if place and not file.read(1):
        raise EOFError("unexpected end of data")


def _header(block: bytes, start: int) -> Header | None:
    """What `block` says, with the content from `start` on; None if that takes more than its fixed fields."""
    # The field at 345 is the beginning of a long name in one format, and times in another.
    if len(block) < BLOCK or block[156:157] not in _REGULAR or block[345] or block[124] >= 0x80:
        return None
    name = _text(block[:100])
    try:
        size, checksum = _number(block[124:136]), _number(block[148:156])
        _check_others(block[100:124], block[136:148], block[329:345])
    except ValueError:
        return None
    # The sum counts its own field as eight spaces.
    if checksum != sum(block) - sum(block[148:156]) + 8 * 32 or size < 0 or name.endswith(b"/"):
        return None
    return Header(name.decode(tarfile.ENCODING, "surrogateescape"), start, size)


@lru_cache
def _check_others(owner: bytes, time: bytes, device: bytes) -> None:
    """Raise ValueError if one of the other fields is not a number: `tarfile` stops there, and has to see that header."""
    for field in (owner[:8], owner[8:16], owner[16:], time, device[:8], device[8:]):
        _number(field)


def _number(field: bytes) -> int:
    return int(_text(field).strip() or b"0", 8)


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]
