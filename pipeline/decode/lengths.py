"""How long a sound really is: what its header promises against the bytes that are there."""

import io
import re
from collections.abc import Iterator
from itertools import islice

# Programs that write to a pipe cannot go back and fill in the size; no payload here is that large.
_UNKNOWN_SIZE = 0x7FFF0000
_SHORT = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64 = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
# Before an MPEG frame of layer II or III there are eleven set bits; how far, and how often, they are looked for.
_SYNC = re.compile(rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd]")
_JUNK, _TRIES = 1 << 20, 16


def promised_more(kind: str, log: str, payload: bytes) -> str:
    """In words, how much less a file holds than its header promises; empty if it is whole.

    libsndfile reads what is there and mentions the gap only in its log.

    Args:
        kind: The format, as libsndfile calls it.
        log: What libsndfile wrote while it opened the file.
        payload: The file.
    """
    for match in _SHORT.finditer(log):
        promised, there = int(match[1]), int(match[2])
        if there < promised < _UNKNOWN_SIZE:
            return f"{there} of {promised} bytes"
    if (frames := _RF64.search(log)) and int(frames[1]) < int(frames[2]):
        return f"{frames[1]} of {frames[2]} frames"
    return "the last page is incomplete" if kind == "OGG" and _cut_page(payload) else ""


def _cut_page(payload: bytes) -> bool:
    """Whether the last page of an Ogg file ends beyond the file."""
    page = payload.rfind(b"OggS")
    if page < 0 or len(payload) < page + 27:
        return page >= 0
    segments = payload[page + 26]
    return len(payload) < page + 27 + segments + sum(payload[page + 27 : page + 27 + segments])


def mpeg_frames(payload: bytes) -> Iterator[bytes]:
    """The payload from each place on where an MPEG frame may begin, for a file that other bytes stand before.

    libsndfile recognises an MP3 by its first bytes only, and then makes sure that a second frame follows the first.
    """
    for match in islice(_SYNC.finditer(payload, 1, _JUNK), _TRIES):
        yield payload[match.start() :]


def bytes_left(stream: io.BytesIO) -> bool:
    """Whether an MP3 goes on where its reader stopped; the tag of 128 bytes that may end it does not count."""
    rest = stream.getbuffer()[stream.tell() :]
    return len(rest) > 0 and not (len(rest) == 128 and bytes(rest[:3]) == b"TAG")


class Stream(io.BytesIO):
    """A file in memory for libsndfile, which damaged headers lead to places before its start; that is no error to print."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, or stay where there is no such place."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class LongerFile:
    """A file that claims to be 64 times as long as it is, for readers that guess a duration by the size.

    Until `end` is called its last bytes are those of the real file, where tags may stand; afterwards it ends where the
    real one does.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload, self._position, self._ended = payload, 0, False
        self._claimed = 64 * len(payload)

    def end(self) -> None:
        """From now on, end where the payload does."""
        self._ended = True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as files do."""
        self._position = offset + (0, self._position, self._claimed)[whence]
        return self._position

    def tell(self) -> int:
        """Where it stands."""
        return self._position

    def read(self, count: int) -> bytes:
        """At most `count` bytes."""
        start = self._position
        if start >= len(self._payload):
            start = len(self._payload) if self._ended else max(start - self._claimed + len(self._payload), 0)
        found = self._payload[start : start + count]
        self._position += len(found)
        return found
