"""Symmetric InfoNCE a block of rows at a time, so that no more than one block of the B x B scores is ever held."""

from typing import Any

import torch
from torch import Tensor

from pipeline.precision import product
from pipeline.train.info_nce import blocks, kernels
from pipeline.train.ranks.together import ALONE, Ranks


class TiledInfoNCE(torch.autograd.Function):
    """The formula of `WholeInfoNCE` in two sweeps over blocks S_b = A_b B^T / tau of [R, B] scores.

    The first sweep takes the log-sum-exp of every row, which lies in one block, and of every column, which adds up over
    blocks. The second computes each block again, turns it into dL/dS and multiplies that with the other side. Where all
    rows are one block, it is kept from the first sweep to the second. Scores and sums are at least float32, whatever the
    factors are; memory is R x B for a block and B x E for the gradients.

    Of several ranks, which all have the same rows, each takes the blocks of its share of the rows of the first. Log-sum-exps,
    loss and gradients come out whole on each.
    """

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        temperature: float,
        factors: torch.dtype,
        elements: int,
        among: Ranks = ALONE,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            ctx: Keeps the gradients.
            first: Unit rows [B, E].
            second: Their partners [B, E], row by row.
            temperature: By which scores are divided.
            factors: Type of what is multiplied.
            elements: Scores of a block, at most; one row is the least.
            among: Which ranks do it together.
        """
        batch = len(first)
        own = among.share(batch)
        left, right = (first / temperature).to(factors), second.to(factors)
        starts = range(own.start, own.stop, max(1, min(batch, elements // batch)))
        fused = kernels if kernels.work_on(left) else blocks
        rows, positives = [], []
        columns = torch.full((batch,), -torch.inf, dtype=_sums(factors), device=first.device)
        for start in starts:
            scores = product(left[start : min(start + starts.step, own.stop)], right.T)
            by_row, by_column = fused.log_sums(scores)
            rows.append(by_row)
            columns = torch.logaddexp(columns, by_column)
            positives.append(scores.diagonal(start).clone())
        columns = among.log_sum_exp(columns)
        losses = (_joined(rows, columns) + columns[own]) / 2 - _joined(positives, columns)
        loss = among.gather(losses, batch).mean()
        wanted = ctx.needs_input_grad  # The targets of Ex-MCR are fixed.
        to_first = torch.empty_like(first, dtype=columns.dtype) if wanted[0] else None
        to_second = torch.zeros_like(second, dtype=columns.dtype) if wanted[1] else None
        for start, by_row in zip(starts, rows, strict=True) if wanted[0] or wanted[1] else ():
            some = slice(start, min(start + starts.step, own.stop))
            if len(starts) > 1:
                scores = product(left[some], right.T)
            outer = fused.gradient(scores, by_row, columns, start, factors)
            if to_first is not None:
                torch.div(product(outer, right), temperature, out=to_first[some])
            if to_second is not None:
                to_second.add_(product(outer.T, left[some]))
        if to_first is not None:
            to_first = among.gather(to_first[own], batch)
        if to_second is not None:
            to_second = among.sum(to_second)
        ctx.save_for_backward(to_first, to_second)
        ctx.types = first.dtype, second.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, times that of the loss."""
        found = zip(ctx.saved_tensors, ctx.types, strict=True)
        return *(None if one is None else (outer[0] * one).to(kind) for one, kind in found), None, None, None, None


def _joined(found: list[Tensor], like: Tensor) -> Tensor:
    """What was found for each block; a rank may have had none."""
    return torch.cat(found) if found else like[:0]


def _sums(factors: torch.dtype) -> torch.dtype:
    return torch.promote_types(factors, torch.float32)
