"""Whether this user may write what the stages write; on a shared machine it may be somebody else's."""

import errno
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.doctor.finding import FAIL, Finding
from pipeline.files.os_errors import explained
from pipeline.files.permits import other_owner

HINT = (
    "Work in a clone of your own, with one cache for all (`dvc cache dir /shared/cache`, `dvc config cache.shared group`), "
    "or let one user own the project."
)


def not_yours(root: Path, results: Collection[Path]) -> list[Finding]:
    """A finding for the first folder that may not be written, or else the first result that is somebody else's.

    DVC sets the mode of every result before its stage runs, and only who owns a file may do that, whatever its group may. Of links
    to its cache, hard or symbolic, it first makes files of this user.

    Args:
        root: The project.
        results: Folders that hold results.
    """
    folders = [root, root / "data", *(root / ".dvc" / name for name in ("", "tmp", "cache/files/md5"))]
    for place in (*folders, *(root / folder for folder in results)):
        if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
            refused = explained(PermissionError(errno.EACCES, "", str(place)))
            return [Finding(FAIL, "results", refused.message.rstrip("."), HINT)] if refused else []
    if os.geteuid() == 0:
        return []
    for path in _below(root, results):
        if (owner := other_owner(path)) and not _is_link(path):
            said = f"{path} belongs to {owner}, so DVC cannot set its mode, and `dvc repro` fails"
            return [Finding(FAIL, "results", said, HINT)]
    return []


def _below(root: Path, results: Collection[Path]) -> Iterator[Path]:
    for folder in results:
        for place, _, names in os.walk(root / folder):
            yield from (Path(place, name) for name in names)


def _is_link(path: Path) -> bool:
    return path.is_symlink() or path.lstat().st_nlink > 1
