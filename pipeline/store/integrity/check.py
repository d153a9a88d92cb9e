"""Files against the hashes that vouch for them."""

from pathlib import Path

from pipeline.errors import CorruptError
from pipeline.hashing import sha256_once


def check_file(path: Path, sha256: str, again: str) -> Path:
    """`path`, after it was seen to hold what it held when `sha256` was written down; each file is read once per process.

    Args:
        path: The file.
        sha256: Its hash.
        again: What makes it again, for the hint.

    Raises:
        CorruptError: It is missing or damaged.
    """
    if not path.is_file():
        raise CorruptError(f"{path} is missing.", again)
    if sha256_once(path) != sha256:
        raise CorruptError(f"{path} is damaged or was changed: its hash does not match the recorded one.", again)
    return path
