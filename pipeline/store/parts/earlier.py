"""What earlier runs left in a folder of parts: what is known of it, and what a kill left half done is finished."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptError, UserError
from pipeline.files.atomic import move, remove_leftovers
from pipeline.hashing import sha256_file
from pipeline.store.differences import differences
from pipeline.store.manifest import MANIFEST_NAME, Manifest, Part, parts_in, read_manifest
from pipeline.store.parts.elsewhere import lies_at
from pipeline.store.parts.journal import read_journal
from pipeline.store.parts.names import stays_inside

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """What a folder holds before a run.

    Attributes:
        manifest: Of the last run that finished; None if none did, or if it cannot be read.
        parts: What was committed with the fingerprint of this run, by name.
        own: Names of files, and addresses, that may be removed: all that a manifest or journal of this folder ever listed.
        lists_all: Whether `own` is complete; what damaged files listed is not known any more.
        continues: Whether the journal that is there is one of this run's fingerprint.
    """

    manifest: Manifest | None
    parts: dict[str, Part]
    own: set[str]
    lists_all: bool
    continues: bool


def take_over(folder: Path, now: Manifest) -> Earlier:
    """Find what earlier runs committed, give parts the names that a kill kept from them, and remove what is half written.

    Args:
        folder: Of the parts; its lock is held.
        now: Kind and fingerprint of this run.

    Raises:
        UserError: The folder holds something of another kind.
    """
    previous = _previous_manifest(folder, now.kind)
    journal = read_journal(folder)
    header, *entries = journal.entries or [{}]
    commits = [entry for entry in entries if "part" in entry]
    written = parts_in(commits)
    before = {part.file_name: part for part in previous.parts} if previous else {}
    own = {lies_at(part) for part in (*before.values(), *written.values())} | set(previous.files if previous else ())
    own.update(name for entry in journal.entries for name in entry.get("own", ()))
    lists_all = not journal.damaged and (previous is not None or not (folder / MANIFEST_NAME).exists())
    continues = header.get("fingerprint") == now.fingerprint and header.get("kind") == now.kind
    fingerprints = [previous.fingerprint] if before and previous else []
    fingerprints += [header["fingerprint"]] if written and "fingerprint" in header else []
    stale = [reasons for made_by in fingerprints if (reasons := differences(made_by, now.fingerprint))]
    if stale and len(stale) == len(fingerprints):
        log.info("%s: all %d parts are stale: %s", folder, len({*before, *written}), "; ".join(stale[-1]))
    still = previous is not None and previous.fingerprint == now.fingerprint
    known = {name: part for name, part in before.items() if still and name not in written}
    known |= written if continues else {}
    for entry in commits:
        finish_renaming(folder, entry)
    remove_leftovers(folder)
    return Earlier(previous, known, own, lists_all, continues)


def committed(folder: Path, now: Manifest) -> dict[str, Part]:
    """What is committed in a folder that another process may be writing to, with the fingerprint of this run, by name."""
    previous = _previous_manifest(folder, now.kind)
    header, *entries = read_journal(folder).entries or [{}]
    found = (
        {part.file_name: part for part in previous.parts}
        if previous and previous.fingerprint == now.fingerprint
        else {}
    )
    if header.get("fingerprint") == now.fingerprint and header.get("kind") == now.kind:
        found |= parts_in(entries)
    return found


def _previous_manifest(folder: Path, kind: str) -> Manifest | None:
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        previous = read_manifest(path)
    except CorruptError as error:
        log.warning("%s All its contents are rebuilt.", error.message)
        return None
    if previous.kind != kind:
        raise UserError(f"{folder} holds {previous.kind}, not {kind}.", "Give the stage a folder of its own.")
    return previous


def finish_renaming(folder: Path, commit: Mapping[str, Any]) -> None:
    """A kill came between the entry in the journal and the renaming."""
    part, temporary = Part.of(commit["part"]), folder / commit["temporary"]
    if part.location or not stays_inside(commit["temporary"]):
        return
    if temporary.is_file() and sha256_file(temporary) == part.sha256:
        move(temporary, folder / part.name)
