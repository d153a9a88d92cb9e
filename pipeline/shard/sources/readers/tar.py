"""The members of a foreign tar: what it says is believed only where it cannot do harm."""

import io
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

# A header that asks for more than this is an attack: names and their extensions fit easily.
MAX_HEADER_BYTES = 1 << 20
BLOCK = 512
PADDING_BYTES = 1 << 20


class TarDamage(Exception):
    """A tar cannot be read on from here."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a tar.

    Attributes:
        name: As the tar gives it; never a path on this machine.
        offset: First byte of its content.
        size: Bytes of its content.
        directory: Whether it is a folder, which holds nothing.
        fault: Why it must not be read; empty if it may.
    """

    name: str
    offset: int
    size: int
    directory: bool
    fault: str


def scan_tar(file: BinaryIO) -> Iterator[Member]:
    """The members of the tar in `file`, without their content; of tars that were joined (`cat`, `tar -A`), of all.

    Raises:
        TarDamage: It is not a tar, it is damaged or cut off, or something else follows its end mark.
    """
    length = file.seek(0, io.SEEK_END)
    start: int | None = 0
    while start is not None:
        end = yield from _scan_one(file, start, length)
        start = _content_after(file, end)


def _scan_one(file: BinaryIO, start: int, length: int) -> Generator[Member, None, int]:
    """The members of the tar that begins at byte `start`; where its end mark is."""
    file.seek(start)
    try:
        with tarfile.open(fileobj=_Guarded(file), mode="r:") as archive:
            yield from _members(archive, length)
            end = archive.offset
    except TarDamage:
        raise
    except Exception as error:  # tarfile meets crafted headers with errors of many types
        raise TarDamage(str(error)[:100] or type(error).__name__) from error
    file.seek(end)
    if file.read(BLOCK) != bytes(BLOCK):
        what = "something that is not a tar follows the end mark," if 0 < start == end else "no end mark"
        raise TarDamage(f"{what} at byte {end}")
    return end


def _content_after(file: BinaryIO, end: int) -> int | None:
    """Start of the first block that is not empty after the end mark; None if there is none."""
    at = end
    file.seek(at)
    while block := file.read(PADDING_BYTES):
        if filled := block.lstrip(b"\0"):
            return at + (len(block) - len(filled)) // BLOCK * BLOCK
        at += len(block)
    return None


def _members(archive: tarfile.TarFile, length: int) -> Iterator[Member]:
    past = -1
    for info in archive:
        # Crafted sizes can lead backwards, and round in circles.
        if info.size < 0 or info.offset <= past or info.offset_data <= info.offset:
            raise TarDamage("a header that leads backwards")
        past = info.offset
        fault = ""
        if info.sparse is not None:
            fault = "a sparse member is not read"
        elif not info.isreg() and not info.isdir():
            fault = "a member that is not a regular file is not read"
        elif info.isreg() and info.offset_data + info.size > length:
            raise TarDamage("the last member is cut off")
        yield Member(info.name, info.offset_data, info.size, info.isdir(), fault)
        archive.members = []  # type: ignore[attr-defined]  # it would keep every header it has seen


class _Guarded(io.RawIOBase):
    """A file from which no header can be read that is absurdly long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise TarDamage(f"a header of {size} bytes")
        return self._file.read(size)
