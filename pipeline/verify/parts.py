"""Are folders of parts, shards, embeddings and pairs, what their manifests say, and made from what is there?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import McrError, first_few
from pipeline.hashing import sha256_json, sha256_keys, sha256_once
from pipeline.links import Link, store_folder
from pipeline.modalities import modality_of
from pipeline.store import PAIRS, Manifest, Part, Store, load_manifest
from pipeline.store.content.hashes import CONTENTS_NAME, read_contents
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts.file import judged_part, part_file
from pipeline.store.parts.subfolders import unlisted_parts
from pipeline.store.shards import read_shard
from pipeline.verify.store import StoreCheck
from pipeline.verify.verdict import Verdict, judged


def check_shards(folder: Path) -> Verdict:
    """Every tar against the manifest: hash, keys and their number; the tables; and ``_contents`` against the tars."""
    try:
        manifest = load_manifest(folder)
    except McrError as error:
        return judged(folder, [error.message.rstrip(".")])
    held: set[tuple[str, str]] = set()
    damage = check_files(folder, manifest, "*.tar")
    if not damage:
        for part in manifest.parts:
            damage += _check_shard(part_file(folder, part), part, held)
    if not damage and CONTENTS_NAME in manifest.files:
        damage += _check_contents(folder, manifest, held)
    holds = f"{manifest.rows:,} samples in {len(manifest.parts)} shards, {manifest.rejected:,} rejected"
    return judged(folder, damage, unfinished=unfinished(manifest), holds=holds)


def check_pairs(folder: Path, embeddings: Path, link: Link | None) -> Verdict:
    """Every part against the manifest: hash, keys, numbers that are finite; and the stores that the pairs were made from.

    Args:
        folder: One set of pairs.
        embeddings: Where the stores are.
        link: What the parameters say about its link; None if they say nothing.
    """
    try:
        manifest = load_manifest(folder)
    except McrError as error:
        return judged(folder, [error.message.rstrip(".")])
    damage = check_files(folder, manifest, "part-*.parquet")
    store = Store(folder, manifest)
    for part in () if damage else manifest.parts:
        try:
            rows = store.read_part(part)
        except McrError as error:
            damage.append(error.message.rstrip("."))
            continue
        if sha256_keys(rows.keys) != part.keys_sha256:
            damage.append(f"{part.name} holds other keys than the manifest lists, or in another order")
    holds = f"{manifest.rows:,} pairs in {len(manifest.parts)} parts"
    changes = _other_stores(manifest, embeddings, link) if link else []
    return judged(folder, damage, changes, unfinished(manifest), holds)


def judge_store(check: StoreCheck, shards: Path, holds: str) -> Verdict:
    """The verdict on a store that was checked, against the shards of its corpus as well."""
    manifest = check.manifest
    if manifest is None or manifest.kind == PAIRS:
        return judged(check.folder, check.problems)
    tables = _check_tables(check.folder, manifest)
    damage = [*check.problems, *(said for said in tables if said not in check.problems)]
    changes = []
    if not check.unverified and (shards / MANIFEST_NAME).is_file():
        known = {part.sha256 for part in load_manifest(shards).parts}
        if outdated := [part.name for part in manifest.parts if part.source not in known]:
            changes.append(f"{first_few(outdated)} was made from shards that {shards} does not hold any more")
        elif len(known) > len(manifest.parts):
            changes.append(f"{shards} has {len(known) - len(manifest.parts)} shards more than were encoded")
    return judged(check.folder, damage, changes, unfinished(manifest), holds)


def unfinished(manifest: Manifest) -> str:
    """Said of a folder that a stage has begun; empty if it is finished."""
    return "" if manifest.complete else f"it is unfinished: {len(manifest.parts)} parts are committed"


def check_files(folder: Path, manifest: Manifest, pattern: str) -> list[str]:
    """What is wrong with the parts and tables that the manifest lists, and which parts it does not list, in words."""
    damage = []
    for part in manifest.parts:
        if said := judged_part(folder, part):
            damage.append(said)
    if extra := unlisted_parts(folder, pattern, {part.name for part in manifest.parts}):
        damage.append(f"{first_few(extra)} is not in the manifest")
    return damage + _check_tables(folder, manifest)


def _check_tables(folder: Path, manifest: Manifest) -> list[str]:
    said = []
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            said.append(f"{name} is missing")
        elif sha256_once(folder / name) != digest:
            said.append(f"{name} is damaged: its hash is not that of the manifest")
    return said


def _check_shard(path: Path, part: Part, held: set[tuple[str, str]]) -> list[str]:
    keys = []
    try:
        for sample in read_shard(path):
            keys.append(sample.key)
            held |= {(sample.key, modality_of(extension)) for extension in sample.members}
    except McrError as error:
        return [error.message.rstrip(".")]
    if len(keys) != part.rows or sha256_keys(keys) != part.keys_sha256:
        return [f"{part.name} holds other keys than the manifest lists, or in another order"]
    return []


def _check_contents(folder: Path, manifest: Manifest, held: set[tuple[str, str]]) -> list[str]:
    try:
        listed = {(key, modality) for key, modality, _ in read_contents(folder)}
    except McrError as error:
        return [error.message.rstrip(".")]
    rejected = {failure.key for part in manifest.parts for failure in part.rejected}
    if isinstance(wanted := manifest.fingerprint.get("modalities"), list):
        # Tars that were adopted hold other files, too.
        held = {(key, modality) for key, modality in held if modality in wanted}
    lacking = sorted({key for key, _ in held - listed})
    strange = sorted({key for key, _ in listed - held} - rejected)
    said = [f"{CONTENTS_NAME} has no hash of {first_few(lacking)}"] if lacking else []
    return said + ([f"{CONTENTS_NAME} lists {first_few(strange)}, which no shard holds"] if strange else [])


def _other_stores(manifest: Manifest, embeddings: Path, link: Link) -> list[str]:
    """Stores that hold something else than when the pairs were made of them, in words."""
    recorded = manifest.fingerprint.get("sources")
    said = []
    for space, memory in link.memories.items():
        hashed = recorded.get(link.memory_column(space)) if isinstance(recorded, Mapping) else None
        places = [store_folder(embeddings, space, corpus, memory.modality) for corpus in memory.corpora]
        if hashed and _hash_of(places) not in ("", hashed):
            said.append(f"{', '.join(map(str, places))} was changed since they were made")
    return said


def _hash_of(places: Sequence[Path]) -> str:
    if not all((place / MANIFEST_NAME).is_file() for place in places):
        return ""
    return sha256_json([load_manifest(place).content_hash for place in places])
