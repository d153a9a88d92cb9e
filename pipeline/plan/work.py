"""How much there is to do, from the manifests of what is done."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import McrError
from pipeline.store import EMBEDDINGS, Manifest, load_complete_manifest, load_manifest
from pipeline.store.differences import differences
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.shards import open_shards

FLOAT_BYTES = 4
NUMBER_BYTES = {"float32": FLOAT_BYTES, "float16": 2}


def finished_shards(folder: Path) -> Manifest | None:
    """The manifest of a sharded corpus; None if it is not sharded, or not to its end."""
    try:
        return open_shards(folder)
    except McrError:
        return None


def samples_to_encode(corpus: Manifest, store: Path, fingerprint: Mapping[str, object]) -> tuple[int, list[str]]:
    """Samples of `corpus` that `store` lacks, and in words why what it has is stale.

    Args:
        corpus: Manifest of the shards.
        store: Folder of the embeddings, which may not exist.
        fingerprint: Entries that the store's fingerprint must have to be valid; others are not compared.
    """
    try:
        before = load_manifest(store)
    except McrError:
        return corpus.rows, []
    reasons = differences({name: before.fingerprint.get(name) for name in fingerprint}, fingerprint)
    if reasons:
        return corpus.rows, reasons
    done = {part.source for part in before.parts if part.location or (store / part.name).is_file()}
    return sum(shard.rows for shard in corpus.parts if shard.sha256 not in done), []


def known_dimension(embeddings: Path, space: str) -> int | None:
    """Width of a space, if anything was encoded by it."""
    for manifest in sorted((embeddings / space).glob(f"*/*/{MANIFEST_NAME}")):
        try:
            width = load_complete_manifest(manifest.parent, EMBEDDINGS).fingerprint.get("dimension")
        except McrError:
            continue
        if isinstance(width, int):
            return width
    return None


def bytes_of(source: str) -> int | None:
    """Size of local raw data; None if it is remote, a pattern, or not there."""
    path = Path(source)
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else None
