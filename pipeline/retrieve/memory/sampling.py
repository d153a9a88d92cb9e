"""Draws from softmaxes over a whole memory, exactly, in bounded buffers and one pass.

A partner k of a query q is drawn with probability w_k = exp(q . k / t) / Z. Z is known only after the last block of the
memory, so each draw is a reservoir: after block b, with m_b the sum of its exponentials and M_b that of all blocks so
far, the draw moves into block b with probability m_b / M_b, and there to item k with probability exp(q . k / t) / m_b.
What is left in the end is k of block b with probability

    exp(q . k / t) / m_b  x  m_b / M_b  x  prod over later blocks c of (1 - m_c / M_c)  =  exp(q . k / t) / Z,

because 1 - m_c / M_c = M_(c-1) / M_c and the product collapses. Every block has uniform numbers of its own.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.precision import multiplying
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.divided import Divided, Memory
from pipeline.retrieve.memory.neighbours import SEARCH_QUERIES, TopK
from pipeline.retrieve.memory.plain import FLOOR
from pipeline.retrieve.memory.products import CPU_BLOCKS, CUDA_BLOCKS, Blocks, Products


@dataclass(frozen=True)
class Sampled:
    """Partners drawn for each of Q queries.

    Attributes:
        rows: [Q, S] int64, S independent draws: rows of the memory.
        top_score: [Q], the largest q . k in the memory.
        neighbours: [Q], exp of the entropy of the softmax over the whole memory.
        missed_mass: [Q], share of the softmax that no draw could come from; zero where all of the memory was used.
    """

    rows: Tensor
    top_score: Tensor
    neighbours: Tensor
    missed_mass: Tensor


@multiplying()
def sample(
    queries: Tensor,
    keys: Memory,
    temperature: float,
    draws: int,
    generator: torch.Generator,
    blocks: Blocks | None = None,
) -> Sampled:
    """Draw `draws` rows of `keys` for every query from softmax(queries keys^T / temperature), with replacement.

    Args:
        queries: [Q, D].
        keys: [N, D]; N >= 1. Blocks of a divided memory come to the queries.
        temperature: t > 0.
        draws: S.
        generator: Source of the uniform numbers, on the device of the queries.
        blocks: Rows per block; with other blocks the draws are other ones, of the same distribution.
    """
    if not isinstance(keys, Divided) and queries.device != keys.device:
        raise ValueError(f"queries on {queries.device}, keys on {keys.device}: different devices")
    blocks = blocks or (CUDA_BLOCKS if queries.is_cuda else CPU_BLOCKS)
    blocks = Blocks(min(blocks.queries, max(len(queries), 1)), min(blocks.memory, len(keys)))
    products = Products(blocks, queries, keys)
    found = []
    for start in range(0, len(queries), blocks.queries):
        block = products.operand(queries[start : start + blocks.queries])
        reservoirs = _Reservoirs(len(block), draws, generator, queries.device)
        for first in range(0, len(keys), blocks.memory):
            there = keys[first : first + blocks.memory]
            memory = products.operand(there.to(queries.device, non_blocking=True))
            reservoirs.add(products.scores(block, memory, 1.0 / temperature), first)
        found.append(reservoirs.close(temperature, len(keys)))
    rows, top, neighbours = (torch.cat(column) for column in zip(*found, strict=True))
    return Sampled(rows, top, neighbours, torch.zeros_like(top))


class _Reservoirs:
    """The draws of q queries while the memory passes by; sums are relative to exp(shift), in float64."""

    def __init__(self, queries: int, draws: int, generator: torch.Generator, device: torch.device) -> None:
        self._generator = generator
        self._rows = torch.zeros(queries, draws, dtype=torch.int64, device=device)
        self._total = torch.zeros(queries, 1, dtype=torch.float64, device=device)
        self._spread = torch.zeros_like(self._total)
        self._shift = torch.full((queries, 1), -math.inf, device=device)

    def add(self, logits: Tensor, first: int) -> None:
        """Let one block of the memory pass: logits [q, n], which are overwritten; `first` is its first row."""
        shift = torch.maximum(self._shift, logits.amax(1, keepdim=True))
        change = (self._shift - shift).double()
        # sum p (s - shift) moves with the shift; at the first block the sum is empty and the change infinite.
        self._spread.add_(self._total * change.nan_to_num(neginf=0.0)).mul_(change.exp())
        self._total.mul_(change.exp())
        self._shift = shift
        shifted = logits.sub_(shift).clamp_min_(FLOOR)
        weights = shifted.exp()
        self._spread.add_(torch.linalg.vecdot(weights, shifted).double().unsqueeze(1))
        cumulative = weights.cumsum(1, dtype=torch.float64)
        self._total.add_(cumulative[:, -1:])
        share = cumulative[:, -1:] / self._total
        uniform = _uniform(self._rows.shape, self._generator, logits.device)
        moves = uniform < share
        # Given that a draw moves, its number divided by the share is uniform again.
        self._rows = torch.where(moves, pick(cumulative, uniform / share) + first, self._rows)

    def close(self, temperature: float, memory: int) -> tuple[Tensor, Tensor, Tensor]:
        """The rows, the largest score and the effective number of neighbours."""
        entropy = (self._total.log() - self._spread / self._total).clamp_(0.0, math.log(memory))
        return self._rows, self._shift.squeeze(1) * temperature, entropy.exp().float().squeeze(1)


def sample_top_k(
    index: TopK, queries: Tensor, keys: Tensor, temperature: float, draws: int, generator: torch.Generator
) -> Sampled:
    """Draw among the top k of each query alone, with weights that sum to 1 over the k found.

    `top_score` and `neighbours` describe the whole memory, exactly; `missed_mass` is the share of the rows not found.

    Args:
        index: Built over `keys`.
        queries: [Q, D].
        keys: [N, D].
        temperature: t > 0.
        draws: S.
        generator: Source of the uniform numbers, on the device of the queries.
    """
    exact = aggregate(queries, keys, (), temperature)
    chosen = []
    for start in range(0, len(queries), SEARCH_QUERIES):
        part = slice(start, start + SEARCH_QUERIES)
        scores, rows = index.search(queries[part])
        logits = (scores / temperature).double()
        found = torch.logsumexp(logits, 1)
        exact.missed_mass[part] = (-torch.expm1(found - exact.log_normaliser[part])).clamp_(0.0, 1.0)
        cumulative = torch.exp(logits - found[:, None]).cumsum(1)
        places = pick(cumulative, _uniform((len(rows), draws), generator, rows.device))
        chosen.append(torch.gather(rows, 1, places))
    return Sampled(torch.cat(chosen), exact.top_score, exact.neighbours, exact.missed_mass)


def pick(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Columns [q, S] that `uniform` numbers [q, S] fall into, by `cumulative` weights [q, n] that need not end at 1."""
    places = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return places.clamp_max_(cumulative.shape[1] - 1)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
