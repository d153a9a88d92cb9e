"""Files appear under their final name whole or not at all, also when the machine stops in between."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import McrError
from pipeline.files.os_errors import explained

# Half-written files are called <final name>.<eight hexadecimal digits>.tmp: unique, so that two writers never share one,
# and told apart from everything that is not ours. SQLite's temporary files lose their name in the moment in which they
# get it, unless the machine stops just then. safetensors writes one of its own beside the file that it is given.
LEFTOVER = re.compile(r".+\.[0-9a-f]{8}\.tmp|etilqs_[0-9A-Za-z]{16}|\.tmp[0-9A-Za-z]{6}")
# What a file system answers that cannot sync this kind of file at all (some network and FUSE mounts); a failing disk
# answers EIO.
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

_pending: set[Path] = set()


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield a new file beside `path` for its content; when the block ends without an error, the content is durable.

    The file keeps its unique name for the caller to move (see `move`) and has the mode that the umask gives, whoever
    writes it. On an error it is removed.

    Raises:
        McrError: The operating system refused something; it says what.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _in_words(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            _pending.add(temporary)
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            mode = os.fstat(descriptor).st_mode & 0o777
            os.close(descriptor)
            yield temporary
            # A writer may have put a file of its own there, with another mode (safetensors: 0600).
            os.chmod(temporary, mode)
            sync_file(temporary)
    except BaseException:
        discard(temporary)
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; move it to `path` when the block ends without an error.

    File and directory are synced before and after the rename, so that a name which exists after
    a power cut holds the whole content. On an error the temporary file is removed.

    Raises:
        McrError: The operating system refused something; it says what.
    """
    with temporary_file(path) as temporary:
        yield temporary
    move(temporary, path)


def move(temporary: Path, path: Path, durably: bool = True) -> None:
    """Give `temporary` its final name `path`; a file of that name is replaced, never written into.

    Unless `durably`, a power cut may bring the old names back.
    """
    try:
        with _in_words(path, temporary):
            os.replace(temporary, path)
            keep(temporary)
            if durably:
                sync_directory(path.parent)
    except BaseException:
        discard(temporary)
        raise


@contextmanager
def _in_words(path: Path, temporary: Path) -> Iterator[None]:
    """Around the writing of `path`: what the operating system refuses is said in words.

    Raises:
        McrError: It refused something.
    """
    try:
        yield
    except McrError:
        raise
    except Exception as error:
        if said := explained(error, path, _size(temporary)):
            raise said from error
        raise


def discard_pending() -> None:
    """Remove the temporary files of this process, because it is about to end in the middle of its work."""
    for temporary in list(_pending):
        discard(temporary)


def keep(temporary: Path) -> None:
    """From now on somebody knows of the temporary file: it stays when the process ends."""
    _pending.discard(temporary)


def discard(temporary: Path) -> None:
    """Remove a temporary file that nobody needs."""
    # What is left of it in a folder that became unreachable, the next run removes.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
    keep(temporary)


def discard_temporaries(path: Path) -> None:
    """Remove what writers of `path` left half-written; only where none is at work any more."""
    for name in os.listdir(path.parent):
        if name.startswith(f"{path.name}.") and LEFTOVER.fullmatch(name):
            discard(path.with_name(name))


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


def sync_file(path: Path) -> None:
    """Make the content of `path` durable."""
    _sync(path)


def sync_directory(folder: Path) -> None:
    """Make the names in `folder` durable, where its file system can."""
    _sync(folder)


def sync_descriptor(descriptor: int) -> None:
    """Make durable what was written through an open file, where its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left half-written in `folder` and below; only for the one who alone writes there."""
    for root, _, names in os.walk(folder):
        for name in names:
            if LEFTOVER.fullmatch(name):
                Path(root, name).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_descriptor(descriptor)
    finally:
        os.close(descriptor)
