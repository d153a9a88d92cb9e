"""Projectors whose rows are divided among the ranks. What goes in and what comes out is whole, and the same on every rank.

In both directions: the gradient that arrives is the whole one, and so is the one that is passed on, of rows as of weights. That takes
three pairs of operations, each the other's way back: whole rows become this rank's share and shares become whole rows; a sum over
the ranks has the sum of its gradients; weights, used by every rank for its own rows, get the sum of what the ranks found.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.train.ranks.together import Ranks


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, among: Ranks) -> Tensor:
        ctx.among, ctx.count = among, len(rows)
        return rows[among.share(len(rows))].clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        return ctx.among.gather(outer[0], ctx.count), None


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, count: int, among: Ranks) -> Tensor:
        ctx.among = among
        return among.gather(rows, count)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        return outer[0][ctx.among.share(len(outer[0]))], None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, each: Tensor, among: Ranks) -> Tensor:
        ctx.among = among
        return among.sum(each)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        return ctx.among.sum(outer[0]), None


class _Shared(torch.autograd.Function):
    """Weights as every rank uses them; one exchange for the gradients of all."""

    @staticmethod
    def forward(ctx: Any, among: Ranks, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.among = among
        ctx.set_materialize_grads(False)  # what a way through the projector does not use needs no exchange
        return tuple(weight.view_as(weight) for weight in weights)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        found = [gradient for gradient in outer if gradient is not None]
        total = ctx.among.sum(torch.cat([gradient.reshape(-1) for gradient in found]))
        sums = iter(total.split([gradient.numel() for gradient in found]))
        return None, *(None if gradient is None else next(sums).view_as(gradient) for gradient in outer)


class WholeBatchNorm(nn.BatchNorm1d):
    """BatchNorm by the statistics of the rows of all ranks. (torch.nn.SyncBatchNorm knows GPUs only.)"""

    among: Ranks

    @classmethod
    def of(cls, layer: nn.BatchNorm1d, among: Ranks) -> "WholeBatchNorm":
        """`layer`, with the same weights and statistics under the same names."""
        made = cls(layer.num_features, layer.eps, layer.momentum)
        made._parameters, made._buffers, made.training = layer._parameters, layer._buffers, layer.training
        made.among = among
        return made

    def forward(self, rows: Tensor) -> Tensor:
        """Normalise this rank's rows [b, H]; in training running statistics move as they would on one rank."""
        if not self.training:
            return super().forward(rows)
        exact = rows.to(torch.promote_types(rows.dtype, torch.float32))
        sums = _Sum.apply(torch.cat([exact.sum(0), exact.new_full((1,), len(rows))]), self.among)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = exact - mean
        variance = _Sum.apply(centred.square().sum(0), self.among) / count
        with torch.no_grad():
            self._follow(mean, variance * (count / (count - 1)))
        return (centred * (variance + self.eps).rsqrt() * self.weight + self.bias).to(rows.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class _Way(nn.Module):
    """One of the ways through a projector, as a module: its weights can then be replaced for a call."""

    def __init__(self, projector: nn.Module, method: Callable[..., Tensor]) -> None:
        super().__init__()
        self.projector, self.method = projector, method

    def forward(self, rows: Tensor) -> Tensor:
        return self.method(self.projector, rows)


def divide(projector: nn.Module, among: Ranks) -> None:
    """Let `projector` divide its rows among the ranks from now on; nothing changes for one rank."""
    if among.alone:
        return
    for parent in list(projector.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.BatchNorm1d:
                setattr(parent, name, WholeBatchNorm.of(layer, among))
    for name in getattr(projector, "WAYS", ("forward",)):
        setattr(projector, name, _divided(_Way(projector, getattr(type(projector), name)), among))


def _divided(way: _Way, among: Ranks) -> Callable[[Tensor], Tensor]:
    def project(rows: Tensor) -> Tensor:
        names, weights = zip(*way.named_parameters(), strict=True)
        shared = dict(zip(names, _Shared.apply(among, *weights), strict=True))
        made = functional_call(way, shared, (_Share.apply(rows, among),))
        whole: Tensor = _Whole.apply(made, len(rows), among)
        return whole

    return project
