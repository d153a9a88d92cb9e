"""Turn a corpus into reproducible shards: same input, same bytes; what is written once does not move."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tarfile import TarError

from pipeline.errors import SampleError, UserError
from pipeline.hashing import sha256_bytes, sha256_json
from pipeline.progress import Progress
from pipeline.shard.duplicates import Duplicates, write_duplicates
from pipeline.shard.limits import MAX_BYTES
from pipeline.shard.members import Conversion, check_member, convert_member
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources import find_samples
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.sample import KEY, RawSample, shown_key
from pipeline.store.folder import PartFolder
from pipeline.store.manifest import Failure, Manifest, Part
from pipeline.store.shards import SHARDS, ShardSample, shard_keys, write_shard

log = logging.getLogger(__name__)

CODE_VERSION = 1
# Files of the shard in work that are kept between check and writing, so that they are read only once.
HELD_BYTES = 64 << 20
NO_CONVERSION = Conversion()


@dataclass(frozen=True)
class ShardSettings:
    """How a corpus is cut; see `CorpusSettings` for the meaning of each value."""

    modalities: tuple[str, ...]
    samples_per_shard: int
    duplicates: str
    max_rejected: float
    drop_duplicates: bool = False
    conversion: Conversion = NO_CONVERSION


def settings_of(corpus: CorpusSettings, max_rejected: float) -> tuple[ShardSettings, SourceOptions]:
    """What `build_shards` needs to know of a corpus in params.yaml; `max_rejected` is what holds for all corpora."""
    share = max_rejected if corpus.max_rejected is None else corpus.max_rejected
    conversion = Conversion(corpus.max_side or 0, corpus.points, corpus.sampling_seed)
    settings = ShardSettings(
        corpus.modalities, corpus.samples_per_shard, corpus.duplicates, share, corpus.drop_duplicates, conversion
    )
    columns = {name: getattr(corpus, name) for name in ("index", "files", "key_column", "text_column", "path_column")}
    return settings, SourceOptions(corpus.modalities, corpus.kind, **columns)


def build_shards(
    source: Path | str, folder: Path, settings: ShardSettings, progress: Progress, options: SourceOptions | None = None
) -> tuple[Manifest, int]:
    """Write the corpus in `source` as shards to `folder`.

    Assignment is append-only: a sample that is in a shard stays there, new samples go to new shards. A shard is
    written again only if one of its samples changed or vanished. Samples with the same bytes are listed in
    ``_duplicates.parquet``; they stay unless `settings.drop_duplicates`.

    Args:
        source: Folder, file, pattern or address.
        folder: Where the shards go.
        settings: How the corpus is cut.
        progress: Told how far the work is.
        options: How the source is to be understood; None: as it looks.

    Returns:
        The manifest, and how many shards were written (the others were up to date).

    Raises:
        UserError: No such source, a duplicate key under the policy ``error``, or too many rejected samples.
    """
    options = options or SourceOptions(settings.modalities)
    groups = _by_key(find_samples(str(source), options), settings.duplicates, source)
    dropped = _same_bytes(groups, settings) if settings.drop_duplicates else []
    for key, _ in dropped:
        del groups[key]
    shards = PartFolder(folder, SHARDS, _fingerprint(settings))
    plan = _assign(sorted(groups), shards.earlier_parts, folder, settings.samples_per_shard)
    progress.start("shard", len(groups), "samples")
    duplicates = Duplicates()
    for name, keys in plan.items():
        held = _Held()
        checked = [_check(groups[key], settings.modalities, held) for key in keys]
        for one in checked:
            if one.members:
                duplicates.add(one.key, [digest for _, digest in one.members])
        content_hash = sha256_json([[one.key, one.members, len(one.rejected)] for one in checked])
        if not shards.reuse(name, content_hash):
            kept: list[str] = []
            rejected: list[Failure] = []
            stream = _convert(checked, groups, held, settings.conversion, kept, rejected)
            # Both lists are whole only when the shard is written: what has to be decoded can still be rejected.
            shards.commit(name, content_hash, kept, rejected, partial(write_shard, samples=stream))
        progress.advance(len(keys))
    manifest = shards.finish(settings.max_rejected)
    _report(folder, dropped or duplicates.rows(), settings.drop_duplicates)
    return manifest, shards.computed


@dataclass(frozen=True)
class _Checked:
    """What became of the samples with one key: hashes of its raw members, and the rejects."""

    key: str
    members: list[list[str]]
    rejected: list[Failure]


class _Held:
    """Members of checked samples, as many as fit."""

    def __init__(self) -> None:
        self._members: dict[str, dict[str, bytes]] = {}
        self._bytes = 0

    def keep(self, key: str, members: dict[str, bytes]) -> None:
        """Hold the members of `key` if there is room."""
        size = sum(map(len, members.values()))
        if self._bytes + size <= HELD_BYTES:
            self._members[key] = members
            self._bytes += size

    def take(self, key: str) -> dict[str, bytes] | None:
        """The members of `key` if they were held; they are let go."""
        return self._members.pop(key, None)


def _fingerprint(settings: ShardSettings) -> dict[str, object]:
    found: dict[str, object] = {"modalities": sorted(settings.modalities), "code": CODE_VERSION}
    if converted := settings.conversion.fingerprint(settings.modalities):
        found["convert"] = converted
    return found


def _by_key(samples: Iterable[RawSample], duplicates: str, source: Path | str) -> dict[str, list[RawSample]]:
    groups: dict[str, list[RawSample]] = {}
    for sample in samples:
        groups.setdefault(shown_key(sample.key), []).append(sample)
    repeated = [group for group in groups.values() if len(group) > 1]
    if repeated and duplicates == "error":
        first, second = (sample.origin for sample in repeated[0][:2])
        raise UserError(
            f"{len(repeated)} keys of {source} occur more than once, such as {repeated[0][0].key!r} ({first} and {second}).",
            "Give every sample a key of its own, or set the corpus' `duplicates: first` to keep the first of each.",
        )
    return groups


def _same_bytes(groups: Mapping[str, list[RawSample]], settings: ShardSettings) -> list[tuple[str, str]]:
    """Keys of usable samples whose bytes an earlier key holds, and that key."""
    found = Duplicates()
    for key in sorted(groups):
        checked = _check(groups[key], settings.modalities, _Held())
        if checked.members:
            found.add(key, [digest for _, digest in checked.members])
    return found.rows()


def _report(folder: Path, duplicates: list[tuple[str, str]], dropped: bool) -> None:
    write_duplicates(folder, duplicates)
    if duplicates:
        key, first = duplicates[0]
        log.warning(
            "%s: %d samples hold the same bytes as another (such as %s and %s) and were %s; see _duplicates.parquet",
            folder, len(duplicates), key, first, "left out" if dropped else "kept",
        )  # fmt: skip


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


def _check(group: Sequence[RawSample], modalities: Sequence[str], held: _Held) -> _Checked:
    sample = group[0]
    key = shown_key(sample.key)
    again = Failure(key, "key", "Duplicate", "the key occurs more than once, the first sample is kept")
    rejected = [again] * (len(group) - 1)
    try:
        if sample.fault:
            raise SampleError("read", sample.fault)
        if not KEY.fullmatch(key):
            raise SampleError("key", "a key is 1 to 200 characters of A-Z, a-z, 0-9, _ and -")
        missing = [modality for modality in modalities if modality not in sample.members]
        if missing:
            raise SampleError("read", f"the sample has no {', '.join(missing)}")
        contents = _load(sample)
        for (modality, member), content in zip(sample.members.items(), contents.values(), strict=True):
            check_member(modality, member.extension, content)
        members = [[extension, sha256_bytes(content)] for extension, content in contents.items()]
        held.keep(key, contents)
        return _Checked(key, members, rejected)
    except SampleError as error:
        return _Checked(key, [], [*rejected, Failure(key, error.step, type(error).__name__, error.message)])


def _load(sample: RawSample) -> dict[str, bytes]:
    """The raw bytes of each member by extension, cut one byte after the most that is allowed.

    Raises:
        SampleError: A member cannot be read.
    """
    try:
        return {member.extension: member.read(MAX_BYTES[modality] + 1) for modality, member in sample.members.items()}
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SampleError("read", f"{type(error).__name__}: {reason}") from error


def _convert(
    checked: Sequence[_Checked],
    groups: Mapping[str, list[RawSample]],
    held: _Held,
    how: Conversion,
    kept: list[str],
    rejected: list[Failure],
) -> Iterator[ShardSample]:
    """The samples as they go into the shard, one by one; fills `kept` and `rejected` on the way."""
    for one in checked:
        rejected += one.rejected
        if not one.members:
            continue
        sample = groups[one.key][0]
        contents = held.take(one.key)
        if contents is None:
            contents = _load_again(sample, one)
        try:
            members = dict(
                convert_member(modality, member.extension, contents[member.extension], one.key, how)
                for modality, member in sample.members.items()
            )
        except SampleError as error:
            rejected.append(Failure(one.key, error.step, type(error).__name__, error.message))
            continue
        kept.append(one.key)
        yield ShardSample(one.key, members)


def _load_again(sample: RawSample, checked: _Checked) -> dict[str, bytes]:
    try:
        contents = _load(sample)
    except SampleError:
        contents = {}
    if [[extension, sha256_bytes(content)] for extension, content in contents.items()] != checked.members:
        raise UserError(
            f"The sample {sample.key!r} ({sample.origin}) changed while it was read.",
            "Run the stage again when nothing writes to the source any more.",
        )
    return contents
