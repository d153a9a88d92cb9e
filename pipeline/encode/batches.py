"""Stacked batches of the samples of one part, put together while the model computes the batch before."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.encode.ahead import read_ahead
from pipeline.encode.prepare import Chunk
from pipeline.store import Failure

# Batches that wait for a GPU, beside the one that it computes.
_WAITING = 1


@dataclass(frozen=True)
class Batch:
    """Good samples of one part, and what else was found up to the last of them.

    Attributes:
        keys: Of the B samples.
        samples: [B, ...] in memory that a GPU copies from by itself, where there is one; empty for the last rejects of a part.
        rejected: Samples without a tensor since the batch before.
        transparent: How many pictures have transparency since then.
        read: Seconds of reading since then.
        decode: Seconds of decoding since then, of all workers together.
    """

    keys: list[str]
    samples: Tensor
    rejected: list[Failure]
    transparent: int
    read: float
    decode: float


def stacked_batches(chunks: Iterable[Chunk], size: int, device: str) -> Generator[Batch, None, None]:
    """The good samples of one part in their order, `size` at a time. Rejects would leave short batches; filled up, the cut
    depends neither on where they are nor on the chunks."""
    pinned = torch.device(device).type == "cuda"
    batches = _batches(chunks, size, pinned)
    if not pinned:  # a core that computes would only wait for the one that stacks
        yield from batches
        return
    with closing(read_ahead(batches, _WAITING)) as ahead:
        yield from ahead


def _batches(chunks: Iterable[Chunk], size: int, pinned: bool) -> Iterator[Batch]:
    carry: list[tuple[str, Tensor]] = []
    since: list[Chunk] = []
    for chunk in chunks:
        since.append(chunk)
        carry += [(key, result) for key, result in chunk.samples if isinstance(result, Tensor)]
        while len(carry) >= size:
            yield _stack(carry[:size], since, pinned)
            carry, since = carry[size:], []
    if carry or since:
        yield _stack(carry, since, pinned)


def _stack(good: list[tuple[str, Tensor]], since: list[Chunk], pinned: bool) -> Batch:
    tensors = [tensor for _, tensor in good]
    if pinned and tensors:
        first = tensors[0]
        # torch keeps such memory and hands it out again.
        samples = torch.empty((len(tensors), *first.shape), dtype=first.dtype, pin_memory=True)
        torch.stack(tensors, out=samples)
    else:
        samples = torch.stack(tensors) if tensors else torch.empty(0)
    rejected = [result for chunk in since for _, result in chunk.samples if isinstance(result, Failure)]
    return Batch(
        [key for key, _ in good],
        samples,
        rejected,
        sum(chunk.transparent for chunk in since),
        sum(chunk.read for chunk in since),
        sum(chunk.decode for chunk in since),
    )
