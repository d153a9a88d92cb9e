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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.encode.ahead import read_ahead
from pipeline.encode.decoders import AUTO, PROCESSES, Decoder, Files, decoded_apart
from pipeline.encode.device_first import LIST, DeviceFirst, decoder_of
from pipeline.encode.in_flight import in_flight
from pipeline.encode.listing import Lister, lister_of
from pipeline.encode.slots import Runs, Slots
from pipeline.spaces import Space
from pipeline.store.manifest import Failure, Part

# Samples that a thread takes at a time: small ones cost less to decode than to hand over one by one. More of them are taken
# as long as neither their files nor what becomes of these, if it lies in slots, are more bytes than these.
CHUNK, MOST = 16, 64
FILES_BYTES, SAMPLES_BYTES = 2 << 20, 16 << 20
# Of files; a chunk of large ones is shorter.
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Chunk:
    """Neighbouring samples of one shard.

    Attributes:
        shard: Where they are from.
        keys: Of the samples.
        samples: Decoded; runs of slots belong to whoever takes the chunk, and have to be released.
        rejected: Those that could not be decoded, in their order, and before each how many `samples`.
        read: Seconds that reading them took; with the first chunk, verifying the shard.
        decode: Seconds that one thread spent on decoding them.
        transparent: How many of the samples are pictures with an alpha channel or a transparent colour.
    """

    shard: Part
    keys: list[str]
    samples: Runs | list[Tensor]
    rejected: list[tuple[int, Failure]]
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
        where: See `decoded_apart`.
        device: Where the batches go.
        passed_over: Keys of samples that are left out.

    Raises:
        CorruptError: A shard is damaged; raised after the chunks of the shards before it.
    """
    shards = iter(shards)
    first = next(shards, None)
    if first is None:
        return

    def slots_for(sample_bytes: int) -> int:
        # The batch that is put together, those in flight, what a shard's start leaves out, and what is decoded meanwhile.
        needed = batch * (2 + in_flight(device)) + 2 * workers * _most(sample_bytes)
        return -(-needed // batch) * batch

    with ExitStack() as stack:
        apart = decoded_apart(modality, where, device)
        # Beside a model on a CPU the process would only take its core.
        listed_apart = apart and (where == PROCESSES or torch.device(device).type != "cpu")
        lister = lister_of(folder, modality, listed_apart, stack)
        decode, slots = decoder_of(space, modality, workers, apart, slots_for, device, stack)
        pool = stack.enter_context(ThreadPoolExecutor(workers, "decode"))
        chunk = LIST if isinstance(decode, DeviceFirst) else CHUNK
        submission = _Submission(lister, decode, slots, pool, batch, passed_over, chunk)
        depth = -(-(batch + 2 * workers * CHUNK) // chunk)
        submitted = read_ahead(submission.submit(chain([first], shards)), depth)
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
        lister: Lister,
        decode: Decoder,
        slots: Slots | None,
        pool: ThreadPoolExecutor,
        batch: int,
        passed_over: Collection[str],
        chunk: int,
    ) -> None:
        self.lister, self.decode, self.slots, self.pool, self.batch = lister, decode, slots, pool, batch
        self.passed_over, self.chunk = passed_over, chunk

    def submit(self, shards: Iterable[Part]) -> "Iterator[Future[Chunk]]":
        """One future for each chunk."""
        for shard in shards:
            started = perf_counter()
            listing = self.lister(shard)
            if self.passed_over:
                listing = listing.without(self.passed_over)
            if self.slots:
                self.slots.begin_at(self.batch)
            # Before one sample is decoded nobody knows how much room each of them needs.
            first = bool(self.slots and self.slots.undecided)
            for start, stop in self._cuts(listing.extents[:, 1], first):
                read = perf_counter() - started
                run = self.slots.take(stop - start) if self.slots else None
                files = Files(listing.path, listing.keys[start:stop], listing.extents[start:stop], run)
                future = self.pool.submit(_decode, self.decode, shard, files, read)
                if first:
                    wait([future])
                    first = False
                yield future
                started = perf_counter()

    def _cuts(self, sizes: NDArray[np.int64], alone: bool) -> Iterator[tuple[int, int]]:
        """Where chunks of files of these `sizes`, in bytes, begin and end. `alone`: the first chunk holds one file only. An empty
        shard has one empty chunk."""
        start = 0
        while not start or start < len(sizes):
            layout = self.slots.layout if self.slots else None
            following = sizes[start : start + (_most(layout.bytes) if layout else self.chunk)]
            before = np.cumsum(following) - following
            count = max(np.count_nonzero(before[: self.chunk] < CHUNK_BYTES), np.count_nonzero(before < FILES_BYTES))
            stop = start + (1 if alone and not start else int(count))
            yield start, stop
            start = max(stop, 1)


def _most(sample_bytes: int) -> int:
    """Samples in a chunk at most, where each is that large."""
    return max(CHUNK, min(MOST, SAMPLES_BYTES // sample_bytes))


def prepared_one_by_one(
    space: Space, modality: str, folder: Path, shard: Part, where: str = AUTO
) -> Generator[tuple[str, Callable[[], list[Tensor]]], None, None]:
    """Keys of the samples of `shard`, and what decodes each when it is called and not before: a list of one, or of none if
    it cannot be decoded."""
    with ExitStack() as stack:
        apart = decoded_apart(modality, where, "cpu")
        decode, _ = decoder_of(space, modality, 1, apart, lambda _: 1, "cpu", stack)
        listing = lister_of(folder, modality, False, stack)(shard)
        for number, key in enumerate(listing.keys):
            extent = listing.extents[number : number + 1]
            yield key, partial(_only, decode, Files(listing.path, [key], extent, None))


def _only(decode: Decoder, files: Files) -> list[Tensor]:
    samples = decode(files).samples
    if isinstance(samples, list):
        return samples
    own = [run.row(0).clone() for run in samples]
    for run in samples:
        run.release()
    return own


def _decode(decode: Decoder, shard: Part, files: Files, read: float) -> Chunk:
    started = perf_counter()
    found = decode(files)
    rejected = [
        (number - earlier, Failure(files.keys[number], error.step, type(error).__name__, error.message))
        for earlier, (number, error) in enumerate(sorted(found.rejected.items()))
    ]
    keys = files.keys
    if rejected:
        keys = [key for number, key in enumerate(keys) if number not in found.rejected]
    return Chunk(shard, keys, found.samples, rejected, read, perf_counter() - started, found.transparent)
