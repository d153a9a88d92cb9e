"""One sample on its way into a shard: read and checked."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import SampleError
from pipeline.files.os_errors import errno_of
from pipeline.hashing import sha256_bytes
from pipeline.keys import KEY
from pipeline.modalities import TEXT
from pipeline.shard.limits import MAX_BYTES, MAX_DECLARED_BYTES
from pipeline.shard.members import check_member
from pipeline.shard.sources.readers.texts import CarriedText, Texts
from pipeline.shard.sources.sample import RawSample, shown_key
from pipeline.store.manifest import Failure

# Says nothing about the sample that was being read, so it rejects none.
THIS_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@dataclass(frozen=True)
class Checked:
    """What became of the samples with one key: hashes of its raw members, and the rejects.

    Attributes:
        key: Of all of them.
        members: Extension and hash of each.
        rejected: Why they are not used.
        lines: Of its .txt, blank ones not counted; 0 without one.
    """

    key: str
    members: list[list[str]]
    rejected: list[Failure]
    lines: int = 0


def check_sample(sample: RawSample, repeats: int, modalities: Sequence[str]) -> tuple[Checked, dict[str, bytes]]:
    """Read a sample and see whether it may go into a shard.

    Args:
        sample: The first of its key.
        repeats: How many more samples there are with the same key.
        modalities: What it must have.

    Returns:
        What became of it, and its raw members by extension; none if it may not.
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
        return Checked(key, members, rejected, _lines(sample, contents)), contents
    except SampleError as error:
        return Checked(key, [], [*rejected, Failure(key, error.step, type(error).__name__, error.message)]), {}


def _lines(sample: RawSample, contents: dict[str, bytes]) -> int:
    """Lines of a text that is a file of its own; a cell of a table is one caption, whatever is in it."""
    text = sample.members.get(TEXT)
    if text is None or isinstance(text.container, Texts | CarriedText):
        return 0
    return sum(bool(line.strip()) for line in contents[text.extension].splitlines())


def _load(sample: RawSample) -> dict[str, bytes]:
    """The raw bytes of each member by extension, cut one byte after the most that is allowed.

    Raises:
        SampleError: A member cannot be read.
    """
    try:
        return {
            member.extension: member.read(MAX_BYTES.get(modality, MAX_DECLARED_BYTES) + 1)
            for modality, member in sample.members.items()
        }
    except (OSError, ValueError) as error:
        if errno_of(error) in THIS_MACHINE:
            raise
        reason = error.strerror if isinstance(error, OSError) else None
        raise SampleError("read", reason or f"{type(error).__name__}: {error}") from error
