"""Samples that a stage could not use: their table, and how many are too many."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.store.manifest import FAILURES_NAME, Manifest
from pipeline.store.parquet import write_table

FAILURES_SCHEMA = pa.schema([(name, pa.string()) for name in ("part", "key", "step", "error", "message")])


def write_failures(path: Path, manifest: Manifest) -> None:
    """Write one row for every rejected sample of `manifest` to `path`."""
    rows = [{"part": part.name, **asdict(failure)} for part in manifest.parts for failure in part.rejected]
    write_table(path, pa.Table.from_pylist(rows, schema=FAILURES_SCHEMA))


def check_rejects(manifest: Manifest, max_rejected: float, folder: Path) -> None:
    """Stop a stage that rejected more than the share `max_rejected` of its samples, or left none.

    Raises:
        UserError: With the most frequent reasons, their counts and example keys.
    """
    total = manifest.rows + manifest.rejected
    if manifest.rows and manifest.rejected <= max_rejected * total:
        return
    if total == 0:
        raise UserError(
            f"{folder} would be empty: the input has no samples.", "Check the corpus' source in params.yaml."
        )
    examples: dict[str, list[str]] = {}
    for part in manifest.parts:
        for failure in part.rejected:
            examples.setdefault(f"{failure.step}: {failure.message}", []).append(failure.key)
    frequent = sorted(examples.items(), key=lambda item: -len(item[1]))[:5]
    reasons = "; ".join(f"{len(keys)} x {reason} (such as {', '.join(keys[:2])})" for reason, keys in frequent)
    raise UserError(
        f"{manifest.rejected} of {total} samples were rejected, more than limits.max_rejected = {max_rejected:g}: {reasons}.",
        f"See {folder / FAILURES_NAME}; repair the samples or raise limits.max_rejected.",
    )
