"""Semantic consistency, exactly: softmax-weighted averages over a whole memory, in bounded buffers.

C-MCR and Ex-MCR replace the missing partner of a query q by an average over a memory (C-MCR, section 3.2)::

    w_k = exp(q . k / tau) / Z,   Z = sum_k exp(q . k / tau),   out_j = sum_k w_k v_jk

It has the shape of attention with one head as wide as the embedding, so almost all of it is two matrix
products. What surrounds them is kept small: one pass over the memory, one score buffer that stays in the
processor's cache and is overwritten in place, sums that are added into the result's own rows.

Scores are shifted before the exponential by a maximum that runs along with the memory. A fixed shift of 1/tau
would underflow at ordinary cross-modal cosines and overflow for vectors that are not of unit length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.precision import multiplying
from pipeline.retrieve.memory.products import CPU_BLOCKS, CUDA_BLOCKS, Blocks, Products

# Smaller weights count as e^-60 of the shift, which is nothing beside float32's 6e-8. Left alone they would become
# denormal numbers, on which the exponential and the matrix product run 5 to 50 times slower.
FLOOR = -60.0


@dataclass(frozen=True)
class Aggregate:
    """What a memory says about each of Q queries; all float32.

    Attributes:
        vectors: One [Q, D_j] per value memory: the softmax-weighted average, not normalised.
        log_normaliser: [Q], log Z: the log of the summed exponentials over the whole memory.
        top_score: [Q], the largest q . k in the memory; for unit vectors the largest cosine.
        neighbours: [Q], effective number of neighbours: exp of the entropy of the weights, from 1 to N.
        missed_mass: [Q], share of the softmax that `vectors` leaves out; zero where all of the memory was used.
    """

    vectors: tuple[Tensor, ...]
    log_normaliser: Tensor
    top_score: Tensor
    neighbours: Tensor
    missed_mass: Tensor


@multiplying()
def aggregate(
    queries: Tensor, keys: Tensor, values: Sequence[Tensor], temperature: float, blocks: Blocks | None = None
) -> Aggregate:
    """Average one or several value memories with the weights softmax(queries keys^T / temperature).

    Where the average of the keys is wanted too, pass `keys` itself among the `values`: the entropy then costs nothing,
    since H = log Z - q . (sum_k w_k k) / tau (its rounding error is that of the logits, some 1e-7 / temperature).
    Otherwise it costs two passes over each block of scores.

    Args:
        queries: [Q, D] of any float type; all tensors on one device.
        keys: [N, D], the memory as the queries' space sees it; N >= 1.
        values: Any number of [N, D_j], in the order of the keys. With none, only the statistics are computed.
        temperature: tau > 0.
        blocks: Rows per block; the buffers grow with them and with nothing else.

    Returns:
        Averages and statistics on the device of the queries.

    Raises:
        UserError: The shapes or the temperature cannot be used.
    """
    _check(queries, keys, values, temperature)
    blocks = blocks or (CUDA_BLOCKS if queries.is_cuda else CPU_BLOCKS)
    blocks = Blocks(min(blocks.queries, max(len(queries), 1)), min(blocks.memory, len(keys)))
    products = Products(blocks, queries, keys)
    shared = next((j for j, value in enumerate(values) if value is keys), None)
    result = _empty(queries, values)
    for start in range(0, len(queries), blocks.queries):
        rows = slice(start, start + blocks.queries)
        query_block = products.operand(queries[rows])
        sums = _Sums(result, rows, products, shared)
        for first in range(0, len(keys), blocks.memory):
            part = slice(first, first + blocks.memory)
            scores = products.scores(query_block, products.operand(keys[part]), 1.0 / temperature)
            sums.add(scores, [value[part] for value in values])
        sums.close(query_block, temperature)
    # An entropy lies between 0 and log N; the rounding of the logits may carry it past either end.
    result.neighbours.clamp_(0.0, math.log(len(keys))).exp_()
    return result


class _Sums:
    """Running sums of one block of queries, in place in that block's rows of the result.

    Sums are relative to exp(shift): `vectors` hold sum_k p_k v_k and `total` sum_k p_k with p_k = exp(s_k - shift).
    """

    def __init__(self, result: Aggregate, rows: slice, products: Products, shared: int | None) -> None:
        self._products = products
        self._shared = shared
        self._vectors = [vectors[rows] for vectors in result.vectors]
        self._total = result.log_normaliser[rows].unsqueeze(1)
        self._top = result.top_score[rows].unsqueeze(1)
        # Without an average of the keys: sum_k p_k (s_k - shift), from which the entropy follows too.
        self._spread = result.neighbours[rows].unsqueeze(1)
        self._shift = torch.full_like(self._top, -math.inf)

    def add(self, scores: Tensor, values: Sequence[Tensor]) -> None:
        """Add one block of the memory: logits [q, n], which are overwritten, and its rows of each value memory."""
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

    def close(self, queries: Tensor, temperature: float) -> None:
        """Turn sums into averages, the total into log Z, and leave the entropy where the neighbours go."""
        for sums in self._vectors:
            sums.div_(self._total)
        if self._shared is None:
            self._spread.div_(self._total).neg_().add_(self._total.log())
            self._total.log_().add_(self._shift)
        else:
            self._total.log_().add_(self._shift)
            expected = torch.linalg.vecdot(queries.double(), self._vectors[self._shared].double()) / temperature
            self._spread.copy_(self._total.double() - expected.unsqueeze(1))
        self._top.mul_(temperature)


def _empty(queries: Tensor, values: Sequence[Tensor]) -> Aggregate:
    def zeros(*width: int) -> Tensor:
        return torch.zeros((len(queries), *width), dtype=torch.float32, device=queries.device)

    top = zeros().fill_(-math.inf)
    return Aggregate(tuple(zeros(value.shape[1]) for value in values), zeros(), top, zeros(), zeros())


def _check(queries: Tensor, keys: Tensor, values: Sequence[Tensor], temperature: float) -> None:
    if not temperature > 0:
        raise UserError(
            f"The temperature is {temperature}, but must be above 0.", "Set retrieve.temperature, such as 0.01."
        )
    if len({tensor.device for tensor in (queries, keys, *values)}) > 1:
        raise ValueError("queries, keys and values are on different devices")
    if len(keys) == 0:
        raise UserError("The memory is empty.", "Give the connection a memory with at least one embedding.")
    if queries.shape[1] != keys.shape[1]:
        raise UserError(
            f"Queries have {queries.shape[1]} dimensions, the memory has {keys.shape[1]}.",
            "Query a memory with embeddings of its own space.",
        )
    if any(len(value) != len(keys) for value in values):
        raise UserError("A value memory has another number of rows than the keys.", "Join the two by key first.")
