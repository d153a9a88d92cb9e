"""Captions of any kind of file, taken out of it once and kept where they cost no memory."""

import struct
import tempfile
from typing import IO, cast

from pipeline.modalities import TEXT
from pipeline.shard.limits import MAX_TEXT_BYTES
from pipeline.shard.sources.sample import RawMember, RawSample

_RECORD = struct.Struct("<IIQ")
# Up to here captions stay in memory; beyond, they go to a temporary file without a name.
MEMORY_BYTES = 64 << 20


def _temporary() -> IO[bytes]:
    """A file that lives as long as it is referred to."""
    return tempfile.SpooledTemporaryFile(MEMORY_BYTES)


class Texts:
    """Captions in the order in which they were found; any of them can be read again by its place."""

    def __init__(self) -> None:
        self._file = _temporary()
        self._end = 0
        self._names: list[str] = []

    def begin(self, name: str) -> None:
        """The next captions come from the file `name`."""
        self._names.append(name)

    def add(self, text: object, row: int) -> RawMember | None:
        """Keep the caption of row `row`; None if `text` is none."""
        if not isinstance(text, str):
            return None
        # One byte more than allowed is enough to know that a text is too long. Lone surrogates stand for bytes
        # that are no UTF-8; they are written as those bytes, and refused with every other bad text.
        content = text[: MAX_TEXT_BYTES + 1].encode(errors="surrogatepass")[: MAX_TEXT_BYTES + 1]
        self._file.seek(self._end)
        self._file.write(_RECORD.pack(len(content), len(self._names) - 1, row) + content)
        place = self._end
        self._end += _RECORD.size + len(content)
        return RawMember("txt", self, place)

    def sample(self, key: str, text: object, row: int) -> RawSample:
        """A sample that is one caption."""
        member = self.add(text, row)
        return RawSample(key, {TEXT: member}) if member else RawSample(key, fault="the row has no text")

    def read(self, place: object, limit: int) -> bytes:
        """The caption at `place`."""
        self._file.seek(cast(int, place))
        length, _, _ = _RECORD.unpack(self._file.read(_RECORD.size))
        return self._file.read(min(length, limit))

    def origin(self, place: object) -> str:
        """File and row of the caption at `place`."""
        self._file.seek(cast(int, place))
        _, name, row = _RECORD.unpack(self._file.read(_RECORD.size))
        return f"{self._names[name]}:{row}"
