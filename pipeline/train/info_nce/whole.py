"""Symmetric InfoNCE with the whole B x B matrix of scores at once: what a CPU does with ordinary batches."""

from typing import Any

import torch
from torch import Tensor


class WholeInfoNCE(torch.autograd.Function):
    """Symmetric InfoNCE with its gradient computed in the forward pass.

    With S = A B^T / tau the gradient is dL/dS = (softmax over rows + softmax over columns) / 2B - I / B. Both softmaxes
    fall out of the log-sum-exps of the loss, so one B x B matrix is kept and half of what autograd does is saved
    (``benchmarks/train.py``).
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, temperature: float) -> Tensor:
        """The loss, a scalar, of unit rows `first` [B, E] and their partners `second` [B, E]."""
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
        """The gradients, times that of the loss."""
        gradient, first, second = ctx.saved_tensors
        wanted = ctx.needs_input_grad  # The targets of Ex-MCR are fixed.
        return (
            outer[0] * (gradient @ second) if wanted[0] else None,
            outer[0] * (gradient.T @ first) if wanted[1] else None,
            None,
        )
