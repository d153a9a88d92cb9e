"""Write a folder of parts so that a kill at any moment costs at most the part in work."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.atomic import atomic_path
from pipeline.errors import CorruptError, UserError
from pipeline.hashing import sha256_file, sha256_keys
from pipeline.store.manifest import FAILURES_NAME, MANIFEST_NAME, Failure, Manifest, Part, load_manifest

log = logging.getLogger(__name__)

FAILURES_SCHEMA = pa.schema([(name, pa.string()) for name in ("part", "key", "step", "error", "message")])


class PartFolder:
    """A folder of parts under construction.

    Opening it finds what an earlier run committed, and says in words why any of it is stale.

    Args:
        folder: Where the parts go.
        kind: ``shards``, ``embeddings`` or ``pairs``.
        fingerprint: Everything that can change a part, apart from the part's own source.
        arithmetic: Kind of device and precision that this run computes with, see `Part`. It is no part of the
            fingerprint: what another device has finished stays valid.
    """

    def __init__(self, folder: Path, kind: str, fingerprint: Mapping[str, object], arithmetic: str = "") -> None:
        self.folder = folder
        self.arithmetic = arithmetic
        self.computed = 0
        folder.mkdir(parents=True, exist_ok=True)
        # Through JSON, so that what is compared is what a manifest can hold.
        fingerprint = json.loads(json.dumps(fingerprint))
        previous = _previous(folder, kind)
        reasons = differences(previous.fingerprint, fingerprint) if previous else []
        if previous and previous.parts and reasons:
            log.info("%s: all %d parts are stale: %s", folder, len(previous.parts), "; ".join(reasons))
        self._known = {part.name: part for part in previous.parts} if previous and not reasons else {}
        self._parts: dict[str, Part] = {}
        self.manifest = Manifest(kind, dict(fingerprint), tuple(self._known.values()))

    @property
    def earlier_parts(self) -> dict[str, Part]:
        """Parts that an earlier run with the same fingerprint committed, by name."""
        return dict(self._known)

    def reuse(self, name: str, source: str) -> bool:
        """Keep part `name` if it is committed, was made from `source` and is intact; say why if it is not."""
        part = self._known.get(name)
        if part is None:
            return False
        reason = None
        if part.source != source:
            reason = f"its source changed ({part.source[:8]} -> {source[:8]})"
        elif not (self.folder / name).is_file():
            reason = "the file is missing"
        elif sha256_file(self.folder / name) != part.sha256:
            reason = "the file is damaged"
        if reason:
            log.info("%s/%s is stale: %s", self.folder, name, reason)
            return False
        self._parts[name] = part
        return True

    def refuse_mixture(self) -> None:
        """Call it when all parts to keep are known and before one is computed, which may take hours.

        Raises:
            UserError: A part that is kept was computed by another kind of device, or in another precision.
        """
        for part in self._parts.values():
            # Earlier versions did not record it; they ran on CPUs.
            made = part.arithmetic or (self.arithmetic if not self.arithmetic.startswith("cuda") else "cpu fp32")
            if made != self.arithmetic:
                raise UserError(
                    f"{self.folder} is partly computed with {made}; this run would add parts computed with "
                    f"{self.arithmetic}, whose numbers are rounded differently.",
                    f"Finish it with {made} (run.device and precision in params.yaml), or remove the folder to make all of it anew.",
                )

    def commit(
        self, name: str, source: str, keys: Sequence[str], rejected: Sequence[Failure], write: Callable[[Path], None]
    ) -> Part:
        """Write part `name` with `write` and list it in the manifest; both steps are atomic.

        `keys` and `rejected` are read after `write`, which may still add to them: what fails while it is written is
        rejected, too.
        """
        self.refuse_mixture()
        with atomic_path(self.folder / name) as temporary:
            write(temporary)
            digest = sha256_file(temporary)
        part = Part(name, len(keys), digest, sha256_keys(keys), source, tuple(rejected), self.arithmetic)
        self._parts[name] = part
        self.computed += 1
        # Parts of an earlier run that are not reached yet stay listed: a second kill must not cost them.
        listed = {**self._known, **self._parts}
        self.manifest = replace(self.manifest, parts=tuple(listed[name] for name in sorted(listed)), complete=False)
        self.manifest.save(self.folder)
        return part

    def finish(self, max_rejected: float, not_read: Mapping[str, int] | None = None) -> Manifest:
        """Write the failures file, mark the folder complete and remove every file that is not listed.

        Args:
            max_rejected: Largest share of rejected samples, from 0 to 1, with which the stage still succeeds.
            not_read: What of the source was neither used nor rejected.

        Raises:
            UserError: No sample is left, or too many were rejected.
        """
        parts = tuple(self._parts[name] for name in sorted(self._parts))
        manifest = replace(self.manifest, parts=parts, complete=True, not_read=dict(not_read or {}))
        rows = [{"part": part.name, **asdict(failure)} for part in parts for failure in part.rejected]
        with atomic_path(self.folder / FAILURES_NAME) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=FAILURES_SCHEMA), temporary)
        check_rejects(manifest, max_rejected, self.folder)
        manifest.save(self.folder)
        listed = {part.name for part in parts} | {MANIFEST_NAME, FAILURES_NAME}
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in listed:
                path.unlink()
        self.manifest = manifest
        return manifest


def _previous(folder: Path, kind: str) -> Manifest | None:
    if not (folder / MANIFEST_NAME).exists():
        return None
    try:
        previous = load_manifest(folder)
    except CorruptError as error:
        log.warning("%s Everything in it is made again.", error.message)
        return None
    if previous.kind != kind:
        raise UserError(f"{folder} holds {previous.kind}, not {kind}.", "Give the stage a folder of its own.")
    return previous


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


def differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    """The differing entries of two fingerprints in words, such as ``checkpoint: 63a1.. -> 9f02..``."""
    found: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: {_short(before)} -> {_short(after)}")
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + ".."
