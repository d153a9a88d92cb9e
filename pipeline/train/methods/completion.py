"""Semantic completion: noise turns the point of an embedding into a region (C-MCR, section 3.2)."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.train.settings import ScheduleSettings

# The width at which the papers chose the variance; `noise_scaling: dimension` keeps the noise as long as it is there.
REFERENCE_DIMENSION = 512


def completion_variances(settings: ScheduleSettings, widths: Mapping[str, int]) -> dict[str, float]:
    """By space the variance per dimension of its noise.

    Args:
        settings: `noise_variance` at 512 dimensions; with `noise_scaling: dimension` it becomes variance x 512 / D, noise of
            the same expected length.
        widths: Width D of each frozen space.
    """
    variance, scaled = settings.noise_variance, settings.noise_scaling == "dimension"
    return {space: variance * REFERENCE_DIMENSION / width if scaled else variance for space, width in widths.items()}


def draw_noise(rows: int, like: Tensor, variance: float, generator: torch.Generator) -> Tensor:
    """Numbers [rows, D] ~ N(0, 1) for `complete`, D being the width of `like`; none where the variance is 0."""
    if variance == 0:
        return like.new_empty(0)
    return torch.randn(rows, like.shape[1], generator=generator, device=like.device)


def noise_width(drawn: Iterable[tuple[float, float]]) -> int:
    """Numbers that `draw_noise` draws for one item, of the width and the variance of each draw; widths that only a share of
    the items has count by that share.
    """
    return math.ceil(sum(width for width, variance in drawn if variance != 0))


def complete(embeddings: Tensor, variance: float, noise: Tensor) -> Tensor:
    """Normalise(x + theta) with theta ~ N(0, variance I), made of `noise`, see `draw_noise`, for every row of [B, D]."""
    if variance == 0:
        return normalize(embeddings, dim=-1)
    return normalize((noise * math.sqrt(variance)).add_(embeddings), dim=-1)
