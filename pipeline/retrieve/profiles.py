"""Samples of two spaces made comparable: each is described in its own space and, by its profile, in the other one.

With C_T and A_T the embeddings of the same texts in CLIP and CLAP, the profile of an image v is what the texts near it
look like in CLAP, at(v) = normalise(softmax(v C_T^T / t1) A_T), and ct(a) is that of a sound a in CLIP. With the means m
of the memories and of their profiles, the score of two samples that never met is

    s(v, a) = cos(at(v) - m_AT, a - m_A) + cos(v - m_V, ct(a) - m_CT).

Without the means the gap between the modalities dominates both terms. The sum is one inner product of concatenated unit
vectors, so that it can be searched and sampled like any memory.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.retrieve.memory.aggregate import aggregate

BLOCK_ROWS = 65_536  # that are centred at a time


@dataclass(frozen=True)
class Profiles:
    """What the texts say about N samples of one memory.

    Attributes:
        vectors: [N, D2], unit rows in the other space.
        neighbours: [N], effective number of texts.
        top_score: [N], cosine of the nearest text.
    """

    vectors: Tensor
    neighbours: Tensor
    top_score: Tensor


def profile(samples: Tensor, texts: Tensor, texts_there: Tensor, temperature: float) -> Profiles:
    """Profiles of `samples` [N, D1]: the softmax over `texts` [T, D1], read in the other space [T, D2]."""
    result = aggregate(samples, texts, (texts_there,), temperature)
    return Profiles(normalize(result.vectors[0], dim=1), result.neighbours, result.top_score)


def features(own_first: bool, samples: Tensor, profiles: Tensor) -> Tensor:
    """Concatenated centred unit rows [N, D1 + D2] whose inner product between two memories is the score s.

    Args:
        own_first: Whether the samples belong to the first space: its coordinates come first on both sides.
        samples: A whole memory [N, D], whose mean is taken away.
        profiles: Its profiles [N, D'], whose mean is taken away.
    """
    first, second = (samples, profiles) if own_first else (profiles, samples)
    made = samples.new_empty(len(samples), first.shape[1] + second.shape[1])
    _centre(first, made[:, : first.shape[1]])
    _centre(second, made[:, first.shape[1] :])
    return made


def centred(rows: Tensor) -> Tensor:
    """Unit rows [N, D] of `rows` without their mean."""
    made = torch.empty_like(rows)
    _centre(rows, made)
    return made


def _centre(rows: Tensor, made: Tensor) -> None:
    """Write unit rows of `rows` [N, D] without their mean into `made` [N, D], a block at a time: a million rows are not copied whole."""
    # float64 sums: the mean of a million float32 rows would lose digits, and the order of the threads would show.
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for some in torch.split(rows, BLOCK_ROWS):
        total += some.sum(0, dtype=torch.float64)
    mean = (total / len(rows)).to(rows.dtype)
    for some, there in zip(torch.split(rows, BLOCK_ROWS), torch.split(made, BLOCK_ROWS), strict=True):
        there.copy_(normalize(some - mean, dim=1))
