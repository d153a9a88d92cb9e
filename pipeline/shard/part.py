"""One shard as a unit of work: its samples are read, checked, converted and written in one pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SampleError
from pipeline.hashing import sha256_json
from pipeline.progress import Progress
from pipeline.shard.members import Conversion, convert_member
from pipeline.shard.samples import Checked, check_sample
from pipeline.shard.sources.sample import RawSample
from pipeline.store import Failure, Made, Source
from pipeline.store.shards import ShardSample, write_shard


@dataclass(frozen=True)
class ShardPart:
    """Makes one shard; see `pipeline.store.parts.work.Make`.

    Attributes:
        samples: Those of the shard in its order, and how many more there are of the key of each.
        modalities: What each must have.
        conversion: What is done to their members.
    """

    samples: Iterable[tuple[RawSample, int]]
    modalities: tuple[str, ...]
    conversion: Conversion

    def source(self) -> Source:
        """What the shard would be made from, read without writing it."""
        return _source([check_sample(sample, repeats, self.modalities)[0] for sample, repeats in self.samples])

    def __call__(self, path: Path, progress: Progress) -> Made:
        """Write the tar to `path`."""
        checked: list[Checked] = []
        keys: list[str] = []
        rejected: list[Failure] = []

        def usable() -> Iterator[ShardSample]:
            for sample, repeats in self.samples:
                one, contents = check_sample(sample, repeats, self.modalities)
                checked.append(one)
                rejected.extend(one.rejected)
                progress.advance(1)
                try:
                    members = self._converted(sample, one.key, contents)
                except SampleError as error:
                    rejected.append(Failure(one.key, error.step, type(error).__name__, error.message))
                    continue
                if members:
                    keys.append(one.key)
                    yield ShardSample(one.key, members)

        digest = write_shard(path, usable())
        return Made(keys, rejected, _source(checked), sha256=digest)

    def _converted(self, sample: RawSample, key: str, contents: dict[str, bytes]) -> dict[str, bytes]:
        if not contents:
            return {}
        return dict(
            convert_member(modality, member.extension, contents[member.extension], key, self.conversion)
            for modality, member in sample.members.items()
        )


def _source(checked: list[Checked]) -> Source:
    return Source(sha256_json([[one.key, one.members, len(one.rejected)] for one in checked]), checked)
