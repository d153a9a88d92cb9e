"""What the operating system refuses, in words: which file, why, and what to do. None of it is a bug.

Libraries raise such errors under types of their own: Rust and C++ ones as text with a number or with the system's
sentence, so both are looked for.
"""

import errno
import os
import re
import shutil
from pathlib import Path

from pipeline.errors import McrError, TryAgainError, UserError
from pipeline.files.permits import is_read_only, is_refused, other_owner

_AGAIN = "run the same command again to continue"
_NUMBER = re.compile(r"\b(?:errno|os error) (\d+)", re.IGNORECASE)
_MEMORY = ("MemoryError", "OutOfMemoryError")  # torch's and Arrow's have these names, too

# What a retry may mend, once somebody or something has put the machine right.
_RETRY = {
    errno.ENOSPC: ("no space is left on the disk", "Free some space"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or raise the quota"),
    errno.EIO: ("the device reports an input/output error", "Check the disk or the network drive"),
    errno.ESTALE: ("the network drive lost the file", "Check the network drive"),
    errno.EMFILE: ("too many files are open", "Raise the limit with `ulimit -n` or lower run.workers"),
    errno.ENFILE: ("too many files are open on this machine", "End other programs"),
    errno.ENOMEM: ("memory ran out", "End other programs, or lower run.workers or the batch size"),
    errno.ETXTBSY: ("the file is in use as a running program", "End that program"),
    errno.EBUSY: ("the file is in use", "End the program that uses it"),
    errno.EAGAIN: ("the system is short of resources", "End other programs"),
    errno.ENOLCK: ("the file system gives no lock", "Check the network drive"),
    errno.ETIMEDOUT: ("the device did not answer in time", "Check the network or the drive"),
    errno.EINTR: ("the call was interrupted", "Wait a moment"),
    errno.ENODEV: ("the device is gone", "Attach it"),
    errno.ENXIO: ("the device is gone", "Attach it"),
    errno.EPIPE: ("the program that read the output has ended", "Keep it open"),
    errno.ECONNRESET: ("the connection was cut", "Check the network"),
    errno.ECONNREFUSED: ("the connection was refused", "Check the network"),
    errno.ENETUNREACH: ("the network cannot be reached", "Check the network"),
}
# What only the user can put right.
_USER = {
    errno.EACCES: ("permission is denied", "Change its mode or owner"),
    errno.EPERM: ("the system does not permit it", "Change its owner or attributes"),
    errno.EROFS: ("the file system is read-only", "Mount it writable, or choose another folder"),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", "Move that file away or correct the path"),
    errno.EISDIR: ("there is a folder where a file is expected", "Move the folder away or correct the path"),
    errno.ENOTEMPTY: ("the folder is not empty", "Move away what somebody else put there"),
    errno.EEXIST: ("something else is in its place", "Move it away or correct the path"),
    errno.ENOENT: ("it does not exist, or not any more", "Put it back or correct the path"),
    errno.ELOOP: ("its symbolic links lead in a circle", "Remove the circle"),
    errno.ENAMETOOLONG: ("its name is too long for the file system", "Choose shorter names or a shorter path"),
    errno.EFBIG: ("it is larger than the file system or `ulimit -f` allows", "Raise the limit or choose another disk"),
    errno.EXDEV: ("the folder spans two file systems", "Choose a folder on one file system"),
    errno.EINVAL: ("the file system does not support this name or operation", "Choose another folder"),
    errno.ENOTSUP: ("the file system does not support this", "Choose another folder"),
    errno.ENOSYS: ("the file system does not support this", "Choose another folder"),
}
_MAY_NOT = {errno.EACCES, errno.EPERM, errno.EROFS}
# Only a program's own mistake leads to these.
_OURS = {errno.EBADF, errno.EFAULT}
_SENTENCES = {os.strerror(code).casefold(): code for code in (*_RETRY, *_USER)}
# SQLite's own words.
_SENTENCES |= {
    "database or disk is full": errno.ENOSPC,
    "disk i/o error": errno.EIO,
    "not a writable directory": errno.EACCES,
    "attempt to write a readonly database": errno.EACCES,
}
# The loader's, where a limit leaves no room for a library.
_SENTENCES["failed to map segment from shared object"] = errno.ENOMEM
# gcc's, of a process of its own that the system ended for want of memory.
_SENTENCES["killed signal terminated program"] = errno.ENOMEM
# Pillow, torch, Arrow, NumPy and libsndfile say only that a write or a read failed.
_UNNUMBERED = re.compile(
    r"encoder error|error closing file|file (write|read) failed|unexpected pos|requested and \d+ written|^(Error .*: )?System error"
)


def errno_of(error: BaseException | None) -> int | None:
    """The system's number for what failed, also below the errors of libraries; None if the system refused nothing."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if any(kind.__name__ in _MEMORY for kind in type(error).__mro__):
            return errno.ENOMEM
        if code := _named(error):
            return code
        # A library that fails while it cleans up after the system's error hides it in the context.
        follows = error.__cause__ is None and not error.__suppress_context__ and _foreign(error)
        error = error.__context__ if follows else error.__cause__
    return None


def _foreign(error: BaseException) -> bool:
    return isinstance(error, OSError | RuntimeError | ImportError) or type(error).__module__ != "builtins"


def _named(error: BaseException) -> int | None:
    """The number that the text of a library's error names."""
    if isinstance(error, McrError) or not _foreign(error):
        return None
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1])
    if _UNNUMBERED.search(text):
        return errno.EIO
    text = text.casefold()
    return next((code for sentence, code in _SENTENCES.items() if sentence in text), None)


def explained(error: BaseException, path: Path | None = None, need: int = 0) -> McrError | None:
    """The error that says what the operating system refused; None if it refused nothing.

    Args:
        error: What was raised.
        path: What was being written or read, where the error itself does not say so.
        need: Bytes that writing `path` needs at least; 0 where that is unknown.

    Returns:
        A `TryAgainError` where the same command can succeed later, a `UserError` where it has to change.
    """
    if isinstance(error, KeyError) and "getpwuid()" in str(error):  # as in a container that was started with `-u 1000`
        return UserError(
            f"User {os.geteuid()} has no name on this machine, and DVC asks for it.",
            f"Give it one, such as `export LOGNAME=me`, then {_AGAIN}.",
        )
    code = errno_of(error)
    if code is None or code in _OURS:
        return None
    named = _path_of(error) or path
    if code == errno.EIO and named and _free(named)[0] == 0:
        code = errno.ENOSPC  # of a library that does not say why
    if code in _MAY_NOT and named:
        return _may_not(code, named)
    place = f"{named}: " if named else ""
    if code in _RETRY:
        what, advice = _RETRY[code]
        if code in (errno.ENOSPC, errno.EDQUOT):
            what += _room(Path(named or "."), need)
        return TryAgainError(f"{place}{what}.", f"{advice}, then {_AGAIN}.")
    what, advice = _USER.get(code, (os.strerror(code).lower(), "Correct that"))
    return UserError(f"{place}{what}.", f"{advice}, then {_AGAIN}.")


def _may_not(code: int, named: Path) -> UserError:
    """What may not be read or written: of a file that could not be made, the folder; and whose it is."""
    place = next((each for each in (named, *named.parents) if os.path.lexists(each) and str(each) != "/"), named)
    if not is_refused(place) and is_read_only(place):  # some libraries know only that they may not
        code = errno.EROFS
    what, advice = _USER[code]
    if code != errno.EROFS and (owner := other_owner(place)):
        what += f"; it belongs to {owner}"
        advice = "Let its owner change its mode, or work in a copy of your own"
    return UserError(f"{place if place.name else place.absolute()}: {what}.", f"{advice}, then {_AGAIN}.")


def _path_of(error: BaseException | None) -> Path | None:
    while error is not None:
        if isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike):
            return Path(os.fsdecode(error.filename))
        error = error.__cause__ or error.__context__
    return None


def _room(path: Path, need: int) -> str:
    """What is needed and what is left where `path` is."""
    free, place = _free(path)
    if free and not _files_left(place):
        return f"; it holds as many files as {place} can, whatever their size"
    wanted = f"; it needs {need:,} bytes or more" if need else ""
    return f"{wanted}; {free:,} bytes are free in {place}"


def _files_left(place: Path) -> bool:
    """Whether one more file can be made; file systems that have no such limit count none."""
    found = os.statvfs(place)
    return not found.f_files or found.f_favail > 0


def _free(path: Path) -> tuple[int, Path]:
    """Free bytes where `path` is or would be, and the nearest folder of it that there is."""
    place = next((folder for folder in path.parents if folder.is_dir()), Path("."))
    return shutil.disk_usage(place).free, place
