"""What the processes of a job array made of a folder of parts, each in a folder of its own with its own lock and journal."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.files.atomic import remove_leftovers
from pipeline.store.lock import LOCK_NAME, FolderLock
from pipeline.store.manifest import Manifest, Part, parts_in
from pipeline.store.parts.earlier import finish_renaming
from pipeline.store.parts.journal import read_journal
from pipeline.store.parts.prune import remove
from pipeline.store.parts.share import SHARES_NAME

log = logging.getLogger(__name__)


@contextmanager
def no_slice_at_work(folder: Path) -> Iterator[None]:
    """Keep the slices of `folder` from being worked on.

    Raises:
        HeldError: One of them is.
    """
    with ExitStack() as locks:
        for slice_folder in _slices(folder):
            locks.enter_context(FolderLock(slice_folder))
        yield


def made_by_slices(folder: Path, now: Manifest) -> Iterator[tuple[Part, str]]:
    """What the slices of `folder` committed with the fingerprint of `now`, and where each part lies, seen from `folder`.

    Their locks are held.
    """
    for slice_folder in _slices(folder):
        header, *entries = read_journal(slice_folder).entries or [{}]
        commits = [entry for entry in entries if "part" in entry]
        if header.get("fingerprint") != now.fingerprint or header.get("kind") != now.kind:
            if commits:
                log.info("%s: %d parts were made with other parameters and are removed", slice_folder, len(commits))
            continue
        for entry in commits:
            finish_renaming(slice_folder, entry)
        for part in parts_in(commits).values():
            if (slice_folder / part.name).is_file():
                yield part, f"{slice_folder.relative_to(folder)}/{part.name}"


def remove_slices(folder: Path) -> None:
    """Remove what slices wrote, when everything of use has been adopted; files of somebody else stay."""
    for slice_folder in _slices(folder):
        remove_leftovers(slice_folder)
        remove(slice_folder)
        (slice_folder / LOCK_NAME).unlink(missing_ok=True)
        with suppress(OSError):
            slice_folder.rmdir()
    with suppress(OSError):
        (folder / SHARES_NAME).rmdir()


def _slices(folder: Path) -> list[Path]:
    root = folder / SHARES_NAME
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
