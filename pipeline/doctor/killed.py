"""Files of DVC's own that it writes in place, so that one killed at that moment leaves half of them, and the next one stops."""

import json
from pathlib import Path
from typing import Any

from pipeline.doctor.finding import FAIL, Finding


def half_written(repo: Any) -> list[Finding]:
    """A finding if DVC's record of what is in use cannot be read.

    Args:
        repo: An open `dvc.repo.Repo`.
    """
    from dvc.rwlock import RWLOCK_FILE, SCHEMA
    from voluptuous import Invalid

    record = Path(repo.tmp_dir or repo.root_dir, RWLOCK_FILE)
    try:
        SCHEMA(json.loads(record.read_bytes()))
    except OSError:  # there is none, or this user may not read it
        return []
    except (ValueError, Invalid):
        hint = "When no other `dvc` runs here, remove it: it only lists what running ones use."
        return [Finding(FAIL, "DVC", f"{record} is damaged, as a killed `dvc` may leave it", hint)]
    return []


def advice(error: Exception) -> str:
    """What to do about `error`, with which DVC refused to read its files."""
    if "dvc.lock" in str(error):
        return "Restore dvc.lock (`git checkout dvc.lock`), or remove it: stages then run again, and keep what is up to date."
    return "Correct dvc.yaml; `dvc status` says more."
