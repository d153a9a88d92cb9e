"""Which samples the shards of an earlier run hold, without fetching those that lie at an address if anything else tells."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from tarfile import TarError

from pipeline.errors import CorruptError, McrError
from pipeline.hashing import sha256_keys
from pipeline.store import Part
from pipeline.store.content.hashes import CONTENTS_NAME, read_contents
from pipeline.store.manifest import MANIFEST_NAME, read_manifest
from pipeline.store.parts.file import part_file
from pipeline.store.parts.names import number_of
from pipeline.store.shards import shard_keys

log = logging.getLogger(__name__)


def held_keys(
    folder: Path, earlier: Mapping[str, Part], guess: Callable[[int], Sequence[str]]
) -> Iterator[tuple[str, set[str]]]:
    """Name and keys, rejected ones as well, of each shard of an earlier run, in the order of their names.

    A shard that cannot be read is left out: its samples are assigned again.

    Args:
        folder: Of the manifest.
        earlier: What an earlier run committed.
        guess: Keys that would be put into the shard of a number now if there were no earlier run.

    Raises:
        UserError: A store does not permit reading it.
        TryAgainError: The network failed.
    """
    listed = _listed(folder) if any(part.location for part in earlier.values()) else iter(())
    told: dict[str, list[str]] = {}
    for name, part in sorted(earlier.items()):
        rejected = {failure.key for failure in part.rejected}
        if part.location:
            # The table lists them in the order of the shards.
            while name not in told and (found := next(listed, None)):
                told = dict([found])
            # Of a run that was interrupted there is no table; what would be assigned now is what was, if its hash says so.
            guessed = [key for key in guess(number_of(name) or 0) if key not in rejected]
            known = next(
                (keys for keys in (told.get(name, []), guessed) if sha256_keys(keys) == part.keys_sha256), None
            )
            if known is not None:
                yield name, {*known, *rejected}
                continue
        try:
            yield name, {*shard_keys(part_file(folder, part)), *rejected}
        except (OSError, EOFError, TarError, CorruptError):
            log.info("%s/%s cannot be read: its samples are assigned again", folder, name)


def _listed(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and keys of each shard of the last run that finished, from its manifest and its table of contents."""
    try:
        parts = read_manifest(folder / MANIFEST_NAME).parts if (folder / MANIFEST_NAME).is_file() else ()
        rejected = {failure.key for part in parts for failure in part.rejected}
        rows = read_contents(folder) if (folder / CONTENTS_NAME).is_file() else iter(())
        keys = (key for key, _ in groupby(rows, itemgetter(0)) if key not in rejected)
        for part in parts:
            yield part.file_name, list(islice(keys, part.rows))
    except McrError as error:
        log.info("%s: which shard holds what is read from the shards (%s)", folder, error.message)
