"""Turn a corpus into reproducible shards: same input, same bytes; what is written once does not move."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tarfile import TarError

from pipeline.errors import SampleError, UserError
from pipeline.hashing import sha256_bytes, sha256_json
from pipeline.modalities import MODALITY_OF, TEXT
from pipeline.progress import Progress
from pipeline.shard.sources import KEY, RawSample, find_samples
from pipeline.store.folder import PartFolder
from pipeline.store.manifest import Failure, Manifest, Part
from pipeline.store.shards import SHARDS, ShardSample, shard_keys, write_shard

log = logging.getLogger(__name__)

CODE_VERSION = 1
MAX_TEXT_BYTES = 65_536


@dataclass(frozen=True)
class ShardSettings:
    """How a corpus is cut; see `CorpusSettings` for the meaning of each value."""

    modalities: tuple[str, ...]
    samples_per_shard: int
    duplicates: str
    max_rejected: float


def build_shards(source: Path, folder: Path, settings: ShardSettings, progress: Progress) -> tuple[Manifest, int]:
    """Write the corpus in `source` as shards to `folder`.

    Assignment is append-only: a sample that is in a shard stays there, new samples go to new shards. A shard is
    written again only if one of its samples changed or vanished.

    Returns:
        The manifest, and how many shards were written (the others were up to date).

    Raises:
        UserError: No such source, a duplicate key under the policy ``error``, or too many rejected samples.
    """
    groups = _by_key(find_samples(source, settings.modalities), settings.duplicates, source)
    shards = PartFolder(folder, SHARDS, {"modalities": sorted(settings.modalities), "code": CODE_VERSION})
    plan = _assign(sorted(groups), shards.earlier_parts, folder, settings.samples_per_shard)
    progress.start("shard", len(groups), "samples")
    for name, keys in plan.items():
        checked = [_check(groups[key], settings.modalities) for key in keys]
        content_hash = sha256_json([[one.key, one.members, len(one.rejected)] for one in checked])
        if not shards.reuse(name, content_hash):
            kept = [one.key for one in checked if one.members]
            rejected = [failure for one in checked for failure in one.rejected]
            stream = (ShardSample(key, _load(groups[key][0])) for key in kept)
            shards.commit(name, content_hash, kept, rejected, partial(write_shard, samples=stream))
        progress.advance(len(keys))
    return shards.finish(settings.max_rejected), shards.computed


@dataclass(frozen=True)
class _Checked:
    """What became of the samples with one key: hashes of the members that go into the shard, and the rejects."""

    key: str
    members: list[list[str]]
    rejected: list[Failure]


def _by_key(samples: Sequence[RawSample], duplicates: str, source: Path) -> dict[str, list[RawSample]]:
    groups: dict[str, list[RawSample]] = {}
    for sample in samples:
        groups.setdefault(sample.key, []).append(sample)
    repeated = [group for group in groups.values() if len(group) > 1]
    if repeated and duplicates == "error":
        first, second = (next(iter(sample.members.values())).origin for sample in repeated[0][:2])
        raise UserError(
            f"{len(repeated)} keys of {source} occur more than once, such as {repeated[0][0].key!r} ({first} and {second}).",
            "Give every sample a key of its own, or set the corpus' `duplicates: first` to keep the first of each.",
        )
    return groups


def _assign(
    keys: Sequence[str], earlier: Mapping[str, Part], folder: Path, samples_per_shard: int
) -> dict[str, list[str]]:
    """Keys of each shard: where a key was before it stays, the others fill new shards in their order."""
    present = set(keys)
    plan: dict[str, list[str]] = {}
    for name, part in sorted(earlier.items()):
        try:
            held = set(shard_keys(folder / name)) | {failure.key for failure in part.rejected}
        except (OSError, TarError):
            log.info("%s/%s cannot be read: its samples are assigned again", folder, name)
            continue
        if held & present:
            plan[name] = sorted(held & present)
            present -= held
    fresh = [key for key in keys if key in present]
    number = max((int(Path(name).stem) for name in plan), default=-1) + 1
    for start in range(0, len(fresh), samples_per_shard):
        plan[f"{number:05d}.tar"] = fresh[start : start + samples_per_shard]
        number += 1
    return plan


def _check(group: Sequence[RawSample], modalities: Sequence[str]) -> _Checked:
    key = group[0].key
    rejected = [Failure(key, "key", "Duplicate", "the key occurs more than once, the first sample is kept")] * (len(group) - 1)
    try:
        if not KEY.fullmatch(key):
            raise SampleError("key", "a key is 1 to 200 characters of A-Z, a-z, 0-9, _ and -")
        missing = [modality for modality in modalities if modality not in group[0].members]
        if missing:
            raise SampleError("read", f"the sample has no {', '.join(missing)}")
        members = [[extension, sha256_bytes(content)] for extension, content in _load(group[0]).items()]
        return _Checked(key, members, rejected)
    except SampleError as error:
        return _Checked(key, [], [*rejected, Failure(key, error.step, type(error).__name__, error.message)])


def _load(sample: RawSample) -> dict[str, bytes]:
    """The bytes of each member by extension.

    Raises:
        SampleError: A member cannot be read or is empty, or a text is no UTF-8 or too long.
    """
    loaded = {}
    for member in sample.members.values():
        try:
            content = member.read()
        except OSError as error:
            raise SampleError("read", f"{type(error).__name__}: {error.strerror}") from error
        if not content.strip():
            raise SampleError("read", f"the {member.extension} file is empty")
        if MODALITY_OF.get(member.extension) == TEXT:
            _check_text(content)
        loaded[member.extension] = content
    return loaded


def _check_text(content: bytes) -> None:
    if len(content) > MAX_TEXT_BYTES:
        raise SampleError("read", f"the text has more than {MAX_TEXT_BYTES} bytes")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise SampleError("read", "the text is not UTF-8") from error
