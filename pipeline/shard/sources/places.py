"""Folders on this machine and behind an address (`s3://`, `https://`, `memory://`), read in the same way."""

import errno
import glob
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, BinaryIO, Protocol, TypeVar

from pipeline.errors import UserError

MAGIC = re.compile(r"[*?\[{]")
REMOTE_MAGIC = re.compile(r"[*\[{]")  # an address may have a question mark
ATTEMPTS = 3
COPY_BYTES = 1 << 20

Result = TypeVar("Result")


class Folder(Protocol):
    """A folder of a source; files are named relative to it, with slashes."""

    root: str

    def names(self) -> list[str]:
        """Every file below, not hidden, in the order of their paths."""
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

    def names(self) -> list[str]:
        """Every file below, not hidden, in the order of their paths; links to folders are not followed."""
        found: list[str] = []
        pending = [""]
        while pending:
            below = pending.pop()
            with os.scandir(os.path.join(self.root, below) or ".") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{below}{entry.name}/")
                    elif not entry.name.startswith(".") and entry.is_file():
                        found.append(below + entry.name)
        return sorted(found, key=lambda name: name.split("/"))

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of a file."""
        # Without blocking, so that a pipe among the files cannot hold the run up.
        descriptor = os.open(os.path.join(self.root, str(place)), os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            wanted = min(limit, status.st_size)
            content = os.read(descriptor, wanted)
            while len(content) < wanted and (more := os.read(descriptor, wanted - len(content))):
                content += more
            return content
        finally:
            os.close(descriptor)

    def open(self, name: str) -> BinaryIO:
        """A file from its start."""
        return open(os.path.join(self.root, name), "rb")

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

    def names(self) -> list[str]:
        """Every file below, not hidden, in the order of their paths."""
        start = len(self.path.rstrip("/")) + 1
        found = [path[start:] for path in patiently(lambda: self.filesystem.find(self.path))]
        return sorted((name for name in found if not hidden(name)), key=lambda name: name.split("/"))

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


def locate(source: str) -> tuple[Folder, list[str] | None]:
    """The folder of `source`, and the names of its files where `source` is one file or a pattern.

    A pattern has ``*``, ``**``, ``?``, ``[a-c]`` or ``{0000..0010}``.

    Raises:
        UserError: There is no such file or folder.
    """
    names: list[str] | None
    if "://" in source and not source.startswith("file://"):
        folder, names = _locate_remote(source)
    else:
        folder, names = _locate_local(source.removeprefix("file://"))
    if names == []:
        raise UserError(
            f"The source {source} does not exist.", "Put the data there or correct `source` in params.yaml."
        )
    return folder, names


def _locate_local(source: str) -> tuple[Folder, list[str] | None]:
    if os.path.isdir(source):
        return LocalFolder(source), None
    if os.path.isfile(source):
        return LocalFolder(os.path.dirname(source)), [os.path.basename(source)]
    root, pattern = _split(source, MAGIC)
    found = [name for one in _unbraced(pattern) for name in glob.glob(one, root_dir=root or ".", recursive=True)]
    return LocalFolder(root), sorted(name for name in set(found) if os.path.isfile(os.path.join(root, name)))


def _locate_remote(source: str) -> tuple[Folder, list[str] | None]:
    import fsspec

    root, pattern = _split(source, REMOTE_MAGIC)
    try:
        filesystem, path = fsspec.core.url_to_fs(root if pattern else source)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{source} cannot be opened: {error}.", "Install the package for this kind of address."
        ) from error
    protocol = source.partition("://")[0]
    try:
        if pattern:
            base = path.rstrip("/")
            found = {match for one in _unbraced(pattern) for match in filesystem.glob(f"{base}/{one}")}
            return RemoteFolder(filesystem, path, protocol), sorted(match[len(base) + 1 :] for match in found)
        if filesystem.isfile(path):
            parent, _, name = path.rpartition("/")
            return RemoteFolder(filesystem, parent, protocol), [name]
        if filesystem.isdir(path):
            return RemoteFolder(filesystem, path, protocol), None
    except Exception as error:  # each remote protocol raises errors of its own
        raise UserError(
            f"{source} cannot be reached ({error!r}).", "Check the address, the network and the rights."
        ) from error
    return RemoteFolder(filesystem, path, protocol), []


def _split(source: str, magic: re.Pattern[str]) -> tuple[str, str]:
    """The folder before the first part that is a pattern, and the pattern."""
    parts = source.split("/")
    first = next((number for number, part in enumerate(parts) if magic.search(part)), len(parts))
    root = "/".join(parts[:first])
    if not root and source.startswith("/"):
        root = "/"
    return root, "/".join(parts[first:])


def _unbraced(pattern: str) -> list[str]:
    if "{" not in pattern:
        return [pattern]
    from braceexpand import braceexpand

    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise UserError(
            f"The pattern {pattern} has a brace that is not closed.", "Correct `source` in params.yaml."
        ) from error


def hidden(name: str) -> bool:
    """Whether the last part of a path begins with a dot, as files of the system do."""
    return name.rpartition("/")[2].startswith(".")
