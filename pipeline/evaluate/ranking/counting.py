"""Rank by counting, tile by tile: no sort, and never the whole Q x N matrix.

Three traps of rank counting are closed here:

* A NaN compares false with everything, so a NaN query would score a *perfect* rank: refused.
* Equal scores (a collapsed projector, duplicates in the gallery) would all count as hits, or all as misses: ties
  are counted, and the metrics take the expectation over their random order.
* A float32 product depends on the tile that it was computed in, so ties would be decided by rounding. Scores are
  therefore *defined* as the float32 nearest to the inner product of the float32 rows; the fast float32 tile
  decides all comparisons but the few that lie within its own error, and those are computed again in float64.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.evaluate.ranking.positives import ABSENT, Positives
from pipeline.precision import multiplying

TILE_ROWS, TILE_COLUMNS = 1024, 8192
# Several times the error that a float32 product of D terms shows, in units of 2^-24 x the rows' norms x sqrt(D).
ERROR_UNITS = 8.0
# Above this share of undecided comparisons (identical embeddings), one float64 tile is cheaper than single products.
DENSE_SHARE = 1 / 32
GATHER_ROWS = 65_536


@dataclass(frozen=True)
class Counts:
    """Where the relevant rows of each query stand in its ranking.

    Attributes:
        above: Gallery rows that score higher than the relevant row [Q, P].
        tied: Gallery rows that score the same, itself included [Q, P].
        relevant_above: Relevant rows among `above` [Q, P].
        relevant_tied: Relevant rows among `tied` [Q, P].
        valid: Whether the slot holds a relevant row at all [Q, P].
        gallery: Rows N of the gallery.
    """

    above: np.ndarray
    tied: np.ndarray
    relevant_above: np.ndarray
    relevant_tied: np.ndarray
    valid: np.ndarray
    gallery: int


@multiplying()
def rank(
    queries: np.ndarray,
    gallery: np.ndarray,
    positives: Positives,
    tile: tuple[int, int] = (TILE_ROWS, TILE_COLUMNS),
    device: str = "cpu",
) -> Counts:
    """Count the ranks of `positives` among the inner products of `queries` [Q, D] with `gallery` [N, D].

    Raises:
        UserError: An embedding is not finite.
    """
    first, second = finite_rows(queries, "queries", device), finite_rows(gallery, "gallery", device)
    counter = _Counter(first, second, positives)
    _sweep(first, second, counter, None, tile)
    return counter.counts()


@multiplying()
def rank_both(
    first: np.ndarray,
    second: np.ndarray,
    positives: Positives,
    tile: tuple[int, int] = (TILE_ROWS, TILE_COLUMNS),
    device: str = "cpu",
) -> tuple[Counts, Counts]:
    """Both directions of a symmetric score from one sweep: each tile is counted along both axes.

    Args:
        first: Embeddings [Q, D].
        second: Embeddings [N, D].
        positives: Rows of `second` that are relevant for each row of `first`; read backwards for the other direction.
        tile: Rows and columns of a tile; changes memory and speed, never a count.
        device: Where the products are computed.

    Raises:
        UserError: An embedding is not finite.
    """
    left, right = finite_rows(first, "queries", device), finite_rows(second, "gallery", device)
    forward, backward = _Counter(left, right, positives), _Counter(right, left, positives.transposed())
    _sweep(left, right, forward, backward, tile)
    return forward.counts(), backward.counts()


class _Counter:
    """Counts of one direction, accumulated over tiles."""

    def __init__(self, queries: torch.Tensor, gallery: torch.Tensor, positives: Positives) -> None:
        if positives.columns.shape[0] != len(queries) or positives.gallery != len(gallery):
            raise ValueError("the positives describe other queries or another gallery")
        if queries.device != gallery.device:
            raise ValueError(f"queries on {queries.device}, gallery on {gallery.device}: different devices")
        self.queries, self.gallery = queries, gallery
        self.columns = torch.from_numpy(positives.columns).to(queries.device)
        self.valid = self.columns != ABSENT
        # Nothing exceeds or equals the score of an absent positive.
        self.scores = torch.full(self.columns.shape, torch.inf, device=queries.device)
        rows, slots = self.valid.nonzero(as_tuple=True)
        self.scores[rows, slots] = self._exact(rows, self.columns[rows, slots])
        norms = queries.norm(dim=1).max() * gallery.norm(dim=1).max()
        self.error = float(norms) * ERROR_UNITS * math.sqrt(queries.shape[1]) * 2.0**-24
        self.above = torch.zeros_like(self.columns)
        self.tied = self.valid.long()

    def add(self, scores: torch.Tensor, row: int, column: int) -> None:
        """Count one tile [B, C] of scores whose upper left corner is (`row`, `column`)."""
        rows = slice(row, row + len(scores))
        for slot in range(self.columns.shape[1]):
            own = self.columns[rows, slot] - column
            inside = (own >= 0) & (own < scores.shape[1]) & self.valid[rows, slot]
            low = (self.scores[rows, slot] - self.error)[:, None]
            high = (self.scores[rows, slot] + self.error)[:, None]
            above = _count(scores > high)
            near = _count(scores >= low) - above - inside.long()
            self.above[rows, slot] += above
            undecided = near.nonzero()[:, 0]
            if len(undecided):
                band = scores[undecided]
                band = (band >= low[undecided]) & (band <= high[undecided])
                held = inside[undecided].nonzero()[:, 0]
                band[held, own[undecided][held]] = False
                self._settle(band, undecided + row, column, slot)

    def _settle(self, band: torch.Tensor, rows: torch.Tensor, column: int, slot: int) -> None:
        """Decide the comparisons `band` [U, C] of queries `rows` [U] exactly."""
        at, offset = band.nonzero(as_tuple=True)
        if len(at) > DENSE_SHARE * band.numel():
            gallery = self.gallery[column : column + band.shape[1]].double()
            exact = (self.queries[rows].double() @ gallery.T).float()[at, offset]
        else:
            exact = self._exact(rows[at], offset + column)
        threshold = self.scores[rows[at], slot]
        self.above[:, slot].index_add_(0, rows[at], (exact > threshold).long())
        self.tied[:, slot].index_add_(0, rows[at], (exact == threshold).long())

    def _exact(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Scores [K] of single pairs by the definition."""
        parts = [torch.empty(0, device=self.queries.device)]
        for start in range(0, len(rows), GATHER_ROWS):
            row, column = rows[start : start + GATHER_ROWS], columns[start : start + GATHER_ROWS]
            parts.append((self.queries[row].double() * self.gallery[column].double()).sum(1).float())
        return torch.cat(parts)

    def counts(self) -> Counts:
        """The counts, with the relevant rows counted among themselves."""
        relevant_above, relevant_tied = torch.zeros_like(self.above), torch.zeros_like(self.above)
        for slot in range(self.columns.shape[1]):
            own = self.scores[:, slot, None]
            relevant_above[:, slot] = ((self.scores > own) & self.valid).sum(1)
            relevant_tied[:, slot] = ((self.scores == own) & self.valid).sum(1)
        fields = (self.above, self.tied, relevant_above, relevant_tied, self.valid)
        above, tied, among_above, among_tied, valid = (field.cpu().numpy() for field in fields)
        return Counts(above, tied, among_above, among_tied, valid, len(self.gallery))


def _count(mask: torch.Tensor) -> torch.Tensor:
    """True entries of each row of `mask` [B, C]; NumPy counts bytes several times faster than torch on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1))
    return mask.sum(1)


def _sweep(
    first: torch.Tensor, second: torch.Tensor, forward: _Counter, backward: _Counter | None, tile: tuple[int, int]
) -> None:
    for row in range(0, len(first), tile[0]):
        block = first[row : row + tile[0]]
        for column in range(0, len(second), tile[1]):
            scores = block @ second[column : column + tile[1]].T
            forward.add(scores, row, column)
            if backward is not None:
                backward.add(scores.T, column, row)


def finite_rows(embeddings: np.ndarray, side: str, device: str) -> torch.Tensor:
    """The embeddings [N, D] as float32 on `device`.

    Raises:
        UserError: One of them is not finite.
    """
    rows = torch.as_tensor(embeddings, dtype=torch.float32).to(device)
    # Norms catch what overflows in the product as well as NaN and infinity.
    bad = (~torch.isfinite(rows.norm(dim=1))).nonzero()[:, 0]
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(rows)} embeddings of the {side} are not finite (first: row {int(bad[0])}).",
            "A NaN would count as a perfect hit: look for a diverged training or a damaged store.",
        )
    return rows
