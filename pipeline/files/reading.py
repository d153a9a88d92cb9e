"""How files are read: with patience for what passes, and in words for what does not."""

import errno
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.errors import CorruptError, McrError
from pipeline.files.os_errors import errno_of, explained

ATTEMPTS = 3
PAUSE = 0.05  # seconds before the second attempt, four times as long before the third
# Drives that stumble and networks that come back.
PASSING = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ENODEV}

Result = TypeVar("Result")


def retried(read: Callable[[], Result]) -> Result:
    """Result of `read`, tried three times while its error is one that may pass.

    Raises:
        Exception: What `read` raised the last time.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return read()
        except Exception as error:
            if errno_of(error) not in PASSING:
                raise
            time.sleep(PAUSE * 4**attempt)
    return read()


class _PatientFile(io.RawIOBase):
    """A file opened for reading, of which every read is tried three times."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._file = retried(self._opened)

    def _opened(self) -> io.FileIO:
        return io.FileIO(self._path, "rb")

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = retried(lambda: self._attempt(buffer))
        self._place += count
        return count

    def _attempt(self, buffer: memoryview) -> int:
        if self._file.closed:  # A stale handle never recovers, a new one may.
            self._file = self._opened()
            self._file.seek(self._place)
        try:
            return self._file.readinto(buffer) or 0
        except OSError as error:
            self._file.close()
            error.filename = error.filename or str(self._path)
            raise

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = self._file.seek(offset, whence)
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):  # Python closes it too when it could not be opened
            self._file.close()
        super().close()


def open_patiently(path: Path) -> io.BufferedReader:
    """`path` from its start, buffered; a read that fails is tried three times.

    Raises:
        OSError: It cannot be opened, or later not be read.
    """
    return io.BufferedReader(_PatientFile(path), 1 << 16)


def read_bytes(path: Path) -> bytes:
    """Content of `path`; the read is tried three times."""
    with open_patiently(path) as file:
        return file.read()


@contextmanager
def written_by_us(path: Path, again: str = "Remove it and run its stage again.") -> Iterator[None]:
    """Around the reading of `path`, a file that only this program writes: whatever its content breaks is damage.

    Args:
        path: The file.
        again: What to do about damage.

    Raises:
        CorruptError: Anything that came from the content.
        McrError: What the operating system refused.
    """
    try:
        yield
    except McrError:
        raise
    except Exception as error:
        if said := explained(error, path):
            raise said from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CorruptError(f"{path} is damaged and cannot be read ({reason[:200]}).", again) from error
