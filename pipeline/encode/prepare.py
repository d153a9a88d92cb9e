"""From shards to decoded samples: one thread reads, others decode, and the order of the samples stays."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

from torch import Tensor

from pipeline.encode.ahead import read_ahead
from pipeline.errors import SampleError
from pipeline.modalities import MODALITY_OF
from pipeline.spaces import Space
from pipeline.store.manifest import Failure, Part
from pipeline.store.shards import ShardSample, read_shard, verify_shard

# Samples that a thread takes at a time: small ones cost less to decode than to hand over one by one.
CHUNK = 16


@dataclass(frozen=True)
class Chunk:
    """Neighbouring samples of one shard.

    Attributes:
        shard: Where they are from.
        samples: Keys, and the decoded samples or why there is none.
        read: Seconds that reading them took; with the first chunk, verifying the shard.
        decode: Seconds that one thread spent on decoding them.
    """

    shard: Part
    samples: list[tuple[str, Tensor | Failure]]
    read: float
    decode: float


def prepared_chunks(
    space: Space, modality: str, folder: Path, shards: Sequence[Part], workers: int, ahead: int
) -> Generator[Chunk, None, None]:
    """The samples of `shards` in `folder`, decoded by `workers` threads that run about `ahead` samples ahead, also into
    the next shard. Each shard has at least one chunk.

    Raises:
        CorruptError: A shard is damaged; raised after the chunks of the shards before it.
    """
    depth = -(-ahead // CHUNK) + 2 * workers
    with ThreadPoolExecutor(workers, "decode") as pool:
        submitted = read_ahead(_submit(space, modality, folder, shards, pool), depth)
        with closing(submitted):
            for future in submitted:
                yield future.result()


def _submit(
    space: Space, modality: str, folder: Path, shards: Sequence[Part], pool: ThreadPoolExecutor
) -> "Iterator[Future[Chunk]]":
    for shard in shards:
        started = perf_counter()
        samples = read_shard(verify_shard(folder, shard))
        few = list(islice(samples, CHUNK))
        while True:
            yield pool.submit(_decode, space, modality, shard, few, perf_counter() - started)
            started = perf_counter()
            few = list(islice(samples, CHUNK))
            if not few:
                break


def _decode(space: Space, modality: str, shard: Part, samples: list[ShardSample], read: float) -> Chunk:
    started = perf_counter()
    # A caption of an item with several is a sample of its own, without a picture.
    held = [sample for sample in samples if any(MODALITY_OF.get(extension) == modality for extension in sample.members)]
    decoded = [(sample.key, _prepare(space, modality, sample)) for sample in held]
    return Chunk(shard, decoded, read, perf_counter() - started)


def _prepare(space: Space, modality: str, sample: ShardSample) -> Tensor | Failure:
    payloads = [content for extension, content in sample.members.items() if MODALITY_OF.get(extension) == modality]
    try:
        return space.preprocess(modality, payloads[0])
    except SampleError as error:
        return Failure(sample.key, error.step, type(error).__name__, error.message)
