"""Entries of a list in a large JSON file, one after the other, in bounded memory."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import UserError

BLOCK_BYTES = 1 << 20
MAX_ENTRY = 16 << 20
_SPACE = " \t\r\n"


def stream_arrays(file: BinaryIO, name: str, origin: str) -> Iterator[Any]:
    """The entries of the list `name` of the JSON object in `file`.

    Args:
        file: Read from where it stands.
        name: Key of the list in the outermost object.
        origin: Name of the file, for messages.

    Raises:
        UserError: The file is not a JSON object, has no such list, or something is wrong before or after it.
    """
    text = _Text(file, origin)
    if text.peek() == "[":
        raise UserError(
            f"{origin} is a JSON list, expected COCO's object with the lists `images` and `annotations`.",
            "Write each entry as a line of its own and name the file .jsonl, if its entries are rows.",
        )
    keys, found = [], False
    text.expect("{")
    while text.peek() != "}":
        key = text.value()
        keys.append(str(key))
        text.expect(":")
        if text.peek() == "[":
            wanted = key == name and not found
            for entry in text.entries():
                if wanted:
                    yield entry
            found = found or wanted
        else:
            text.value()
        if text.peek() == ",":
            text.expect(",")
    text.expect("}")
    if text.peek() == "{":
        raise UserError(f"{origin} holds several JSON objects.", "If each line is one, name the file .jsonl.")
    if not found:
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
        """The next character that is not white space, which stays; empty at the end."""
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
            UserError: It is not JSON, or too large.
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
            f"{self._origin} is not a JSON object, or is damaged or cut off.", "Fetch or write the file again."
        )
