"""Lists of files, texts and payloads from another program."""

import os
from collections.abc import Iterable, KeysView, Mapping, Set
from pathlib import Path
from typing import Any

from pipeline.errors import UserError


def listed(what: str, given: Any) -> list[Any]:
    """The items of `given`, the argument called `what`.

    Raises:
        UserError: It is a single item, whose letters would be taken for items, or has no order.
    """
    if isinstance(given, str | os.PathLike | bytes | bytearray | memoryview):
        shown = f": {what}=[{str(given)!r}]" if isinstance(given, str | os.PathLike) else ""
        raise UserError(f"`{what}` must be a list, even of one item.", f"Put it in brackets{shown}.")
    unordered = isinstance(given, Mapping | Set) and not isinstance(given, KeysView)
    if not isinstance(given, Iterable) or unordered:
        raise UserError(
            f"`{what}` must be a list, not a {type(given).__name__}.", "Pass a list, whose order the rows have."
        )
    return list(given)


def files_of(given: Any) -> list[Path]:
    """Paths of files, which need not exist.

    Raises:
        UserError: `given` is not a list, or an item is not a path.
    """
    files = listed("files", given)
    for number, file in enumerate(files):
        if not isinstance(file, str | os.PathLike) or isinstance(os.fspath(file), bytes):
            raise UserError(f"File {number} is a {type(file).__name__}, not a path.", "Pass paths as str or Path.")
    return [Path(file) for file in files]


def texts_of(given: Any) -> list[str]:
    """Words that can be written as UTF-8.

    Raises:
        UserError: `given` is not a list, or an item is not a string.
    """
    texts = listed("texts", given)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"Text {number} is a {type(text).__name__}, not a str.", "Pass only texts, without gaps.")
        utf8_of(text, f"Text {number}")
    return texts


def utf8_of(text: str, name: str) -> bytes:
    """`text` as the bytes of a file.

    Raises:
        UserError: It holds half a character; `name` says which text it is.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{name} has no character at {error.start}, but half of one ({text[error.start]!a}).",
            "Read it with the encoding that it was written with.",
        ) from error


def payloads_of(given: Any) -> list[bytes]:
    """Bytes of files.

    Raises:
        UserError: `given` is not a list, or an item is not bytes.
    """
    payloads = listed("payloads", given)
    for number, payload in enumerate(payloads):
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise UserError(
                f"Item {number} is a {type(payload).__name__}, not the bytes of a file.",
                "Pass Path(...).read_bytes(), or text.encode(); `mcr_connect.embed` takes files and texts.",
            )
    return [bytes(payload) for payload in payloads]
