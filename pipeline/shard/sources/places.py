"""Folders on this machine and behind an address (`s3://`, `https://`, `memory://`), read in the same way."""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, BinaryIO, Protocol, TypeVar

from pipeline.files.reading import retried
from pipeline.shard.sources.walk import MISSING, NOWHERE, Walk, walk_folder

ATTEMPTS = 3
COPY_BYTES = 1 << 20
# Up to here a request for each file costs less than to list all of them.
FEW = 20

Result = TypeVar("Result")


class Folder(Protocol):
    """A folder of a source; files are named relative to it, with slashes."""

    root: str

    def walk(self, starts: Iterable[str] = ("",)) -> Walk:
        """Everything in the folders `starts` and below them."""
        ...

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of a file."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file from its start; it can be searched."""
        ...

    def origin(self, place: object) -> str:
        """Where a file is, for messages."""
        ...


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, root: str) -> None:
        self.root = root

    def walk(self, starts: Iterable[str] = ("",)) -> Walk:
        """Everything in the folders `starts` and below them; links to folders are followed."""
        return walk_folder(self.root, starts)

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of a file."""
        return retried(lambda: self._read(str(place), limit))

    def _read(self, place: str, limit: int) -> bytes:
        descriptor = self._descriptor(place)
        try:
            wanted = min(limit, os.fstat(descriptor).st_size)
            content = os.read(descriptor, wanted)
            while len(content) < wanted and (more := os.read(descriptor, wanted - len(content))):
                content += more
            return content
        finally:
            os.close(descriptor)

    def open(self, name: str) -> BinaryIO:
        """A file from its start."""
        return os.fdopen(self._descriptor(name), "rb")

    def _descriptor(self, name: str) -> int:
        """A regular file, open; nothing else is: a pipe would hold the run up."""
        path = os.path.join(self.root, name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            # A table that a Windows program wrote names files that way.
            missing = f"{MISSING}; its path has backslashes: write /" if "\\" in name else MISSING
            raise OSError(errno.ENOENT, NOWHERE if os.path.islink(path) else missing, path) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return descriptor

    def origin(self, place: object) -> str:
        """Where a file is, for messages."""
        return os.path.join(self.root, str(place))


class RemoteFolder:
    """A folder behind an address, through fsspec."""

    def __init__(self, filesystem: Any, root: str, protocol: str) -> None:
        self.filesystem = filesystem
        self.path = root
        self.root = f"{protocol}://{root.lstrip('/')}" if "://" not in root else root

    def _at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def walk(self, starts: Iterable[str] = ("",)) -> Walk:
        """Everything in the folders `starts` and below them."""
        cut = len(self.path.rstrip("/")) + 1
        found = Walk()
        for start in starts:
            place = self._at(start) if start else self.path
            found.add(path[cut:] for path in patiently(partial(self.filesystem.find, place)))
        found.sort()
        return found

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of a file."""
        return patiently(lambda: self._read(self._at(str(place)), limit))

    def _read(self, path: str, limit: int) -> bytes:
        with self.filesystem.open(path, "rb") as file:
            return bytes(file.read(limit))

    def open(self, name: str) -> BinaryIO:
        """A file from its start, fetched once into a temporary file without a name, which vanishes when it is closed."""
        return patiently(lambda: self._fetch(self._at(name)))

    def _fetch(self, path: str) -> BinaryIO:
        with ExitStack() as stack:
            local = stack.enter_context(tempfile.TemporaryFile())
            with self.filesystem.open(path, "rb") as file:
                while block := file.read(COPY_BYTES):
                    local.write(block)
            local.seek(0)
            stack.pop_all()  # from here on the caller closes it
            return local

    def infos(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """What the protocol says of files, by name; nothing of one that is not there."""
        if len(names) > FEW and not self.root.startswith("http"):  # there, to list means to follow links
            known = patiently(lambda: self.filesystem.find(self.path, detail=True))
            return {name: known[self._at(name)] for name in names if self._at(name) in known}
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = patiently(partial(self.filesystem.info, self._at(name)))
        return found

    def origin(self, place: object) -> str:
        """Where a file is, for messages."""
        return f"{self.root.rstrip('/')}/{place}"


def patiently(action: Callable[[], Result]) -> Result:
    """Result of `action` on a remote place, tried again a little later when it fails.

    Raises:
        OSError: It failed every time.
    """
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except FileNotFoundError:
            raise
        except Exception as error:  # each remote protocol raises errors of its own
            if attempt == ATTEMPTS - 1:
                raise OSError(0, f"{type(error).__name__} after {ATTEMPTS} attempts") from error
            time.sleep(0.2 * 4**attempt)
    raise AssertionError("unreachable")
