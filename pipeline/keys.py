"""The permanent keys of samples, and how the names of files become keys."""

import re
import unicodedata

from pipeline.hashing import sha256_bytes
from pipeline.modalities import SOURCE_MODALITY_OF

# WebDataset splits a member name at the first dot, so a key has none.
KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")


def key_of_path(path: str) -> str:
    """The permanent key of a file: its path without extension; where that is not a valid key, a readable form
    of it with a hash that keeps two such paths apart."""
    dot = path.rfind(".")
    start = path.rfind("/") + 1
    return key_of_name(path[:dot] if start < dot < len(path) - 1 else path)


def key_of_name(name: str) -> str:
    """`name` if it is a valid key, else a readable form of it with a hash that keeps two such names apart."""
    if KEY.fullmatch(name):
        return name
    # One file name is written in two ways by different systems (NFC, NFD); it must have one key.
    name = unicodedata.normalize("NFC", name)
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', name)[:180]}-{sha256_bytes(name.encode(errors='surrogateescape'))[:12]}"


def key_of_file(name: str) -> str:
    """The key of what may be a file's name or a name as it is: only the ending of a file that is read is left out."""
    return key_of_name(without_ending(name))


def without_ending(name: str) -> str:
    """`name` without the ending of a file that is read, as `key_of_path` leaves it out; any other dot stays."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and stem.rpartition("/")[2] and ending.lower() in SOURCE_MODALITY_OF else name
