"""Files appear under their final name whole or not at all, also when the machine stops in between."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import McrError
from pipeline.os_errors import explained

TEMPORARY_SUFFIX = ".tmp"

_pending: set[Path] = set()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; move it to `path` when the block ends without an error.

    File and directory are synced before and after the rename, so that a name which exists after
    a power cut holds the whole content. On an error the temporary file is removed.

    Raises:
        McrError: The operating system refused something; it says what.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _pending.add(temporary)
        yield temporary
        _allow_others(temporary)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except McrError:
        raise
    except Exception as error:
        if said := explained(error, path, _size(temporary)):
            raise said from error
        raise
    finally:
        _discard(temporary)


def discard_pending() -> None:
    """Remove the temporary files of this process, because it is about to end in the middle of its work."""
    for temporary in list(_pending):
        _discard(temporary)


def _discard(temporary: Path) -> None:
    # What is left of it in a folder that became unreachable, the next run replaces.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
    _pending.discard(temporary)


def _allow_others(path: Path) -> None:
    """Give `path` the mode that the umask asks for: some libraries write files that only their owner may read."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise explained(error, path, len(content)) or error from error


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 to `path` atomically."""
    write_bytes(path, content.encode())


def sync_directory(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
