"""Semantic consistency, exactly: softmax-weighted averages over a whole memory, in bounded buffers.

C-MCR and Ex-MCR replace the missing partner of a query q by an average over a memory (C-MCR, section 3.2)::

    w_k = exp(q . k / tau) / Z,   Z = sum_k exp(q . k / tau),   out_j = sum_k w_k v_jk

It has the shape of attention with one head as wide as the embedding, so almost all of it is two matrix
products. What surrounds them is kept small: one pass over the memory, one score buffer that stays in the
processor's cache and is overwritten in place, sums that are added into the result's own rows.

`plain` does this in torch, everywhere; `fused` in kernels of its own where 16-bit factors are multiplied on a GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.precision import multiplying
from pipeline.retrieve.memory.divided import Divided, Memory, place_of
from pipeline.retrieve.memory.fused import FUSED_BLOCKS, Fused, FusedSums
from pipeline.retrieve.memory.plain import PlainSums
from pipeline.retrieve.memory.products import CPU_BLOCKS, CUDA_BLOCKS, Blocks, Products, low_precision
from pipeline.retrieve.memory.tiles import tile_of


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
    queries: Tensor, keys: Memory, values: Sequence[Memory], temperature: float, blocks: Blocks | None = None
) -> Aggregate:
    """Average one or several value memories with the weights softmax(queries keys^T / temperature).

    Where the average of the keys is wanted too, pass `keys` itself among the `values`: the entropy then costs nothing,
    since H = log Z - q . (sum_k w_k k) / tau (its rounding error is that of the logits, some 1e-7 / temperature).
    Otherwise it costs two passes over each block of scores.

    Args:
        queries: [Q, D] of any float type; all tensors on one device.
        keys: [N, D], the memory as the queries' space sees it; N >= 1. Divided or not, the numbers are the same.
        values: Any number of [N, D_j], in the order of the keys and divided as they are. With none, only the statistics are
            computed.
        temperature: tau > 0.
        blocks: Rows per block; the buffers grow with them and with nothing else.

    Returns:
        Averages and statistics on the device of the queries.

    Raises:
        UserError: The shapes or the temperature cannot be used.
    """
    _check(queries, keys, values, temperature)
    shared = next((j for j, value in enumerate(values) if value is keys), None)
    result = _empty(queries, values)
    low = low_precision(queries, keys)
    tile = tile_of(queries, low) if low else None
    blocks = blocks or (CPU_BLOCKS if not queries.is_cuda else FUSED_BLOCKS if tile else CUDA_BLOCKS)
    blocks = Blocks(min(blocks.queries, max(len(queries), 1)), min(blocks.memory, len(keys)))
    kind: type[FusedSums] | type[PlainSums] = FusedSums if low and tile else PlainSums

    @cache
    def buffers(device: torch.device) -> Any:
        there = queries[:0].to(device)
        return Fused(tile, blocks, there, shared is None) if low and tile else Products(blocks, there, keys)

    for start in range(0, len(queries), blocks.queries):
        rows = slice(start, start + blocks.queries)
        statistics = [each[rows] for each in (result.log_normaliser, result.top_score, result.neighbours)]
        vectors = [each[rows] for each in result.vectors]
        home = here = queries.device
        sums = kind(buffers(home), queries[rows], temperature, vectors, statistics, shared)
        for first in range(0, len(keys), blocks.memory):
            part = slice(first, first + blocks.memory)
            block = keys[part]
            if (place := place_of(block, home)) != here:
                sums.move(buffers(place))
                here = place
            sums.add(block.to(place, non_blocking=True), [value[part].to(place, non_blocking=True) for value in values])
        sums.close()
    # An entropy lies between 0 and log N; the rounding of the logits may carry it past either end.
    result.neighbours.clamp_(0.0, math.log(len(keys))).exp_()
    return result


def _empty(queries: Tensor, values: Sequence[Memory]) -> Aggregate:
    def zeros(*width: int) -> Tensor:
        return torch.zeros((len(queries), *width), dtype=torch.float32, device=queries.device)

    top = zeros().fill_(-math.inf)
    return Aggregate(tuple(zeros(value.shape[1]) for value in values), zeros(), top, zeros(), zeros())


def _check(queries: Tensor, keys: Memory, values: Sequence[Memory], temperature: float) -> None:
    if not temperature > 0:
        raise UserError(
            f"The temperature is {temperature}, but must be above 0.", "Set retrieve.temperature, such as 0.01."
        )
    whole = [queries, *(memory for memory in (keys, *values) if not isinstance(memory, Divided))]
    if len({tensor.device for tensor in whole}) > 1:
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
