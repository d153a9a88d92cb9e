"""Is an embedding store what its manifest says, and can its numbers be what they claim to be?"""

from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import McrError, UserError, first_few
from pipeline.hashing import sha256_keys
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, Manifest, Part, load_manifest, read_rows
from pipeline.store.manifest import FAILURES_NAME
from pipeline.store.parts.file import judged_part, part_file
from pipeline.store.parts.subfolders import unlisted_parts
from pipeline.store.reader import NORM_TOLERANCE

PARTS = "part-*.parquet"


@dataclass
class StoreCheck:
    """What was found in one store.

    Attributes:
        folder: The store.
        manifest: Its manifest, if it could be read.
        rows: Rows that were read.
        norm_error: Largest distance of a norm from 1.
        duplicates: Key, and the earlier key whose embedding has the same bits. Equal samples have equal embeddings,
            so these are not damage.
        problems: All damage, in words; empty if what is there is sound.
    """

    folder: Path
    manifest: Manifest | None = None
    rows: int = 0
    norm_error: float = 0.0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def unverified(self) -> bool:
        """Whether its embeddings were imported, so that nothing here can compute them again."""
        encoder = self.manifest.fingerprint.get("encoder") if self.manifest else None
        return isinstance(encoder, dict) and bool(encoder.get("unverified"))


def check_store(folder: Path) -> StoreCheck:
    """Compare the store in `folder` with its manifest, part by part, so that memory is bounded by one part.

    Checked are the hash, the number of rows and the order of keys of every part; that no key occurs twice; that every
    embedding is finite, of unit norm and as wide as the space; that the failures file accounts for every reject; and
    that no part lies there which the manifest does not list, because other Parquet readers would read it.
    """
    check = StoreCheck(folder)
    try:
        manifest = check.manifest = load_manifest(folder)
    except McrError as error:
        check.problems.append(error.message.rstrip("."))
        return check
    if manifest.kind != EMBEDDINGS:
        raise UserError(f"{folder} holds {manifest.kind}, not {EMBEDDINGS}.", "Name an embedding store.")
    keys: set[str] = set()
    seen: dict[bytes, str] = {}
    for part in manifest.parts:
        _check_part(check, part, keys, seen)
    if extra := unlisted_parts(folder, PARTS, {part.name for part in manifest.parts}):
        check.problems.append(f"{first_few(extra)} is not in the manifest")
    if manifest.complete:
        _check_failures(check, manifest)
    return check


def _check_part(check: StoreCheck, part: Part, keys: set[str], seen: dict[bytes, str]) -> None:
    say = check.problems.append
    if said := judged_part(check.folder, part):
        say(said)
        if part.location or said.endswith("is missing"):
            return
    try:
        rows = read_rows(part_file(check.folder, part))
        matrix = rows.vectors[EMBEDDING_COLUMN]
    except McrError as error:
        say(error.message.rstrip("."))
        return
    except KeyError:
        say(f"{part.name} has no column {EMBEDDING_COLUMN}")
        return
    if len(rows.keys) != part.rows:
        say(f"{part.name} holds {len(rows.keys)} rows, the manifest lists {part.rows}")
    elif sha256_keys(rows.keys) != part.keys_sha256:
        say(f"{part.name} holds other keys than the manifest lists, or in another order")
    repeated = []
    for key in rows.keys:
        if key in keys:
            repeated.append(key)
        keys.add(key)
    if repeated:
        say(f"{part.name} holds keys that occur twice: {first_few(repeated)}")
    _check_vectors(check, part.name, rows.keys, matrix, seen)
    check.rows += len(rows.keys)


def _check_vectors(check: StoreCheck, name: str, keys: list[str], matrix: np.ndarray, seen: dict[bytes, str]) -> None:
    width = check.manifest.fingerprint.get("dimension") if check.manifest else None
    if width is not None and matrix.shape[1] != width:
        check.problems.append(f"{name} holds embeddings of width {matrix.shape[1]}, the space has {width}")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        check.problems.append(f"{name} holds embeddings that are not finite: {first_few(_at(keys, ~finite))}")
    error = np.abs(np.linalg.norm(np.where(finite[:, None], matrix, 0).astype(np.float64), axis=1) - 1)
    wrong = finite & (error >= NORM_TOLERANCE)
    if wrong.any():
        worst = f"norms differ from 1 by up to {error[wrong].max():.2g}"
        check.problems.append(
            f"{name} holds embeddings that are not unit vectors ({worst}): {first_few(_at(keys, wrong))}"
        )
    check.norm_error = max(check.norm_error, float(error[finite].max(initial=0)))
    for key, row in zip(keys, np.ascontiguousarray(matrix), strict=True):
        first = seen.setdefault(blake2b(row, digest_size=16).digest(), key)
        if first != key:
            check.duplicates.append((key, first))


def _check_failures(check: StoreCheck, manifest: Manifest) -> None:
    try:
        count = pq.read_metadata(check.folder / FAILURES_NAME).num_rows
    except (OSError, pa.ArrowException):
        check.problems.append(f"{FAILURES_NAME} is missing or damaged")
        return
    if count != manifest.rejected:
        check.problems.append(f"{FAILURES_NAME} has {count} rows, the manifest counts {manifest.rejected} rejects")


def _at(keys: list[str], mask: np.ndarray) -> list[str]:
    return [keys[row] for row in np.flatnonzero(mask)]
