"""From shards to decoded samples: one thread reads, others decode, and the order of the samples stays.

Pictures, sounds and point clouds are decoded in processes: a file can make a decoder crash, hang, or ask for all memory.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from pipeline.decode.images import has_transparency
from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.encode.ahead import read_ahead
from pipeline.errors import SampleError
from pipeline.modalities import IMAGE, TEXT, modality_of
from pipeline.spaces import Space
from pipeline.store.manifest import Failure, Part
from pipeline.store.shards import ShardSample, read_shard, verify_shard

# Samples that a thread takes at a time: small ones cost less to decode than to hand over one by one.
CHUNK = 16
# Of compressed files; a chunk of large ones is shorter.
CHUNK_BYTES = 32 << 20
LIMITS = Limits()

THREADS, PROCESSES, AUTO = "threads", "processes", "auto"
# From files to tensors, and whether they are pictures with transparency; or to what is wrong with them.
Decoder = Callable[[Sequence[bytes]], Sequence[tuple[Tensor, bool] | SampleError]]


@dataclass(frozen=True)
class Chunk:
    """Neighbouring samples of one shard.

    Attributes:
        shard: Where they are from.
        samples: Keys, and the decoded samples or why there is none.
        read: Seconds that reading them took; with the first chunk, verifying the shard.
        decode: Seconds that one thread spent on decoding them.
        transparent: How many of those decoded are pictures with an alpha channel or a transparent colour.
    """

    shard: Part
    samples: list[tuple[str, Tensor | Failure]]
    read: float
    decode: float
    transparent: int = 0


def prepared_chunks(
    space: Space, modality: str, folder: Path, shards: Sequence[Part], workers: int, ahead: int, where: str = AUTO
) -> Generator[Chunk, None, None]:
    """The samples of `shards` in `folder`, decoded by `workers` threads or processes that run about `ahead` samples ahead,
    also into the next shard. Each shard has at least one chunk.

    Args:
        space: Whose `preprocess` is called.
        modality: Of the samples that are decoded.
        folder: Of the shards.
        shards: In their order.
        workers: How many samples are decoded at the same time.
        ahead: In samples.
        where: ``threads``; ``processes``, which also survive a crash and a hang; ``auto``: processes where they can be
            forked, threads for text, which no foreign decoder reads.

    Raises:
        CorruptError: A shard is damaged; raised after the chunks of the shards before it.
    """
    if not shards:
        return
    depth = -(-ahead // CHUNK) + 2 * workers
    with ExitStack() as stack:
        decode = _decoder(space, modality, workers, where, stack)
        pool = stack.enter_context(ThreadPoolExecutor(workers, "decode"))
        submitted = read_ahead(_submit(decode, modality, folder, shards, pool), depth)
        with closing(submitted):
            for future in submitted:
                yield future.result()


def _decoder(space: Space, modality: str, workers: int, where: str, stack: ExitStack) -> Decoder:
    """What decodes, here or elsewhere."""

    def in_this_process(payloads: Sequence[bytes]) -> list[tuple[Tensor, bool] | SampleError]:
        return [_prepare(space, modality, payload) for payload in payloads]

    def elsewhere(payload: bytes) -> tuple[np.ndarray, bool]:
        tensor = space.preprocess(modality, payload)
        return tensor.numpy(), modality == IMAGE and has_transparency(payload)

    if where == THREADS or (where == AUTO and (modality == TEXT or not POSSIBLE)):
        return in_this_process
    # A forked process must not use the threads of PyTorch's arithmetic, which were not forked.
    isolated: Isolated[bytes, tuple[np.ndarray, bool]] = stack.enter_context(
        Isolated(
            elsewhere,
            workers,
            LIMITS,
            lambda: torch.set_num_threads(1),
        )
    )
    isolated.start()
    return lambda payloads: [
        found if isinstance(found, SampleError) else (torch.from_numpy(found[0]), found[1])
        for found in isolated(payloads)
    ]


def _prepare(space: Space, modality: str, payload: bytes) -> tuple[Tensor, bool] | SampleError:
    try:
        return space.preprocess(modality, payload), modality == IMAGE and has_transparency(payload)
    except SampleError as error:
        return error
    except MemoryError:
        return SampleError("decode", "the decoder asks for more memory than there is")


def _submit(
    decode: Decoder, modality: str, folder: Path, shards: Sequence[Part], pool: ThreadPoolExecutor
) -> "Iterator[Future[Chunk]]":
    for shard in shards:
        started = perf_counter()
        samples = read_shard(verify_shard(folder, shard))
        few = _few(samples, modality)
        while True:
            yield pool.submit(_decode, decode, shard, few, perf_counter() - started)
            started = perf_counter()
            few = _few(samples, modality)
            if not few:
                break


def _few(samples: Iterator[ShardSample], modality: str) -> list[tuple[str, bytes]]:
    """Keys and files of the next samples that have one of `modality`.

    A caption of an item with several is a sample of its own, without a picture.
    """
    few: list[tuple[str, bytes]] = []
    size = 0
    while len(few) < CHUNK and size < CHUNK_BYTES and (sample := next(samples, None)):
        own = (content for extension, content in sample.members.items() if modality_of(extension) == modality)
        if (payload := next(own, None)) is not None:
            few.append((sample.key, payload))
            size += len(payload)
    return few


def _decode(decode: Decoder, shard: Part, few: Sequence[tuple[str, bytes]], read: float) -> Chunk:
    started = perf_counter()
    samples: list[tuple[str, Tensor | Failure]] = []
    transparent = 0
    for (key, _), found in zip(few, decode([payload for _, payload in few]), strict=True):
        if isinstance(found, SampleError):
            samples.append((key, Failure(key, found.step, type(found).__name__, found.message)))
        else:
            samples.append((key, found[0]))
            transparent += found[1]
    return Chunk(shard, samples, read, perf_counter() - started, transparent)
