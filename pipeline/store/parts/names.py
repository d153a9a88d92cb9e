"""Names of parts: they sort like their numbers however many there are, and no folder holds more than a thousand of a kind."""

import re
from pathlib import Path

DIGITS = 5
# File systems, tools and people do badly with folders of a hundred thousand files.
PER_FOLDER = 1_000
_NUMBERED = re.compile(r"((?:[^/]*-)?)([a-z]?)([0-9]+)\.(?:tar|parquet)")


def numbered(number: int) -> str:
    """`number` as the name of a part holds it: 00000 to 99999, then a100000 to a999999, b1000000 and so on.

    The letter counts the digits beyond five. Digits sort before letters, so the order of names is that of numbers.
    """
    digits = f"{number:0{DIGITS}d}"
    more = len(digits) - DIGITS
    return (chr(ord("a") + more - 1) if more else "") + digits


def number_of(file_name: str) -> int | None:
    """The number in the name of a part, such as ``00012.tar`` or ``part-a100000.parquet``; None if it has none."""
    found = _NUMBERED.fullmatch(file_name)
    return int(found[3]) if found else None


def path_in_folder(file_name: str) -> str:
    """Where the part called `file_name` lies in its folder: ``00999.tar``, ``01000/01742.tar``, ``part-01000/part-01742.parquet``.

    The first thousand lie in the folder itself, each further thousand in a subfolder that is called like the first of them.
    So paths sort like the numbers, too.
    """
    found = _NUMBERED.fullmatch(file_name)
    if not found or int(found[3]) < PER_FOLDER:
        return file_name
    first = int(found[3]) // PER_FOLDER * PER_FOLDER
    return f"{found[1]}{numbered(first)}/{file_name}"


def file_name_of(path: str) -> str:
    """What the part is called that lies at `path` in its folder; no two parts of a folder are called alike."""
    return path.rpartition("/")[2]


def subfolder_of(path: str) -> str:
    """Name of the subfolder that the part at `path` in its folder lies in; empty if it lies in none or is not a part.

    A subfolder is called like the part itself or one that comes before it, as no corpus, link or modality is.
    """
    folder, _, file_name = path.rpartition("/")
    part, first = _NUMBERED.fullmatch(file_name), number_of(f"{folder}.tar")
    below = part and first and first <= int(part[3]) and folder == part[1] + numbered(first)
    return folder if below else ""


def folder_of(path: Path) -> Path:
    """The folder of parts that the file `path` belongs to: the one that it lies in, or the one above if that is a subfolder."""
    return path.parent.parent if subfolder_of(f"{path.parent.name}/{path.name}") else path.parent


def stays_inside(path: str) -> bool:
    """Whether `path`, which some record names, cannot lead out of the folder that it is in."""
    return not {"", ".", ".."} & set(path.split("/"))
