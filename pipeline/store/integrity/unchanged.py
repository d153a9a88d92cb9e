"""Parts whose files look to the file system as they did when they were hashed, so that a run with nothing to do reads none.

What a file looked like is no result: it is of this machine. It is kept where DVC keeps the same, below ``.dvc/tmp`` of
the project; outside of one nothing is kept, and every hash is taken. Only what decides whether to make a part again
trusts it. Whoever reads values takes the hash, and what turns out damaged there is not trusted here any more.
"""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_PROJECT = ".dvc"
_PLACE = Path(_PROJECT, "tmp", "mcr")
_NAME = "parts.json"

Look = tuple[int, int, int, int]


def look_of(path: Path) -> Look:
    """Size, time of the last change of the content, inode, and time of the last change of the inode, in nanoseconds.

    Raises:
        OSError: There is no such file.
    """
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


class UnchangedParts:
    """What is known of the files of the parts in `folder`; for the one who holds its lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = _record_of(folder)
        self._before = _read(self._record) if self._record else {}
        self._now: dict[str, tuple[str, Look]] = {}

    def vouch(self, name: str, sha256: str) -> bool:
        """Whether the file looks as it did when this was its hash."""
        known = self._before.get(name)
        with suppress(OSError):
            if known and known == (sha256, look_of(self._folder / name)):
                self._now[name] = known
                return True
        return False

    def hashed(self, name: str, sha256: str, look: Look) -> None:
        """The file had this hash when, or after, it looked like this."""
        self._now[name] = sha256, look

    def save(self) -> None:
        """Keep what is known for the next run; to be unable to costs only time there."""
        if self._record is None or self._now == self._before:
            return
        temporary = self._record.with_suffix(".tmp")
        try:
            self._record.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._now))
            os.replace(temporary, self._record)
        except OSError as error:
            log.debug("%s is not written (%s): the next run takes all hashes", self._record, error)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Something in `folder` is damaged, whatever it looks like: the next run takes all hashes."""
    if record := _record_of(folder):
        with suppress(OSError):
            record.unlink(missing_ok=True)


def _record_of(folder: Path) -> Path | None:
    """The file that is kept about `folder`; None where it is in no project."""
    path = Path(os.path.abspath(folder))
    project = next((parent for parent in path.parents if (parent / _PROJECT).is_dir()), None)
    return project / _PLACE / path.relative_to(project) / _NAME if project else None


def _read(record: Path) -> dict[str, tuple[str, Look]]:
    try:
        written = record.stat().st_mtime_ns
        content = json.loads(record.read_bytes())
        found = {name: (sha256, tuple(look)) for name, (sha256, look) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    # What changed in the instant in which the record was written may have changed after it was looked at.
    return {name: (sha256, look) for name, (sha256, look) in found.items() if len(look) == 4 and look[1] < written}
