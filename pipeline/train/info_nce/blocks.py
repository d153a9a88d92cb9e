"""What InfoNCE does with a block of scores beside multiplying it, in plain torch: the definition of `kernels`."""

import torch
from torch import Tensor


def log_sums(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exps of the rows [R] and of the columns [B] of a block [R, B]."""
    return torch.logsumexp(scores, 1), torch.logsumexp(scores, 0)


def gradient(scores: Tensor, rows: Tensor, columns: Tensor, start: int, dtype: torch.dtype) -> Tensor:
    """dL/dS of a block: (softmax over rows + softmax over columns) / 2B - I / B. It may write over `scores`.

    Args:
        scores: The block [R, B]; its first row is row `start` of all.
        rows: Log-sum-exps of its rows [R].
        columns: Log-sum-exps of all columns [B].
        start: Row of the first positive.
        dtype: Type of the result.
    """
    batch = len(columns)
    by_row = (scores - rows[:, None]).exp_()
    made = scores.sub_(columns).exp_().add_(by_row).mul_(0.5 / batch)
    made.diagonal(start).sub_(1 / batch)
    return made.to(dtype)
