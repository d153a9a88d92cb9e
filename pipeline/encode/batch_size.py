"""How many samples a forward pass takes, where the parameters leave it open: as few as come near the highest rate."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from pipeline.encode.batches import stacked_batches
from pipeline.encode.prepare import prepared_chunks
from pipeline.spaces import Space
from pipeline.store import Part

log = logging.getLogger(__name__)
SMALLEST, LARGEST = 8, 4096
# Share of the highest rate that is enough: a larger batch takes memory, and its samples arrive later.
ENOUGH = 0.97
# Seconds after which no larger batch is tried.
PATIENCE = 5.0
# Of samples in a batch that is tried.
MOST_BYTES = 1 << 30
# Where no sample of a corpus can be decoded.
UNKNOWN = 256


def find_batch_size(space: Space, modality: str, folder: Path, shards: Sequence[Part], decode: str) -> int:
    """Time forward passes over the first samples of `shards` in `folder`, of twice as many samples each time, until memory
    or patience ends or two in a row bring nothing.

    Args:
        space: The space, on its device.
        modality: Of the samples.
        folder: Of the shards.
        shards: In their order.
        decode: Where samples are decoded, see `pipeline.encode.decoders.decoded_apart`.
    """
    samples = _first_samples(space, modality, folder, shards, decode)
    if not len(samples):
        return UNKNOWN
    space.encode(modality, samples[:1])  # warms up
    rates: dict[int, float] = {}
    start, size = time.perf_counter(), SMALLEST
    most = min(LARGEST, max(SMALLEST, MOST_BYTES // max(samples[0].nbytes, 1)))
    while size <= most and time.perf_counter() - start < PATIENCE:
        rate = _rate(space, modality, samples[torch.arange(size) % len(samples)])
        if rate is None:
            break
        rates[size] = rate
        if max(list(rates.values())[-2:]) < ENOUGH * max(rates.values()):
            break
        size *= 2
    chosen = next((size for size, rate in rates.items() if rate >= ENOUGH * max(rates.values())), 1)
    log.info(
        "batch_size: auto is %d for %s (samples a second: %s)",
        chosen, modality, ", ".join(f"{size}: {rate:,.0f}" for size, rate in rates.items()),
    )  # fmt: skip
    return chosen


def _first_samples(space: Space, modality: str, folder: Path, shards: Sequence[Part], decode: str) -> Tensor:
    with (
        closing(prepared_chunks(space, modality, folder, shards[:1], 1, SMALLEST, decode)) as chunks,
        closing(stacked_batches(chunks, SMALLEST, "cpu")) as batches,
    ):
        for batch in batches:
            if batch.keys:
                return batch.samples.clone()
    return torch.empty(0)


def _rate(space: Space, modality: str, batch: Tensor) -> float | None:
    """Samples a second, or None where the batch does not fit into the memory of the device."""
    try:
        start = time.perf_counter()
        space.encode(modality, batch)
        if len(batch) == SMALLEST:  # it had to find its algorithms
            start = time.perf_counter()
            space.encode(modality, batch)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    return len(batch) / (time.perf_counter() - start)
