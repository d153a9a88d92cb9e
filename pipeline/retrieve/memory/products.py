"""The two matrix products of an aggregation and the buffers that they work in."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.precision import SHORT, arithmetic_of, dtype_of, may_round, multiplies, rounding_allowed, rounds
from pipeline.retrieve.memory.divided import Memory


@dataclass(frozen=True)
class Blocks:
    """Rows of one block: `queries` x `memory` scores are held at a time."""

    queries: int
    memory: int


# On the CPU: as fast as 2,048 x 1,024 on an idle machine, and faster on a busy one, where fewer operations wait for a
# late thread. The GPU size is not measured: large enough to fill one.
CPU_BLOCKS = Blocks(queries=2048, memory=2048)
CUDA_BLOCKS = Blocks(queries=8192, memory=16384)

# Weights in float16 need the upper end of their range, or two million small ones would round to nothing: the largest is
# 2^14. A power of two, because the largest weight of a peaked softmax is all of it: e^10 would be rounded by 2.5e-4.
LIFT = 14 * math.log(2)


class Products:
    """Scores and weighted sums of one block, in float32.

    Inputs in 16 bits are multiplied as they are on a GPU, where that is an order of magnitude faster and the sums
    are still float32. Wherever torch cannot return float32 from 16-bit factors, blocks are converted first. A CPU with
    instructions for bfloat16 may then round the weights to it, too; none is fast in float16.

    Attributes:
        lift: Amount by which a row's shift stays below its largest logit, see `LIFT`.
        headroom: Amount by which a logit may pass the shift before the sums are rescaled.
    """

    def __init__(self, blocks: Blocks, queries: Tensor, keys: Memory) -> None:
        self.low = low_precision(queries, keys)
        self.device = queries.device
        self._may_round = keys.dtype == queries.dtype and may_round(self.device, queries.dtype)
        self.lift, self.headroom = (LIFT, 0.0) if self.low else (0.0, 16.0)
        self._size = blocks.queries * blocks.memory
        self._scores = torch.empty(self._size, dtype=torch.float32, device=self.device)
        self._weights: Tensor | None = None

    def operand(self, block: Tensor) -> Tensor:
        """`block` in the type that is multiplied; itself where it already is."""
        return block.to(self.low or torch.float32)

    def scores(self, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
        """scale * queries keys^T [q, n], valid until the next call."""
        shape = (len(queries), len(keys))
        if self.low:
            return torch.mm(queries, keys.T, out_dtype=torch.float32).mul_(scale)
        out = self._scores[: shape[0] * shape[1]].view(shape)
        with rounding_allowed(self._may_round):
            # The scale rides along in the product; with beta = 0 the old content is not read.
            return torch.addmm(out, queries, keys.T, beta=0, alpha=scale, out=out)

    def weights_beside(self, scores: Tensor) -> Tensor:
        """A buffer of the shape of `scores` for exponentials that must not overwrite them."""
        if self._weights is None:
            self._weights = torch.empty(self._size, dtype=torch.float32, device=self.device)
        return self._weights[: scores.numel()].view(scores.shape)

    def add(self, out: Tensor, weights: Tensor, values: Tensor) -> None:
        """out [q, D] += weights [q, n] values [n, D]."""
        if self.low:
            out.add_(torch.mm(weights.to(self.low), values.to(self.low), out_dtype=torch.float32))
            return
        with rounding_allowed(self._may_round):
            out.addmm_(weights, values.float())


def low_precision(queries: Tensor, keys: Memory) -> torch.dtype | None:
    """The 16-bit type in which both are multiplied with float32 sums on their device, or None."""
    if queries.dtype != keys.dtype or queries.dtype not in SHORT or not multiplies(queries.device, queries.dtype):
        return None
    return queries.dtype


def resolved(precision: str, device: str | torch.device) -> str:
    """The precision that ``auto`` means on `device`: fp16 where that can be multiplied with float32 sums, else fp32."""
    if precision != "auto":
        return precision
    return "fp16" if multiplies(torch.device(device), dtype_of("fp16")) else "fp32"


def arithmetic(precision: str, device: str | torch.device) -> str:
    """What a part records about its numbers, see `arithmetic_of`, for `precision` as set.

    CPUs that round the weights to bf16, too, are another kind than those that do not.
    """
    which = resolved(precision, device)
    made = arithmetic_of(device, which)
    return f"{made} rounded" if rounds(torch.device(device), dtype_of(which)) else made
