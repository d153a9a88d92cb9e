"""What a folder of parts says about how it was made, whether it is finished or not."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import McrError
from pipeline.store.manifest import MANIFEST_NAME, read_manifest
from pipeline.store.parts.journal import read_journal


def recorded_choice(folder: Path, fingerprint: Mapping[str, object], name: str) -> Any:
    """What an earlier run recorded as `name`, if all else of its fingerprint is `fingerprint`; None if there is no such run.

    So what a run once found out by measuring is not found out again, and nothing becomes stale by it.

    Args:
        folder: Of the parts.
        fingerprint: Of this run; what it says as `name` does not count.
        name: An entry of the fingerprint.
    """
    wanted = json.loads(json.dumps({**fingerprint, name: None}))
    return next((found[name] for found in _recorded(folder) if {**found, name: None} == wanted and name in found), None)


def _recorded(folder: Path) -> Iterator[dict[str, Any]]:
    """Fingerprints of the run that is unfinished, and of the last one that finished."""
    header = next(iter(read_journal(folder).entries), {})
    if isinstance(header.get("fingerprint"), dict):
        yield header["fingerprint"]
    with suppress(McrError):  # there is none, or it is damaged: whoever opens the folder says so
        yield dict(read_manifest(folder / MANIFEST_NAME).fingerprint)
