"""Content hashes: SHA-256 for everything that a manifest vouches for."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files.reading import open_patiently

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of the file at `path`, read in bounded memory."""
    with open_patiently(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashedFile(io.RawIOBase):
    """A new file that is hashed while it is written from its start to its end, so that nobody has to read it for that.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hash of what was written so far, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, content: "Buffer") -> int:
        """Write and hash all of `content`."""
        left = memoryview(content).cast("B")
        self._digest.update(left)
        size = len(left)
        while left:
            left = left[self._file.write(left) :]
        return size

    def tell(self) -> int:
        """How much was written."""
        return self._file.tell()

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.closed and hasattr(self, "_file"):  # Python closes it too when it could not be opened
            self._file.close()
        super().close()


def sha256_once(path: Path, compute: Callable[[Path], str] | None = None) -> str:
    """SHA-256 of the file at `path`, computed once in a process as long as its inode, size and times stay as they are.

    Args:
        path: The file.
        compute: What hashes it if it has to be hashed, such as another process; `sha256_file` if None.
    """
    status = os.stat(path)
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if state not in _hashed:
        _hashed[state] = (compute or sha256_file)(path)
    return _hashed[state]


_hashed: dict[tuple[int, ...], str] = {}


def sha256_json(value: object) -> str:
    """SHA-256 of a JSON-serialisable value, independent of the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def sha256_keys(keys: Iterable[str]) -> str:
    """Hash of keys *in their order*: equal hashes prove that two tables have the same rows in the same order."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\0")
    return digest.hexdigest()


def seed_from(*parts: object) -> int:
    """A 63-bit seed derived from `parts` (a base seed and the names of what is drawn), equal on every machine."""
    return int(sha256_json([str(part) for part in parts])[:15], 16)
