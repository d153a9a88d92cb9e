"""The sums of an aggregation in plain torch: on a CPU, in float32, and wherever the fused kernels cannot be used.

Scores are shifted before the exponential by a maximum that runs along with the memory. A fixed shift of 1/tau
would underflow at ordinary cross-modal cosines and overflow for vectors that are not of unit length.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.retrieve.memory.products import Products

# Smaller weights count as e^-60 of the shift, which is nothing beside float32's 6e-8. Left alone they would become
# denormal numbers, on which the exponential and the matrix product run 5 to 50 times slower.
FLOOR = -60.0


class PlainSums:
    """Running sums of one block of queries, in place in that block's rows of the result.

    Sums are relative to exp(shift): `vectors` hold sum_k p_k v_k and `total` sum_k p_k with p_k = exp(s_k - shift).

    Args:
        products: Their precision and buffers.
        queries: [q, D].
        temperature: tau > 0.
        vectors: One [q, D_j] in float32 per value memory, zeros.
        statistics: Three [q]: zeros, which become log Z; -inf, which become the largest scores; zeros, which become entropies.
        shared: Which of the values are the keys themselves.
    """

    def __init__(
        self,
        products: Products,
        queries: Tensor,
        temperature: float,
        vectors: Sequence[Tensor],
        statistics: Sequence[Tensor],
        shared: int | None,
    ) -> None:
        self._products, self._temperature, self._shared = products, temperature, shared
        self._queries = products.operand(queries)
        self._vectors = vectors
        # Of the last: without an average of the keys, sum_k p_k (s_k - shift), from which the entropy follows too.
        self._total, self._top, self._spread = (each.unsqueeze(1) for each in statistics)
        self._shift = torch.full_like(self._top, -math.inf)
        self._result = (*self._vectors, self._total, self._top, self._spread)

    def move(self, products: Products) -> None:
        """Go on, with the sums so far, where `products` are."""
        self._products, to = products, products.device
        self._queries, self._total, self._top = self._queries.to(to), self._total.to(to), self._top.to(to)
        self._spread, self._shift = self._spread.to(to), self._shift.to(to)
        self._vectors = [sums.to(to) for sums in self._vectors]

    def add(self, keys: Tensor, values: Sequence[Tensor]) -> None:
        """Add one block of the memory: keys [n, D] and its rows of each value memory [n, D_j]."""
        scores = self._products.scores(self._queries, self._products.operand(keys), 1.0 / self._temperature)
        top = scores.amax(1, keepdim=True)
        torch.maximum(self._top, top, out=self._top)
        self._raise_shift(top)
        shifted = scores.sub_(self._shift).clamp_min_(FLOOR)
        if self._shared is None:
            weights = torch.exp(shifted, out=self._products.weights_beside(shifted))
            self._spread.add_(torch.linalg.vecdot(weights, shifted).unsqueeze(1))
        else:
            weights = shifted.exp_()
        self._total.add_(weights.sum(1, keepdim=True))
        for sums, value in zip(self._vectors, values, strict=True):
            self._products.add(sums, weights, value)

    def _raise_shift(self, top: Tensor) -> None:
        """Rescale the rows whose new maximum [q, 1] exceeds the shift by more than the headroom."""
        target = top - self._products.lift
        exceeds = target > self._shift + self._products.headroom
        # On a GPU the question would stall the queue longer than the answer takes.
        if not exceeds.is_cuda and not bool(exceeds.any()):
            return
        shift = torch.where(exceeds, target, self._shift)
        change = self._shift - shift
        scale = change.exp()
        if self._shared is None:
            # sum p (s - shift) moves with the shift itself; an empty sum (total 0, change -inf) stays empty.
            self._spread.add_(self._total * change.nan_to_num(neginf=0.0)).mul_(scale)
        self._total.mul_(scale)
        for sums in self._vectors:
            sums.mul_(scale)
        self._shift = shift

    def close(self) -> None:
        """Turn the sums into averages and statistics."""
        for sums in self._vectors:
            sums.div_(self._total)
        if self._shared is None:
            self._spread.div_(self._total).neg_().add_(self._total.log())
            self._total.log_().add_(self._shift)
        else:
            self._total.log_().add_(self._shift)
            expected = torch.linalg.vecdot(self._queries.double(), self._vectors[self._shared].double())
            self._spread.copy_(self._total.double() - expected.unsqueeze(1) / self._temperature)
        self._top.mul_(self._temperature)
        for place, made in zip(self._result, (*self._vectors, self._total, self._top, self._spread), strict=True):
            if made is not place:
                place.copy_(made)
