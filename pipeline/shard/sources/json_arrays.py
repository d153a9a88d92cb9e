"""Entries of a list in a large JSON file, one after the other, in bounded memory."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import UserError

BLOCK_BYTES = 1 << 20
MAX_ENTRY = 16 << 20
_SPACE = " \t\r\n"


def stream_arrays(file: BinaryIO, name: str, origin: str) -> Iterator[dict[str, Any]]:
    """The objects in the list `name` of the JSON object in `file`.

    Args:
        file: Read from where it stands.
        name: Key of the list in the outermost object.
        origin: Name of the file, for messages.

    Raises:
        UserError: The file is no JSON object, or has no such list.
    """
    text = _Text(file, origin)
    keys = []
    text.expect("{")
    while text.peek() != "}":
        key = text.value()
        keys.append(str(key))
        text.expect(":")
        if key == name and text.peek() == "[":
            yield from (entry for entry in text.entries() if isinstance(entry, dict))
            return
        if text.peek() == "[":
            for _ in text.entries():
                pass
        else:
            text.value()
        if text.peek() == ",":
            text.expect(",")
    raise UserError(
        f"{origin} has no list {name!r}; it has {', '.join(keys[:20]) or 'nothing'}.",
        "A captions file in the format of COCO has the lists `images` and `annotations`.",
    )


class _Text:
    """A JSON text that is read block by block and decoded value by value."""

    def __init__(self, file: BinaryIO, origin: str) -> None:
        self._file = file
        self._origin = origin
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        block = self._file.read(BLOCK_BYTES)
        self._text = self._text[self._at :] + self._decode(block, final=not block)
        self._at = 0
        return bool(block)

    def peek(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more() and not self._text:
                return ""

    def expect(self, character: str) -> None:
        """Go past `character`.

        Raises:
            UserError: Something else follows.
        """
        if self.peek() != character:
            raise self._damaged()
        self._at += 1

    def value(self) -> Any:
        """The next value, whole.

        Raises:
            UserError: It is no JSON, or too large.
        """
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
                if end < len(self._text):
                    self._at = end
                    return value
                # A number at the end of a block may go on in the next one.
                if not self._more():
                    self._at = len(self._text)
                    return value
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_ENTRY or not self._more():
                    raise self._damaged() from error

    def entries(self) -> Iterator[Any]:
        """The entries of the list that follows."""
        self.expect("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() == ",":
                self.expect(",")
            elif self.peek() != "]":
                raise self._damaged()
        self.expect("]")

    def _damaged(self) -> UserError:
        return UserError(
            f"{self._origin} is no JSON object, or is damaged or cut off.", "Fetch or write the file again."
        )
