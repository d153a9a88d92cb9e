"""Whose a file is, and what this user may do with it."""

import os
import pwd
from pathlib import Path
from stat import S_ISDIR


def is_refused(place: Path) -> bool:
    """Whether this user may not read the file, or not enter and list the folder, at `place`; False where there is nothing."""
    try:
        mode = os.R_OK | (os.X_OK if S_ISDIR(place.stat().st_mode) else 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return not os.access(place, mode)


def is_read_only(place: Path) -> bool:
    """Whether nobody may write `place`, as it lies on a disk that is mounted so."""
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def other_owner(place: Path) -> str:
    """Who `place` belongs to, such as ``user alice``, if that is somebody else; by number where the number has no name here."""
    try:
        owner = os.lstat(place).st_uid
    except OSError:
        return ""
    if owner == os.geteuid():
        return ""
    try:
        return f"user {pwd.getpwuid(owner).pw_name}"
    except KeyError:
        return f"user {owner}"
