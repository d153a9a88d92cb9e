"""From shards to decoded samples: one thread reads, others decode, and the order of the samples stays.

Pictures, sounds and point clouds are decoded in processes: a file can make a decoder crash, hang, or ask for all memory.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter

from torch import Tensor

from pipeline.encode.ahead import read_ahead
from pipeline.encode.decoders import AUTO, Decoder, Files, decoder_of
from pipeline.encode.in_flight import in_flight
from pipeline.encode.slots import Run, Slots
from pipeline.modalities import modality_of
from pipeline.spaces import Space
from pipeline.store.manifest import Failure, Part
from pipeline.store.shards import Extent, ListedSample, list_shard, verify_shard

# Samples that a thread takes at a time: small ones cost less to decode than to hand over one by one.
CHUNK = 16
# Of compressed files; a chunk of large ones is shorter.
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Chunk:
    """Neighbouring samples of one shard.

    Attributes:
        shard: Where they are from.
        keys: Of the samples.
        samples: Decoded; a run of slots belongs to whoever takes the chunk, and has to be released.
        rejected: Those that could not be decoded.
        read: Seconds that reading them took; with the first chunk, verifying the shard.
        decode: Seconds that one thread spent on decoding them.
        transparent: How many of the samples are pictures with an alpha channel or a transparent colour.
    """

    shard: Part
    keys: list[str]
    samples: Run | list[Tensor]
    rejected: list[Failure]
    read: float
    decode: float
    transparent: int = 0


def prepared_chunks(
    space: Space,
    modality: str,
    folder: Path,
    shards: Iterable[Part],
    workers: int,
    batch: int,
    where: str = AUTO,
    device: str = "cpu",
    passed_over: Collection[str] = (),
) -> Generator[Chunk, None, None]:
    """The samples of `shards` in `folder`, decoded by `workers` threads or processes that run about a batch ahead, also
    into the next shard. Each shard has at least one chunk.

    Args:
        space: Whose `preprocess` is called.
        modality: Of the samples that are decoded.
        folder: Of the shards.
        shards: In their order; they may come as they are asked for.
        workers: How many samples are decoded at the same time.
        batch: Samples in a batch.
        where: See `decoder_of`.
        device: Where the batches go.
        passed_over: Keys of samples that are left out.

    Raises:
        CorruptError: A shard is damaged; raised after the chunks of the shards before it.
    """
    shards = iter(shards)
    first = next(shards, None)
    if first is None:
        return
    depth = -(-batch // CHUNK) + 2 * workers
    # The batch that is put together, those in flight, what a shard's start leaves out, and what is decoded meanwhile.
    needed = batch * (2 + in_flight(device)) + 2 * workers * CHUNK
    with ExitStack() as stack:
        decode, slots = decoder_of(space, modality, workers, where, -(-needed // batch) * batch, device, stack)
        pool = stack.enter_context(ThreadPoolExecutor(workers, "decode"))
        submission = _Submission(decode, slots, modality, pool, batch, passed_over)
        submitted = read_ahead(submission.submit(folder, chain([first], shards)), depth)
        with closing(submitted):
            try:
                for future in submitted:
                    yield future.result()
            finally:
                if slots:
                    slots.give_up()


class _Submission:
    """Hands the files of shards to the threads of a pool, as far as there are slots for their samples."""

    def __init__(
        self,
        decode: Decoder,
        slots: Slots | None,
        modality: str,
        pool: ThreadPoolExecutor,
        batch: int,
        passed_over: Collection[str],
    ) -> None:
        self.decode, self.slots, self.modality, self.pool, self.batch = decode, slots, modality, pool, batch
        self.passed_over = passed_over

    def submit(self, folder: Path, shards: Iterable[Part]) -> "Iterator[Future[Chunk]]":
        """One future for each chunk."""
        for shard in shards:
            started = perf_counter()
            path = verify_shard(folder, shard)
            samples = list_shard(path)
            if self.slots:
                self.slots.begin_at(self.batch)
            # Before one sample is decoded nobody knows how much room each of them needs.
            first = bool(self.slots and self.slots.undecided)
            keys, extents = self._few(samples, 1 if first else CHUNK)
            while True:
                spent = perf_counter() - started
                run = self.slots.take(len(keys)) if self.slots else None
                future = self.pool.submit(_decode, self.decode, shard, Files(path, keys, extents, run), spent)
                if first:
                    wait([future])
                    first = False
                yield future
                started = perf_counter()
                keys, extents = self._few(samples, CHUNK)
                if not keys:
                    break

    def _few(self, samples: Iterator[ListedSample], most: int) -> tuple[list[str], list[Extent]]:
        """Keys and files of the next samples that have one of the modality.

        A caption of an item with several is a sample of its own, without a picture.
        """
        keys: list[str] = []
        extents: list[Extent] = []
        size = 0
        while len(keys) < most and size < CHUNK_BYTES and (sample := next(samples, None)):
            extent = _file_of(sample, self.modality)
            if extent is not None and sample.key not in self.passed_over:
                keys.append(sample.key)
                extents.append(extent)
                size += extent.size
        return keys, extents


def prepared_one_by_one(
    space: Space, modality: str, folder: Path, shard: Part, where: str = AUTO
) -> Generator[tuple[str, Callable[[], list[Tensor]]], None, None]:
    """Keys of the samples of `shard`, and what decodes each when it is called and not before: a list of one, or of none if
    it cannot be decoded."""
    with ExitStack() as stack:
        decode, _ = decoder_of(space, modality, 1, where, 1, "cpu", stack)
        path = verify_shard(folder, shard)
        for sample in list_shard(path):
            if (extent := _file_of(sample, modality)) is not None:
                yield sample.key, partial(_only, decode, Files(path, [sample.key], [extent], None))


def _only(decode: Decoder, files: Files) -> list[Tensor]:
    samples = decode(files).samples
    if not isinstance(samples, Run):
        return samples
    own = [samples.row(0).clone()]
    samples.release()
    return own


def _file_of(sample: ListedSample, modality: str) -> Extent | None:
    """Where the sample's file of `modality` lies; None if it has none."""
    return next((extent for name, extent in sample.members.items() if modality_of(name) == modality), None)


def _decode(decode: Decoder, shard: Part, files: Files, read: float) -> Chunk:
    started = perf_counter()
    found = decode(files)
    rejected = [
        Failure(files.keys[number], error.step, type(error).__name__, error.message)
        for number, error in found.rejected.items()
    ]
    keys = [key for number, key in enumerate(files.keys) if number not in found.rejected]
    return Chunk(shard, keys, found.samples, rejected, read, perf_counter() - started, found.transparent)
