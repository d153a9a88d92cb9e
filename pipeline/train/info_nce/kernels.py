"""The same as `blocks` in two Triton kernels, each of which reads a block of scores once.

In plain torch some twenty passes over the scores take longer than the products themselves once those are in 16 bits.
"""

import logging
from functools import cache

import torch
from torch import Tensor

from pipeline.train.info_nce import blocks

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

log = logging.getLogger(__name__)

ROWS, COLUMNS, WARPS = 64, 128, 8  # of the tile that one program holds in registers


def work_on(factors: Tensor) -> bool:
    """Whether the kernels can be used where `factors` lie; a fake tensor has no numbers, and float64 no need."""
    return type(factors) is Tensor and factors.is_cuda and factors.dtype != torch.float64 and _work(factors.device)


@cache
def _work(device: torch.device) -> bool:
    """Try them on a small block beside the definition; where they fail, the log says so."""
    try:
        scores = torch.linspace(-90, 90, 70 * 150, device=device).view(70, 150).sin_().mul_(50)
        rows, columns = log_sums(scores)
        found = (rows, columns, gradient(scores.clone(), rows, columns, 3, torch.float32))
        rows, columns = blocks.log_sums(scores)
        wanted = (rows, columns, blocks.gradient(scores.clone(), rows, columns, 3, torch.float32))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # Triton, its compiler and the compiler of its launcher fail in many ways
        said = str(error).strip().splitlines()
        log.warning(
            "The kernels of InfoNCE cannot be used here (%s: %s); plain torch is used, which is slower.",
            type(error).__name__,
            said[0] if said else "no reason given",
        )
        return False
    return True


def log_sums(scores: Tensor) -> tuple[Tensor, Tensor]:
    """See `blocks.log_sums`: every tile yields the sums of its rows and columns, and those are summed."""
    height, width = scores.shape
    grid = triton.cdiv(height, ROWS), triton.cdiv(width, COLUMNS)
    rows, columns = scores.new_empty(grid[1], height), scores.new_empty(grid[0], width)
    with torch.cuda.device_of(scores):  # type: ignore[no-untyped-call]  # Triton starts kernels on the current device
        _log_sums[grid](scores, rows, columns, height, width, ROWS, COLUMNS, num_warps=WARPS)
    return _log_sum(rows), _log_sum(columns)


def _log_sum(parts: Tensor) -> Tensor:
    """`torch.logsumexp` of `parts` [G, N] over G, to the bit, without the three operations that it spends on infinities."""
    peak = parts.amax(0)
    return (parts - peak).exp_().sum(0).log_().add_(peak)


def gradient(scores: Tensor, rows: Tensor, columns: Tensor, start: int, dtype: torch.dtype) -> Tensor:
    """See `blocks.gradient`."""
    height, width = scores.shape
    made = scores if dtype == scores.dtype else scores.new_empty(scores.shape, dtype=dtype)
    grid = triton.cdiv(height, ROWS), triton.cdiv(width, COLUMNS)
    with torch.cuda.device_of(scores):  # type: ignore[no-untyped-call]
        _gradient[grid](
            scores, rows, columns, made, height, width, start, 1 / len(columns), ROWS, COLUMNS, num_warps=WARPS
        )
    return made


if triton:

    @triton.jit  # type: ignore[untyped-decorator]
    def _log_sums(scores, rows, columns, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
        first, second = tl.program_id(0), tl.program_id(1)
        row = first * ROWS + tl.arange(0, ROWS)
        column = second * COLUMNS + tl.arange(0, COLUMNS)
        inside = (row[:, None] < height) & (column[None, :] < width)
        # Positions of 2^31 scores and more need 64 bits.
        place = row.to(tl.int64)[:, None] * width + column[None, :]
        tile = tl.load(scores + place, mask=inside, other=float("-inf"))
        peak = tl.max(tile, 1)
        total = tl.sum(tl.exp(tile - peak[:, None]), 1)
        tl.store(rows + second.to(tl.int64) * height + row, peak + tl.log(total), mask=row < height)
        peak = tl.max(tile, 0)
        total = tl.sum(tl.exp(tile - peak[None, :]), 0)
        tl.store(columns + first.to(tl.int64) * width + column, peak + tl.log(total), mask=column < width)

    @triton.jit  # type: ignore[untyped-decorator]
    def _gradient(  # type: ignore[no-untyped-def]
        scores, rows, columns, made, height, width, start, share, ROWS: tl.constexpr, COLUMNS: tl.constexpr
    ):
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        inside = (row[:, None] < height) & (column[None, :] < width)
        place = row.to(tl.int64)[:, None] * width + column[None, :]
        tile = tl.load(scores + place, mask=inside, other=0.0)
        by_row = tl.exp(tile - tl.load(rows + row, mask=row < height, other=0.0)[:, None])
        by_column = tl.exp(tile - tl.load(columns + column, mask=column < width, other=0.0)[None, :])
        value = (by_row + by_column) * (0.5 * share)
        value = tl.where(column[None, :] == row[:, None] + start, value - share, value)
        tl.store(made + place, value.to(made.dtype.element_ty), mask=inside)
