"""A forward pass on a GPU that is not waited for: the next one is prepared meanwhile."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from pipeline.modalities import TEXT
from pipeline.spaces import Space
from pipeline.spaces.protocol import left_on_device


def in_flight(device: str) -> int:
    """Batches that may be read while the next one is put together: a CPU is done with each when it asks for more."""
    return int(torch.device(device).type == "cuda")


def begin_encode(space: Space, modality: str, batch: Tensor) -> Callable[[], Tensor]:
    """Begin `space.encode`; what is returned waits for its rows, [B, D] on the CPU. `batch` is read until then."""
    device = torch.device(getattr(space, "device", "cpu"))
    if device.type != "cuda":
        rows = space.encode(modality, batch)
        return lambda: rows
    with left_on_device():
        # A text is cut to its longest one before it is copied, by the space.
        found = space.encode(modality, batch if modality == TEXT else _copied(batch, device))
    if found.device.type == "cpu":  # an encoder of somebody else
        return lambda: found
    there = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
    there.copy_(found, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(device))

    def wait() -> Tensor:
        copied.synchronize()
        return there

    return wait


def _copied(batch: Tensor, device: torch.device) -> Tensor:
    """`batch` on the GPU, copied while it still computes the batch before."""
    copies, computes = _stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        there = batch.to(device, non_blocking=True)
    computes.wait_stream(copies)
    there.record_stream(computes)
    return there


@cache
def _stream(device: torch.device) -> "torch.cuda.Stream":
    """The stream in which batches are copied."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
