"""The end of a run: tables beside the parts, parts where they are to lie, what is none any more removed, the manifest."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.errors import first_few
from pipeline.files.atomic import LEFTOVER
from pipeline.store.lock import LOCK_NAME
from pipeline.store.manifest import FAILURES_NAME, MANIFEST_NAME, Manifest, Part
from pipeline.store.parts.journal import JOURNAL_NAME
from pipeline.store.parts.ledger import Ledger
from pipeline.store.parts.subfolders import files_in, remove_empty, subfolders_of, sync_folders
from pipeline.store.rejects import check_rejects, write_failures
from pipeline.store.remote.objects import remove

log = logging.getLogger(__name__)

Tables = Mapping[str, Callable[[Path], None]]


def finish(
    ledger: Ledger, now: Manifest, previous: Manifest | None, tables: Tables, max_rejected: float, anew: bool
) -> Manifest:
    """Bring the folder of `ledger` to what its parts say; nothing is written where all of it is there.

    Args:
        ledger: With all parts that the folder is to have.
        now: What its manifest is going to say beside parts and tables.
        previous: The manifest that is there.
        tables: By name, what writes it.
        max_rejected: Largest share of rejected samples.
        anew: Whether parts were written in this run.

    Raises:
        UserError: No sample is left, or too many were rejected.
    """
    folder = ledger.folder
    now = replace(now, parts=ledger.in_order(), complete=True, files={})
    now.files[FAILURES_NAME] = ledger.write_table(FAILURES_NAME, lambda path: write_failures(path, now))
    check_rejects(now, max_rejected, folder)
    now = replace(now, parts=_settled_parts(ledger, anew))
    for name, write in tables.items():
        now.files[name] = ledger.write_table(name, write)
    needed = {part.name for part in now.parts if not part.location} | now.files.keys()
    filled = subfolders_of(folder, needed)
    known = filled | subfolders_of(folder, ledger.claims.places)
    present = files_in(folder, known)
    stale = _stale(ledger, present, needed)
    gone = ledger.elsewhere.stale(ledger.claims.places, now.parts)
    if now != previous or stale or gone or ledger.begun:
        ledger.journal()
        for name in stale:
            (folder / name).unlink()
        for address in gone:
            remove(address)
        remove_empty(folder, known - filled)
        sync_folders(folder, filled)
        ledger.end(now)
    _name_foreign(folder, present - stale - needed)
    ledger.unchanged.save()
    return now


def _settled_parts(ledger: Ledger, anew: bool) -> tuple[Part, ...]:
    """All parts, those that lie elsewhere than they are to lie moved there, and seen to be there."""
    elsewhere = ledger.elsewhere
    astray = [part for part in ledger.parts.values() if not elsewhere.settled(part)]
    if astray:
        ledger.claim({part.file_name for part in astray})
    for part in astray:
        ledger.commit(*elsewhere.moved(part, ledger.claims.path_of(part.file_name)))
    parts = ledger.in_order()
    elsewhere.confirm(parts, anew=bool(astray) or anew)
    return parts


def _stale(ledger: Ledger, present: set[str], needed: set[str]) -> set[str]:
    own = ledger.claims.places
    stale = (own & present) - needed
    # Half-written files of the first version had no names of their own.
    stale |= present & {f"{name}.tmp" for name in (*own, *ledger.parts, *needed)}
    # Of processes on machines that were given up and went on for a while.
    return stale | {name for name in present if LEFTOVER.fullmatch(name)}


def _name_foreign(folder: Path, names: set[str]) -> None:
    foreign = sorted(names - {MANIFEST_NAME, JOURNAL_NAME, LOCK_NAME})
    if foreign:
        log.warning("%s holds files that this stage did not make and leaves alone: %s", folder, first_few(foreign))
