"""Numbers about the shape of a space in which two modalities meet, each with what it would be for other items.

`Gap` after Liang et al. (2022), "Mind the Gap"; alignment and `Uniformity` after Wang & Isola (2020), equations 1 and 2
with alpha = 2 and t = 2; `Skewness` of the k-occurrence as hubness after Radovanovic et al. (2010).
"""

from dataclasses import dataclass

import numpy as np

TILE_ROWS = 1024


@dataclass(frozen=True)
class Gap:
    """Distance between the mean embeddings of two modalities.

    Attributes:
        first: Unit rows [N, E] of the first modality.
        second: Unit rows [M, E] of the second.
        items: Items of the rows of both, [N] and [M].
    """

    first: np.ndarray
    second: np.ndarray
    items: tuple[np.ndarray, np.ndarray]

    def value(self) -> float:
        """The distance, from 0 to 2."""
        return float(np.linalg.norm(self.first.mean(0, np.float64) - self.second.mean(0, np.float64)))

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The distance for each resample [C] of the items."""
        means = []
        for rows, items in zip((self.first, self.second), self.items, strict=True):
            drawn = weights[:, items]
            with np.errstate(invalid="ignore"):
                means.append(drawn @ rows.astype(np.float64) / drawn.sum(1, keepdims=True))
        return np.asarray(np.linalg.norm(means[0] - means[1], axis=1))


@dataclass(frozen=True)
class Uniformity:
    """Logarithm of the mean Gaussian potential exp(-2 |x - y|^2) over pairs of different rows; lower is more uniform.

    A resample is taken to first order (each row's own mean potential), because a row that is drawn twice is not a pair.

    Attributes:
        potentials: Of each row its mean over all other rows [N].
        items: Items of the rows [N].
    """

    potentials: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, items: np.ndarray) -> "Uniformity":
        """The uniformity of unit rows [N, E], N at least 2."""
        rows = rows.astype(np.float64)
        squares = (rows**2).sum(1)
        sums = np.empty(len(rows))
        for start in range(0, len(rows), TILE_ROWS):
            block = slice(start, start + TILE_ROWS)
            distances = np.maximum(squares[block, None] + squares - 2 * rows[block] @ rows.T, 0)
            sums[block] = np.exp(-2 * distances).sum(1) - 1  # without the pair of the row with itself
        return cls(sums / (len(rows) - 1), items)

    def value(self) -> float:
        """The logarithm, from -4 to 0 for pairs of opposite and of equal rows."""
        return float(np.log(self.potentials.mean()))

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The logarithm for each resample [C] of the items, to first order."""
        mean = self.potentials.mean()
        drawn = weights[:, self.items]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.log(mean) + 2 * (drawn @ self.potentials / drawn.sum(1) / mean - 1))


@dataclass(frozen=True)
class Skewness:
    """Third standardised moment of values of rows; of the k-occurrence, hubness: large when few rows are near to all.

    Attributes:
        values: Of the rows [N].
        items: Items of the rows [N].
    """

    values: np.ndarray
    items: np.ndarray

    def value(self) -> float:
        """The skewness; 0 where all values are equal."""
        return float(_skewness(self.values[None], np.ones((1, len(self.values))))[0])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The skewness for each resample [C] of the items."""
        return _skewness(self.values[None], weights[:, self.items])


def _skewness(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = values - (weights * values).sum(1, keepdims=True) / total
        variance = (weights * centred**2).sum(1) / total[:, 0]
        third = (weights * centred**3).sum(1) / total[:, 0]
        return np.where(variance > 0, third / variance**1.5, np.where(total[:, 0] > 0, 0.0, np.nan))


def occurrences(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """How many queries [Q, E] have each gallery row [N, E] among their `k` nearest by inner product, [N]."""
    k = min(k, len(gallery))
    counts = np.zeros(len(gallery))
    for start in range(0, len(queries), TILE_ROWS):
        scores = queries[start : start + TILE_ROWS].astype(np.float64) @ gallery.astype(np.float64).T
        nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        counts += np.bincount(nearest.ravel(), minlength=len(gallery))
    return counts
