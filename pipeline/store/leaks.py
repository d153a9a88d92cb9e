"""Whether something of an evaluation set is also in the corpora that a connection is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from pipeline.store.contents import read_contents


@dataclass(frozen=True)
class Leak:
    """A sample of a corpus that is also in an evaluation set.

    Attributes:
        corpus: Where it is, though it should not be.
        key: Its key there.
        evaluation_key: Its key in the evaluation set.
        modality: Which of its members has the same bytes; empty if only the keys are equal.
        reason: ``bytes`` or ``key``.
    """

    corpus: str
    key: str
    evaluation_key: str
    modality: str
    reason: str


def find_leaks(evaluation: Path, corpora: Mapping[str, Path]) -> list[Leak]:
    """Samples of `corpora` whose key is one of the evaluation set's, or of which a member has the bytes of one of its.

    Compared are the raw bytes that the shards were made from: a picture that was saved anew is not found. Equal keys
    need not be equal samples where keys are row numbers.

    Args:
        evaluation: Folder of the evaluation set's shards.
        corpora: Folder of the shards of each corpus by its name.

    Returns:
        In the order of the corpora and their samples; equal bytes before equal keys.

    Raises:
        UserError: A folder holds no shards, or such of an earlier version.
        CorruptError: A table of contents is damaged.
    """
    held: dict[tuple[str, bytes], str] = {}
    keys: set[str] = set()
    for key, modality, digest in read_contents(evaluation):
        keys.add(key)
        held.setdefault((modality, digest), key)
    leaks: list[Leak] = []
    for name, folder in corpora.items():
        for key, members in groupby(read_contents(folder), itemgetter(0)):
            same = [
                Leak(name, key, held[modality, digest], modality, "bytes")
                for _, modality, digest in members
                if (modality, digest) in held
            ]
            leaks += same or ([Leak(name, key, key, "", "key")] if key in keys else [])
    return leaks


def described(evaluation: str, leaks: list[Leak]) -> list[str]:
    """A sentence for each corpus that shares samples with the evaluation set of that name."""
    said = []
    for corpus in dict.fromkeys(leak.corpus for leak in leaks):
        here = [leak for leak in leaks if leak.corpus == corpus]
        by_bytes = [leak for leak in here if leak.reason == "bytes"]
        example = (by_bytes or here)[0]
        share = f"{len({leak.key for leak in here}):,} samples of {corpus} are also in the evaluation set {evaluation}"
        if by_bytes:
            count = len({leak.key for leak in by_bytes})
            said.append(f"{share}, {count:,} with the same bytes (such as {example.key} = {example.evaluation_key})")
        else:
            said.append(f"{share} by their keys (such as {example.key}); row numbers as keys may agree by chance")
    return said
