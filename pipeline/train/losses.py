"""The losses of C-MCR (arXiv 2305.14381, section 3.3) and Ex-MCR (arXiv 2310.08884)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _SymmetricInfoNCE(torch.autograd.Function):
    """Symmetric InfoNCE with its gradient computed in the forward pass.

    With S = A B^T / tau the gradient is dL/dS = (softmax over rows + softmax over columns) / 2B - I / B. Both softmaxes
    fall out of the log-sum-exps of the loss, so one B x B matrix is kept and half of what autograd does is saved
    (``benchmarks/train.py``).
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, temperature: float) -> Tensor:
        batch = len(first)
        scores = (first / temperature) @ second.T
        positives = scores.diagonal().clone()
        # The running maximum is subtracted: a fixed shift of 1 / temperature underflows at ordinary cosines.
        peak = scores.amax(1, keepdim=True)
        gradient = (scores - peak).exp_()
        total = gradient.sum(1, keepdim=True)
        gradient.div_(total)
        rows = (peak + total.log()).squeeze(1)
        peak = scores.amax(0, keepdim=True)
        scores.sub_(peak).exp_()
        total = scores.sum(0, keepdim=True)
        gradient.add_(scores.div_(total))
        columns = (peak + total.log()).squeeze(0)
        gradient.mul_(0.5 / (batch * temperature)).diagonal().sub_(1 / (batch * temperature))
        ctx.save_for_backward(gradient, first, second)
        return ((rows + columns) / 2 - positives).mean()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gradient, first, second = ctx.saved_tensors
        wanted = ctx.needs_input_grad  # The targets of Ex-MCR are fixed.
        return (
            outer[0] * (gradient @ second) if wanted[0] else None,
            outer[0] * (gradient.T @ first) if wanted[1] else None,
            None,
        )


def symmetric_info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Half the sum of InfoNCE in both directions, mean over the batch, negatives from the batch alone.

    Equations of L_ttc and L_avc: with s_ij = first_i . second_j / temperature,
    L = -1/2B sum_i [ log softmax_j(s_ij)_i + log softmax_j(s_ji)_i ].

    Args:
        first: Unit rows [B, E].
        second: Their partners [B, E], row by row.
        temperature: tau 2 or tau 3.

    Returns:
        The loss, a scalar; gradients flow to both arguments.
    """
    loss: Tensor = _SymmetricInfoNCE.apply(first, second, temperature)
    return loss


def intra_alignment(pairs: Sequence[tuple[Tensor, Tensor]], norm: str) -> Tensor:
    """Intra-MCR alignment L_intra: half the sum over the spaces of the mean distance between paired rows.

    There are no negatives: the repulsive part of InfoNCE is what keeps the gap between modalities open.

    Args:
        pairs: Per space, the projected embeddings [B, E] of its two modalities.
        norm: ``l2``, or ``squared`` for the squared distance.
    """
    return 0.5 * torch.stack([mean_distance(first, second, norm) for first, second in pairs]).sum()


def mean_distance(first: Tensor, second: Tensor, norm: str) -> Tensor:
    """Mean distance between paired rows [B, E]: ``l2``, or ``squared`` for the squared distance."""
    if norm == "squared":
        return (first - second).square().sum(-1).mean()
    return torch.linalg.vector_norm(first - second, dim=-1).mean()
