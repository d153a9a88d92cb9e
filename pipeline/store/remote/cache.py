"""The local cache of parts that lie at an address: bounded, named by content, checked on every way in and out.

``MCR_CACHE`` says where it is (``data/cache``), ``MCR_CACHE_GB`` how much it may hold (20). It can be removed at any
time. A file that a process was handed is kept by a lock of the operating system, which ends with the process.
"""

import fcntl
import os
import shutil
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock

from pipeline.errors import CorruptError, UserError
from pipeline.files.atomic import LEFTOVER, move, temporary_file
from pipeline.hashing import sha256_file, sha256_once
from pipeline.store.manifest import Part
from pipeline.store.remote.objects import fetch

FOLDER, GIGABYTES = "data/cache", 20.0
# Files that a process was handed most lately; whoever asks for a part opens it before it asks for so many others.
MOST_HELD = 32

_held: "OrderedDict[Path, int]" = OrderedDict()
_guard = Lock()


def cached(part: Part, again: str, anew: bool = False) -> Path:
    """A local copy of a part that lies at an address, its hash compared with the record.

    Args:
        part: It has a location.
        again: What makes it again, for the hint.
        anew: Fetch it even if a copy is there: the question is what the store holds.

    Raises:
        CorruptError: The object is gone, damaged or another one.
        UserError: The store does not permit it.
        TryAgainError: The network failed, or the disk of the cache is full.
    """
    assert part.location
    path = _place(part)
    if not anew and _hold(path):
        if sha256_once(path) == part.sha256:
            return path
        path.unlink(missing_ok=True)  # The copy is damaged, which says nothing about the object.
    make_room(part.location.size)
    with temporary_file(path) as temporary:
        _hold_new(temporary)
        try:
            fetch(part.location.address, temporary)
        except FileNotFoundError:
            raise CorruptError(f"{part.location.address} is missing.", again) from None
        if sha256_file(temporary) != part.sha256:
            raise CorruptError(
                f"{part.location.address} is damaged or was changed: its hash does not match the recorded one.", again
            )
    move(temporary, path, durably=False)
    _hold(path)
    return path


def offer(path: Path, part: Part) -> None:
    """Keep a copy of the file `path`, which holds `part`, for whoever reads it next; `path` may be gone afterwards."""
    place = _place(part)
    with suppress(OSError):  # Nobody needs it: it can be fetched.
        make_room(path.stat().st_size)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(path, place)
        except OSError:  # on another file system
            with temporary_file(place) as temporary:
                _hold_new(temporary)
                shutil.copyfile(path, temporary)
            move(temporary, place, durably=False)
        _hold(place)


def make_room(size: int) -> None:
    """Remove the files that came first until `size` more bytes fit, other than those that somebody was handed."""
    folder = _folder()
    files = [(path.stat(), path) for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    total, limit = sum(status.st_size for status, _ in files), _limit()
    for status, path in sorted(files, key=lambda each: each[0].st_mtime_ns):
        if total + size <= limit and not LEFTOVER.fullmatch(path.name):
            continue
        if _unheld(path):
            total -= status.st_size


def _folder() -> Path:
    return Path(os.environ.get("MCR_CACHE") or FOLDER)


def _limit() -> float:
    said = os.environ.get("MCR_CACHE_GB") or GIGABYTES
    try:
        return max(float(said), 0.0) * 1e9
    except ValueError:
        raise UserError(
            f"MCR_CACHE_GB is {said!r}, which is not a number.", "Set it to gigabytes, such as 20."
        ) from None


def _place(part: Part) -> Path:
    return _folder() / f"{part.sha256}-{Path(part.name).name}"


def _hold(path: Path) -> bool:
    """Keep everybody from removing `path` until this process ends or was handed many others; False if it is not there."""
    with _guard:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # It is being removed.
            os.close(descriptor)
            return False
        except OSError:
            pass  # Some network drives have no such locks; there a reader may find a file gone, and says so.
        _let_go(_held.pop(path, None))
        _held[path] = descriptor
        while len(_held) > MOST_HELD:
            _let_go(_held.popitem(last=False)[1])
        return path.exists()


def _hold_new(temporary: Path) -> None:
    """Hold a file that was made just now; until it is held, another process may take it for a killed one's and remove it."""
    while not _hold(temporary):
        temporary.touch()


def _unheld(path: Path) -> bool:
    """Remove `path` unless somebody holds it; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _let_go(descriptor: int | None) -> None:
    if descriptor is None:
        return
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # A forked process may have the same one open.
        os.close(descriptor)


def _in_child() -> None:
    """A forked process holds what it was handed itself; closing its copies leaves the locks of its parent."""
    for descriptor in _held.values():
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_in_child)
