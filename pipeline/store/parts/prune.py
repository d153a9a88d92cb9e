"""Remove what an earlier version of the parameters left behind, since nothing else would ever do it.

Only what a manifest, a journal or a configuration lists is removed. Everything else stays and is named.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from pipeline.errors import McrError, first_few
from pipeline.files.sealed import read_sealed
from pipeline.store.lock import LOCK_NAME
from pipeline.store.manifest import FAILURES_NAME, MANIFEST_NAME, load_manifest
from pipeline.store.parts.journal import JOURNAL_NAME, read_journal
from pipeline.store.parts.names import subfolder_of
from pipeline.store.parts.subfolders import files_in, remove_empty, subfolders_of

log = logging.getLogger(__name__)

# Tables beside the parts that manifests of the first version did not list.
_FIRST_TABLES = {FAILURES_NAME, "_contents.parquet", "_duplicates.parquet", "_examples.parquet"}


def keep_only(root: Path, folders: Collection[Path]) -> None:
    """Remove what our stages wrote below `root` and is neither in one of `folders`, nor below one.

    Args:
        root: Where results of one connection or space lie; it may not exist.
        folders: `root` itself or folders at any depth below it.
    """
    on_the_way = {parent for folder in folders for parent in (folder, *folder.parents)}
    if not root.is_dir():
        return
    own = own_files(root)
    parts_in = subfolders_of(root, own)
    for path in sorted(root.iterdir()):
        if not path.is_dir() or path.is_symlink() or path.name in parts_in:
            continue
        if path in on_the_way:
            keep_only(path, folders)
        else:
            if kept := _addresses(path):
                # Whoever left a job out by mistake, or in a copy of the project, loses nothing that took days.
                log.warning(
                    "%s is no longer in the parameters, but is left alone, because its parts lie at %s. "
                    "Remove both by hand if nobody needs them.",
                    path, ", ".join(kept),
                )  # fmt: skip
                continue
            log.info("%s is no longer in the parameters and is removed", path)
            remove(path)
    if root not in folders:
        _remove_files(root, own)


def _addresses(folder: Path) -> list[str]:
    """Where parts lie that manifests and journals in `folder` and below list, if not there."""
    found: set[str] = set()
    for path in (path for name in (MANIFEST_NAME, JOURNAL_NAME) for path in folder.rglob(name)):
        with suppress(McrError):
            parts = load_manifest(path.parent).parts
            found |= {part.location.address.removesuffix(f"/{part.name}") for part in parts if part.location}
    return sorted(found)


def remove(folder: Path) -> None:
    """Remove what our stages wrote in `folder` and below it, and the folders that are then empty."""
    own = own_files(folder)
    parts_in = subfolders_of(folder, own)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in parts_in:
            remove(path)
    _remove_files(folder, own)
    with suppress(OSError):  # Something of somebody else is in it.
        folder.rmdir()


def _remove_files(folder: Path, own: set[str]) -> None:
    parts_in = subfolders_of(folder, own)
    records = {MANIFEST_NAME, JOURNAL_NAME} & own
    for name in (*(own - records), *records):  # what lists the others goes last
        (folder / name).unlink(missing_ok=True)
    left = sorted(files_in(folder, parts_in) - {LOCK_NAME})
    remove_empty(folder, parts_in)
    if left:
        log.warning("%s holds files that no stage made and that are left alone: %s", folder, first_few(left))


def own_files(folder: Path) -> set[str]:
    """Paths of the files in `folder` that its manifest, its journal or the configuration of a model lists."""
    names: set[str] = set()
    try:
        if (folder / MANIFEST_NAME).is_file() or (folder / JOURNAL_NAME).is_file():
            manifest = load_manifest(folder)
            names |= {part.name for part in manifest.parts if not part.location} | manifest.files.keys() | _FIRST_TABLES
            names |= {name for entry in read_journal(folder).entries for name in entry.get("own", ())}
            names |= {MANIFEST_NAME, JOURNAL_NAME}
        for record, field in (("config.json", "files"), ("state.json", "file")):
            if (folder / record).is_file():
                listed = read_sealed(folder / record)[field]
                names |= {record, *([listed] if isinstance(listed, str) else listed)}
    except (McrError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: its contents are unknown and left alone (%s)", folder, error)
        return set()
    parts_in = subfolders_of(folder, names)
    return {name for name in names if "/" not in name or subfolder_of(name) in parts_in}
