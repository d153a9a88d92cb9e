"""Whether something of an evaluation set is also in the corpora that a connection is trained on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.hashing import sha256_bytes
from pipeline.modalities import MODALITY_OF
from pipeline.store.shards import open_shards, read_shard, verify_shard


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

    Compared is what is in the shards: a picture that was made smaller in one of them only is not found. Equal keys
    need not be equal samples where keys are row numbers.

    Args:
        evaluation: Folder of the evaluation set's shards.
        corpora: Folder of the shards of each corpus by its name.

    Returns:
        In the order of the corpora and their samples; equal bytes before equal keys.

    Raises:
        UserError: A folder holds no finished shards.
        CorruptError: A shard is damaged.
    """
    held: dict[tuple[str, str], str] = {}
    keys: set[str] = set()
    for key, hashes in _samples(evaluation):
        keys.add(key)
        for modality, digest in hashes.items():
            held.setdefault((modality, digest), key)
    leaks: list[Leak] = []
    for name, folder in corpora.items():
        for key, hashes in _samples(folder):
            same = [Leak(name, key, held[one], one[0], "bytes") for one in hashes.items() if one in held]
            leaks += same or ([Leak(name, key, key, "", "key")] if key in keys else [])
    return leaks


def _samples(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Key of each sample, and the hash of its member of each modality."""
    for part in open_shards(folder).parts:
        for sample in read_shard(verify_shard(folder, part)):
            hashes = {MODALITY_OF.get(end, end): sha256_bytes(content) for end, content in sample.members.items()}
            yield sample.key, hashes
