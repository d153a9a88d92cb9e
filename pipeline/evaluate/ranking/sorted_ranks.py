"""Ranks of many relevant rows per query, as where every sample of a class is right: one sort instead of a count for each.

Scores are defined as in `ranking`: the float32 nearest to the inner product of the float32 rows.
"""

import numpy as np
import torch

from pipeline.evaluate.ranking.counting import Counts, finite_rows
from pipeline.evaluate.ranking.positives import ABSENT, Positives

TILE_SCORES = 2**23


def rank_by_sorting(queries: np.ndarray, gallery: np.ndarray, positives: Positives, device: str = "cpu") -> Counts:
    """What `ranking.rank` gives for `queries` [Q, D] and `gallery` [N, D], in time that hardly grows with the positives.

    Raises:
        UserError: An embedding is not finite.
    """
    first, second = finite_rows(queries, "queries", device).double(), finite_rows(gallery, "gallery", device).double()
    rows = max(1, TILE_SCORES // max(len(second), positives.columns.shape[1]))
    blocks = [
        _block((first[start : start + rows] @ second.T).float(), positives.columns[start : start + rows])
        for start in range(0, len(first), rows)
    ]
    above, tied, relevant_above, relevant_tied = (np.concatenate(field) for field in zip(*blocks, strict=True))
    return Counts(above, tied, relevant_above, relevant_tied, positives.columns != ABSENT, len(gallery))


def _block(scores: torch.Tensor, columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Counts [B, P] of each relevant row in `scores` [B, N]: above and tied, among all and among the relevant ones."""
    places = torch.from_numpy(columns).to(scores.device)
    valid = places != ABSENT
    # An absent row is below everything, so that it counts for none.
    own = scores.gather(1, places.clamp(min=0)).masked_fill(~valid, -torch.inf)
    found = [*_above_and_tied(scores, own), *_above_and_tied(own, own)]
    return tuple(torch.where(valid, count, 0).cpu().numpy() for count in found)


def _above_and_tied(among: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ordered = among.sort(dim=1).values
    upper = torch.searchsorted(ordered, own.contiguous(), right=True)
    return among.shape[1] - upper, upper - torch.searchsorted(ordered, own.contiguous())
