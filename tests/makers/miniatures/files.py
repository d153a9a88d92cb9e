"""Tables and media of the miniatures."""

import csv
import io

from tests.conftest import png

Files = dict[str, str | bytes]
"""Contents by path."""
WAV = b"RIFF\x24\0\0\0WAVEfmt "


def table(*rows: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def media(folder: str, *names: str, ending: str) -> dict[str, bytes]:
    """Files that differ in their bytes, as pictures and sounds of different samples do."""
    content = {"jpg": png, "png": png, "JPEG": png}.get(ending, lambda number: WAV + bytes([number]))
    return {f"{folder}/{name}.{ending}": content(number) for number, name in enumerate(names)}


def clips(*names: str) -> dict[str, bytes]:
    return media("frames", *names, ending="jpg") | media("audio", *names, ending="wav")
