"""Symmetric InfoNCE a block of rows at a time, so that no more than one block of the B x B scores is ever held."""

from typing import Any

import torch
from torch import Tensor

from pipeline.precision import product
from pipeline.train.info_nce import blocks, kernels
from pipeline.train.ranks.together import ALONE, Ranks

Swept = tuple[Tensor, Tensor | None, Tensor | None]


class TiledInfoNCE(torch.autograd.Function):
    """The formula of `WholeInfoNCE` by `swept`; scores, sums and gradients are at least float32, whatever the factors are."""

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
        wanted = ctx.needs_input_grad  # The targets of Ex-MCR are fixed.
        sides = (first / temperature).to(factors), second.to(factors)
        if torch.compiler.is_compiling():
            loss, to_first, to_second = _opaque(*sides, elements, wanted[0], wanted[1])
        else:
            loss, to_first, to_second = swept(*sides, elements, wanted[0], wanted[1], among)
        ctx.save_for_backward(to_first, to_second)
        ctx.temperature, ctx.types = temperature, (first.dtype, second.dtype)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, times that of the loss."""
        to_first, to_second = ctx.saved_tensors
        found = None if to_first is None else to_first / ctx.temperature, to_second
        scaled = (
            None if one is None else (outer[0] * one).to(kind) for one, kind in zip(found, ctx.types, strict=True)
        )
        return *scaled, None, None, None, None


def swept(left: Tensor, right: Tensor, elements: int, to_left: bool, to_right: bool, among: Ranks = ALONE) -> Swept:
    """InfoNCE of scores ``left right^T`` in two sweeps over their blocks [R, B].

    The first sweep takes the log-sum-exp of every row, which lies in one block, and of every column, which adds up over
    blocks. The second computes each block again, turns it into dL/dS and multiplies that with the other side. Where all
    rows are one block, it is kept from the first sweep to the second. Memory is R x B for a block and B x E for each gradient;
    with several blocks that to `right` is a sum, for which what a block adds to it is another B x E.

    Of several ranks, which all have the same rows, each takes the blocks of its share of the rows of `left`. Log-sum-exps,
    loss and gradients come out whole on each.

    Args:
        left: Unit rows [B, E] divided by the temperature, in the type of the factors.
        right: Their partners [B, E], in the same type.
        elements: Scores of a block, at most; one row is the least.
        to_left: Whether the gradient with respect to `left` is wanted.
        to_right: Whether that to `right` is.
        among: Which ranks do it together.

    Returns:
        The loss, a scalar, and both gradients [B, E], or None.
    """
    batch = len(left)
    own = among.share(batch)
    starts = range(own.start, own.stop, max(1, min(batch, elements // batch)))
    fused = kernels if kernels.work_on(left) else blocks
    rows, positives, columns = [], [], None
    for start in starts:
        scores = product(left[start : min(start + starts.step, own.stop)], right.T)
        by_row, by_column = fused.log_sums(scores)
        rows.append(by_row)
        columns = by_column if columns is None else torch.logaddexp(columns, by_column)
        positives.append(scores.diagonal(start).clone())
    kind = torch.promote_types(left.dtype, torch.float32)
    if columns is None:  # a rank may have no row
        columns = right.new_full((batch,), -torch.inf, dtype=kind)
    columns = among.log_sum_exp(columns)
    losses = (_joined(rows, columns) + columns[own]) / 2 - _joined(positives, columns)
    loss = among.gather(losses, batch).mean()
    # A single block is all of the gradient. Several are written where they belong, so that it is not held twice.
    of_left = (
        left.new_empty((own.stop - own.start, right.shape[1]), dtype=kind) if to_left and len(starts) != 1 else None
    )
    of_right = None
    for start, by_row in zip(starts, rows, strict=True) if to_left or to_right else ():
        some = slice(start, min(start + starts.step, own.stop))
        if len(starts) > 1:
            scores = product(left[some], right.T)
        outer = fused.gradient(scores, by_row, columns, start, left.dtype)
        if to_left:
            found = product(outer, right)
            if of_left is None:
                of_left = found
            else:
                of_left.narrow(0, start - own.start, len(found)).copy_(found)
        if to_right:
            found = product(outer.T, left[some])
            of_right = found if of_right is None else of_right.add_(found)
    if to_right and of_right is None:
        of_right = torch.zeros_like(right, dtype=kind)
    return (
        loss,
        among.gather(of_left, batch) if of_left is not None else None,
        among.sum(of_right) if of_right is not None else None,
    )


@torch.library.custom_op("mcr::info_nce", mutates_args=())
def _swept(left: Tensor, right: Tensor, elements: int, to_left: bool, to_right: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`swept` as one operation that the compiler does not look into: its kernels are written by hand. Unwanted gradients are empty."""
    loss, *found = swept(left, right, elements, to_left, to_right)
    return loss, *(loss.new_empty(0) if each is None else each for each in found)  # type: ignore[return-value]


@_swept.register_fake
def _(left: Tensor, right: Tensor, elements: int, to_left: bool, to_right: bool) -> tuple[Tensor, ...]:
    kind = torch.promote_types(left.dtype, torch.float32)
    shapes = (), left.shape if to_left else (0,), right.shape if to_right else (0,)
    return tuple(left.new_empty(shape, dtype=kind) for shape in shapes)


def _opaque(left: Tensor, right: Tensor, elements: int, to_left: bool, to_right: bool) -> Swept:
    loss, of_left, of_right = _swept(left, right, elements, to_left, to_right)
    return loss, of_left if to_left else None, of_right if to_right else None


def _joined(found: list[Tensor], like: Tensor) -> Tensor:
    """What was found for each block; a rank may have had none."""
    if len(found) == 1:
        return found[0]
    return torch.cat(found) if found else like[:0]
