"""`mcr verify`: are the embedding stores what they claim to be?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import CorruptError, UserError
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.spaces import Space
    from pipeline.verify.store import StoreCheck


def verify(
    stores: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of stores, such as clip/photos; by default all.", show_default=False),
    ] = None,
    recompute: Annotated[
        int, typer.Option(min=0, help="Embed this many rows of each store again and compare.", show_default=False)
    ] = 0,
) -> None:
    """Check embedding stores: hashes, counts, keys, norms, NaN, duplicates; on demand compute rows once more.

    Ends with 1 if a store is damaged or does not hold what its space computes.

    Examples:

      mcr verify

      mcr verify clip/photos clap --recompute 16
    """
    from pipeline.verify.store import check_store, find_stores
    from stages.context import EMBEDDINGS

    roots = [_store_folder(path) for path in stores or [EMBEDDINGS]]
    folders = dict.fromkeys(folder for root in roots for folder in find_stores(root))
    spaces: dict[str, Space] = {}
    bad = []
    for folder in folders:
        check = check_store(folder)
        for problem in check.problems:
            say(f"{folder}: DAMAGED: {problem}")
        if not check.problems:
            say(f"{folder}: {_described(check)}")
        agrees = check.problems or not recompute or _agrees(check, recompute, spaces)
        if check.problems or not agrees:
            bad.append(folder)
    if bad:
        raise CorruptError(
            f"{len(bad)} of {len(folders)} stores cannot be relied on: {', '.join(map(str, bad))}.",
            "Run `mcr encode` for their jobs, which makes damaged parts again; "
            "remove a store that differs from its space first, and import an imported one again.",
        )
    say(f"verify: {len(folders)} stores, all of them sound")


def _store_folder(path: Path) -> Path:
    """`path` as it is, or below data/embeddings."""
    from stages.context import EMBEDDINGS

    return path if path.is_dir() else EMBEDDINGS / path


def _described(check: "StoreCheck") -> str:
    manifest = check.manifest
    assert manifest
    said = f"{check.rows:,} rows in {len(manifest.parts)} parts, {manifest.rejected:,} rejected, norms 1 +- {check.norm_error:.1g}"
    if check.duplicates:
        key, first = check.duplicates[0]
        said += f", {len(check.duplicates):,} equal to an earlier row (such as {key} and {first})"
    return said + (", imported: unverified" if check.unverified else "")


def _agrees(check: "StoreCheck", count: int, spaces: "dict[str, Space]") -> bool:
    """Compute rows of a sound store again; say what came out."""
    from pipeline.hashing import sha256_json
    from pipeline.spaces import load_space
    from pipeline.store import Store
    from pipeline.verify.recompute import recompute, recorded_spec
    from stages.context import SHARDS

    if check.unverified:
        say("  not recomputed: it was imported, and nothing here says how its embeddings were made")
        return True
    store = Store.open(check.folder)
    spec = recorded_spec(store)
    name = sha256_json(store.manifest.fingerprint["spec"])
    if name not in spaces:
        spaces[name] = load_space(spec)
    shards = SHARDS / check.folder.parent.name
    if not shards.is_dir():
        raise UserError(f"There is no {shards} to compute {check.folder} from.", "Run `mcr shard`, or leave it out.")
    found = recompute(store, shards, spaces[name], count)
    verdict = "agrees" if found.agrees else "DIFFERS"
    say(
        f"  recomputed {found.rows}: largest difference {found.largest:.2g} (at {found.worst}; "
        f"{found.tolerance:g} is tolerated), smallest cosine {found.cosine:.6f}: {verdict}"
    )
    for change in found.changed:
        say(f"  since it was made, {change}")
    return found.agrees
