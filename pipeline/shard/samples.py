"""The samples of one shard on their way into it: read, checked, and converted where that is asked for."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import SampleError, UserError
from pipeline.hashing import sha256_bytes
from pipeline.keys import KEY
from pipeline.os_errors import errno_of
from pipeline.shard.limits import MAX_BYTES
from pipeline.shard.members import Conversion, check_member, convert_member
from pipeline.shard.sources.sample import RawSample, shown_key
from pipeline.store.manifest import Failure
from pipeline.store.shards import ShardSample

# Files of the shard in work that are kept between check and writing, so that they are read only once.
HELD_BYTES = 64 << 20
# Says nothing about the sample that was being read, so it rejects none.
THIS_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@dataclass(frozen=True)
class Checked:
    """What became of the samples with one key: hashes of its raw members, and the rejects."""

    key: str
    members: list[list[str]]
    rejected: list[Failure]


class Held:
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


def check_sample(sample: RawSample, repeats: int, modalities: Sequence[str], held: Held) -> Checked:
    """Read a sample and see whether it may go into a shard.

    Args:
        sample: The first of its key.
        repeats: How many more samples there are with the same key.
        modalities: What it must have.
        held: Keeps what was read for `convert_samples`.
    """
    key = shown_key(sample.key)
    repeated = Failure(key, "key", "Duplicate", "the key occurs more than once, the first sample is kept")
    rejected = [repeated] * repeats
    try:
        if sample.fault:
            raise SampleError("read", sample.fault)
        if not KEY.fullmatch(key):
            raise SampleError("key", "a key is 1 to 200 characters of A-Z, a-z, 0-9, _ and -")
        missing = [modality for modality in sample.wanted or modalities if modality not in sample.members]
        if missing:
            raise SampleError("read", f"the sample has no {', '.join(missing)}")
        contents = _load(sample)
        for (modality, member), content in zip(sample.members.items(), contents.values(), strict=True):
            check_member(modality, member.extension, content)
        members = [[extension, sha256_bytes(content)] for extension, content in contents.items()]
        held.keep(key, contents)
        return Checked(key, members, rejected)
    except SampleError as error:
        return Checked(key, [], [*rejected, Failure(key, error.step, type(error).__name__, error.message)])


def _load(sample: RawSample) -> dict[str, bytes]:
    """The raw bytes of each member by extension, cut one byte after the most that is allowed.

    Raises:
        SampleError: A member cannot be read.
    """
    try:
        return {member.extension: member.read(MAX_BYTES[modality] + 1) for modality, member in sample.members.items()}
    except (OSError, ValueError) as error:
        if errno_of(error) in THIS_MACHINE:
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SampleError("read", f"{type(error).__name__}: {reason}") from error


def convert_samples(
    checked: Sequence[Checked],
    found: Mapping[str, RawSample],
    held: Held,
    how: Conversion,
    kept: list[str],
    rejected: list[Failure],
) -> Iterator[ShardSample]:
    """The samples as they go into the shard, one by one; fills `kept` and `rejected` on the way."""
    for one in checked:
        rejected += one.rejected
        if not one.members:
            continue
        sample = found[one.key]
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


def _load_again(sample: RawSample, checked: Checked) -> dict[str, bytes]:
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
