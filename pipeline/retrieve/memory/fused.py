"""The sums of an aggregation in 16 bits on a GPU, by kernels that let no score leave the processor.

Beside two matrix products an aggregation is bound by how often a score travels through memory: in plain torch 52 bytes of it
do, here 4. `fused_kernels` writes the weights of a block, in 16 bits, while it multiplies queries and keys; cuBLAS multiplies
them by the values. What a weight is relative to is known before the block only from the blocks before it; a row that grows
beyond that is brought to its new shift afterwards, on the device, so that nothing is estimated and nobody waits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pipeline.retrieve.memory.products import Blocks

_LN2 = math.log(2)
# The quickest of six on an H100: fewer queries at a time read the memory more often.
FUSED_BLOCKS = Blocks(queries=16384, memory=16384)
# Rows that one program of `settle` adds up, columns that one step of `rescale` multiplies.
_SETTLED, _RESCALED = 32, 256


@dataclass(frozen=True)
class Tile:
    """What one program of the product computes, and how: part of a result's last bits.

    Attributes:
        rows: Queries.
        columns: Rows of the memory.
        depth: Numbers of a row that are multiplied at a time.
        warps: Of 32 threads.
        stages: Depths that are loaded ahead.
        group: Tiles of rows that are computed side by side.
        described: Whether the card fetches tiles by itself, from descriptors (compute capability 9.0 and above).
        lasting: Whether each processor runs one program, tile after tile.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = 8
    described: bool = False
    lasting: bool = False


class Fused:
    """Buffers for the largest block of an aggregation, and the tile of its device.

    Args:
        tile: See `tile_of`.
        blocks: The largest block.
        queries: In the type and on the device of all that is multiplied.
        spread: Whether sums of weight x logit are wanted.
    """

    def __init__(self, tile: Tile, blocks: Blocks, queries: Tensor, spread: bool) -> None:
        self.tile, self.spread = tile, spread
        tiles = -(-blocks.memory // tile.columns)
        self.weights = queries.new_empty(blocks.queries, tiles * tile.columns)
        self.statistics = torch.empty(5, tiles * blocks.queries, device=queries.device)
        self.running = torch.empty(6, blocks.queries, device=queries.device)
        self.processors = processors(queries.device)


class FusedSums:
    """Running sums of one block of queries; the averages grow in place, in `vectors`.

    Sums are of 2^(s - shift), where s are the logits in binary digits. `vectors` are divided by the sum of the weights as they
    were multiplied, rounded, so that they remain averages; log Z is of the weights as they are.

    Args:
        fused: Buffers; they are in use until `close`.
        queries: [q, D] in 16 bits.
        temperature: tau > 0.
        vectors: One [q, D_j] in float32 per value memory, zeros.
        statistics: Three [q], which become log Z, the largest scores and the entropies.
        shared: Which of the values are the keys themselves; None: the entropy is of the sums of weight x logit.
    """

    def __init__(
        self,
        fused: Fused,
        queries: Tensor,
        temperature: float,
        vectors: Sequence[Tensor],
        statistics: Sequence[Tensor],
        shared: int | None,
    ) -> None:
        self._fused, self._vectors, self._temperature = fused, vectors, temperature
        self._statistics, self._shared = statistics, shared
        self._queries = queries if queries.stride(1) == 1 else queries.contiguous()
        self._result = tuple(vectors)
        self._running = fused.running[:, : len(queries)]
        self._running[:3].fill_(-math.inf)
        self._running[3:].zero_()
        self._name()

    def _name(self) -> None:
        self._shifts, self._factors, self._tops, self._totals, self._rounded, self._spreads = self._running

    def move(self, fused: Fused) -> None:
        """Go on, with the sums so far, where `fused` is."""
        there = fused.running[:, : len(self._queries)]
        there.copy_(self._running)
        self._fused, self._running = fused, there
        self._queries = self._queries.to(there.device)
        self._vectors = [sums.to(there.device) for sums in self._vectors]
        self._name()

    def add(self, keys: Tensor, values: Sequence[Tensor]) -> None:
        """Add one block of the memory: keys [n, D] and its rows of each value memory [n, D_j]."""
        from pipeline.retrieve.memory import fused_kernels as kernels  # Triton is not everywhere

        fused, tile, rows, columns = self._fused, self._fused.tile, len(self._queries), len(keys)
        keys = keys if keys.stride(1) == 1 else keys.contiguous()
        width = keys.shape[1]
        down, across = -(-rows // tile.rows), -(-columns // tile.columns)
        tops, exponents, totals, rounded, spreads = fused.statistics
        described = tile.described and all(_describable(each) for each in (self._queries, keys))
        programs = min(down * across, fused.processors) if tile.lasting else down * across
        _launch(
            kernels.weigh, programs,
            _described(self._queries, tile.rows, tile.depth) if described else self._queries,
            _described(keys, tile.columns, tile.depth) if described else keys, self._shifts, fused.weights, tops, exponents, totals, rounded, spreads,
            rows, columns, width, self._queries.stride(0), keys.stride(0), fused.weights.stride(0),
            1 / (self._temperature * _LN2), ROWS=tile.rows, COLUMNS=tile.columns, DEPTH=tile.depth, GROUP=tile.group,
            SPREAD=fused.spread, WHOLE=width % tile.depth == 0, DESCRIBED=described, LASTING=tile.lasting, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        _launch(
            kernels.settle, -(-rows // _SETTLED),
            self._shifts, self._factors, self._tops, self._totals, self._rounded, self._spreads,
            tops, exponents, totals, rounded, spreads, rows, across,
            ROWS=_SETTLED, SPREAD=fused.spread, num_warps=1,
        )  # fmt: skip
        if not self._vectors:
            return
        _launch(kernels.follow, rows, fused.weights, self._shifts, self._factors, exponents, rows, across,
                fused.weights.stride(0), COLUMNS=tile.columns, num_warps=1)  # fmt: skip
        weights = fused.weights[:rows, :columns]
        for sums, value in zip(self._vectors, values, strict=True):
            _launch(kernels.rescale, rows, sums, self._factors, sums.shape[1], sums.stride(0), COLUMNS=_RESCALED,
                    num_warps=1)  # fmt: skip
            _accumulate(sums, weights, value.to(weights.dtype))

    def close(self) -> None:
        """Turn the sums into averages and statistics."""
        for sums in self._vectors:
            sums.div_(self._rounded[:, None])
        log_normaliser, top_score, entropy = self._statistics
        total = self._totals.double()
        log_total = (total.log2() + self._shifts.double()) * _LN2
        log_normaliser.copy_(log_total)
        top_score.copy_(self._tops)
        if self._shared is None:
            entropy.copy_(total.log() - self._spreads.double() / total * _LN2)
        else:
            average = self._vectors[self._shared].double()
            entropy.copy_(log_total - torch.linalg.vecdot(self._queries.double(), average) / self._temperature)
        for place, made in zip(self._result, self._vectors, strict=True):
            if made is not place:
                place.copy_(made)


def _launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    some = next(each for each in arguments if isinstance(each, Tensor))
    with torch.cuda.device_of(some):  # type: ignore[no-untyped-call]  # Triton starts kernels on the current device
        kernel[(programs,)](*arguments, **constants)


def _describable(rows: Tensor) -> bool:
    """Whether a descriptor can say where `rows` are: they begin at multiples of 16 bytes."""
    return rows.stride(0) * rows.element_size() % 16 == 0 and rows.data_ptr() % 16 == 0


def _described(rows: Tensor, height: int, depth: int) -> Any:
    """A descriptor of `rows`, of which [height, depth] are fetched at a time."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor(rows, list(rows.shape), list(rows.stride()), [height, depth])


@cache
def processors(device: torch.device) -> int:
    """How many programs run at the same time, at one a processor; a few in Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3


def _accumulate(sums: Tensor, weights: Tensor, values: Tensor) -> None:
    """sums [q, D] += weights [q, n] values [n, D], with sums in float32."""
    if not weights.is_cuda:  # Triton's interpreter
        sums.add_(weights.float() @ values.float())
    elif adds_in_place(weights.device, weights.dtype):
        torch.addmm(sums, weights, values, out_dtype=torch.float32, out=sums)
    else:
        sums.add_(torch.mm(weights, values, out_dtype=torch.float32))


@cache
def adds_in_place(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch adds a product of 16-bit factors to a float32 tensor without another pass over it."""
    factors = torch.full((16, 16), 0.5, dtype=dtype, device=device)
    sums = torch.ones(16, 16, device=device)
    try:
        torch.addmm(sums, factors, factors, out_dtype=torch.float32, out=sums)
    except (TypeError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return False
    return bool((sums == 5).all())
