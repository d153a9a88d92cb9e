"""Captions of any kind of file, taken out of it once and kept where they cost no memory."""

import struct
import tempfile
from dataclasses import dataclass
from typing import IO, cast

from pipeline.errors import SampleError
from pipeline.modalities import TEXT
from pipeline.shard.formats.first_bytes import format_of
from pipeline.shard.limits import MAX_TEXT_BYTES
from pipeline.shard.members import check_member
from pipeline.shard.sources.sample import RawMember, RawSample
from pipeline.shard.sources.unread import Unread

# What captions are called that are passed over since one of their item is taken.
FURTHER = "further captions"
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

    def add(self, text: str, row: int) -> RawMember:
        """Keep the caption of row `row`."""
        # One byte more than allowed is enough to know that a text is too long. Lone surrogates stand for bytes
        # that are not UTF-8; they are written as those bytes, and refused with every other bad text.
        content = text[: MAX_TEXT_BYTES + 1].encode(errors="surrogatepass")[: MAX_TEXT_BYTES + 1]
        self._file.seek(self._end)
        self._file.write(_RECORD.pack(len(content), len(self._names) - 1, row) + content)
        place = self._end
        self._end += _RECORD.size + len(content)
        return RawMember("txt", self, place)

    def sample(self, key: str, text: object, row: int) -> RawSample:
        """A sample that is one caption."""
        if isinstance(text, str):
            return RawSample(key, {TEXT: self.add(text, row)})
        return RawSample(key, fault="the row has no text" if text is None else f"the caption is {kind_of_value(text)}")

    def lines_of(self, text: RawMember, row: int, several: str, unread: Unread) -> list[RawMember]:
        """Keep the captions of a ``.txt`` that has one in each line, as clip-benchmark writes and reads them.

        Args:
            text: The file; blank lines are no captions.
            row: Of the sample.
            several: What becomes of several, as in `captions_in`.
            unread: Told of captions that are passed over.

        Raises:
            SampleError: It cannot be read, is no text, or has several captions and only one is wanted.
        """
        try:
            content = text.read(MAX_TEXT_BYTES + 1)
        except OSError as error:
            raise SampleError("read", f"its .{text.extension} cannot be read: {error.strerror or error}") from error
        check_member(TEXT, text.extension, content)
        lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
        if several == "one" and len(lines) > 1:
            raise SampleError("read", f"its .txt has {len(lines)} captions: set the corpus' `captions` to first or all")
        captions = captions_in(lines, "its .txt", "first" if several == "one" else several, unread)
        return [self.add(caption, row) for caption in captions]

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

    def carried(self, member: RawMember) -> RawMember:
        """A caption that travels to another process, where this file is not."""
        return RawMember(
            member.extension, CarriedText(self.read(member.place, MAX_TEXT_BYTES + 1)), self.origin(member.place)
        )


@dataclass(frozen=True)
class CarriedText:
    """One caption by itself; its place is where it comes from."""

    content: bytes

    def read(self, place: object, limit: int) -> bytes:
        """The caption."""
        return self.content[:limit]

    def origin(self, place: object) -> str:
        """Where it comes from."""
        return str(place)


def captions_in(value: object, place: str, several: str, unread: Unread) -> list[str]:
    """The captions that `place` holds: none, one, or those of a list.

    Args:
        value: What stands there.
        place: What it is called in messages.
        several: What becomes of a list: ``one`` refuses it, ``first`` and ``all`` take of it what they say.
        unread: Told of captions that are passed over.

    Raises:
        SampleError: It is not a caption; the message says what it is.
    """
    if value is None or isinstance(value, str):
        return [value] if value is not None else []
    if not isinstance(value, list) or _is_map(value) or several == "one":
        listed = isinstance(value, list) and not _is_map(value)
        advice = ": set the corpus' `captions` to first or all" if listed else ""
        raise SampleError("read", f"{place} holds {kind_of_value(value)}{advice}")
    texts = [one for one in value if one is not None]
    if wrong := [one for one in texts if not isinstance(one, str)]:
        raise SampleError("read", f"{place} holds a list with {kind_of_value(wrong[0])} in it")
    if not texts:
        raise SampleError("read", f"{place} holds an empty list")
    if several == "first":
        unread.add(FURTHER, len(texts) - 1)
        return texts[:1]
    return texts


def _is_map(value: object) -> bool:
    """Whether a value is what Arrow makes of a map: a list of pairs."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, tuple) for one in value)


def kind_of_value(value: object) -> str:
    """What a value is that is not text, in words."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        value = value["bytes"]
    if isinstance(value, bytes):
        return f"the bytes of a .{format_of(value)} file" if format_of(value) else "bytes"
    if _is_map(value):
        return "a map (an object with fields)"
    known = {list: "a list", dict: "a struct (an object with fields)", bool: "a truth value", type(None): "null"}
    if type(value) in known:
        return known[type(value)]
    return "a number" if isinstance(value, int | float) else f"a {type(value).__name__}"
