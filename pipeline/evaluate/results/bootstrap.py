"""95 % percentile intervals over resampled items.

The item is what is resampled, not the query: both directions of a retrieval task, and all captions of one image,
rise and fall together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

QUANTILES = (0.025, 0.975)
CHUNK_WEIGHTS = 2**23

Statistic = Literal["mean", "median"]


class Measure(Protocol):
    """A number that follows from items, and what it would be for other draws of them."""

    def value(self) -> float:
        """The number itself."""
        ...

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The number for each resample [C]; row c of `weights` [C, I] says how often each item was drawn."""
        ...


@dataclass(frozen=True)
class Sample:
    """Values of one metric, one per query.

    Attributes:
        values: [Q].
        items: Item of each query [Q], numbered from 0.
        statistic: What summarises the values.
    """

    values: np.ndarray
    items: np.ndarray
    statistic: Statistic = "mean"

    def value(self) -> float:
        """The summary of the whole sample."""
        return float(np.mean(self.values) if self.statistic == "mean" else np.median(self.values))

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The summary of each resample [C]; NaN where it holds no query of this self."""
        if self.statistic == "mean":
            items = weights.shape[1]
            queries = np.bincount(self.items, minlength=items)
            sums = np.bincount(self.items, self.values, minlength=items)
            with np.errstate(invalid="ignore"):
                return np.asarray((weights @ sums) / (weights @ queries))
        order = np.argsort(self.values, kind="stable")
        reached = weights[:, self.items[order]].cumsum(1)
        total = reached[:, -1]
        values = self.values[order]
        # The middle of an even number of draws lies between two of them.
        places = (np.floor((total + 1) / 2), np.floor(total / 2) + 1)
        middle = [values[np.minimum((reached < place[:, None]).sum(1), len(values) - 1)] for place in places]
        return np.where(total > 0, (middle[0] + middle[1]) / 2, np.nan)


def resample(measures: Sequence[Sequence[Measure]], items: int, resamples: int, seed: int) -> list[np.ndarray]:
    """What each number would be for `resamples` draws of the items [R]; each is the mean of one or more measures.

    Every number sees the same draws, so that the difference of two of them is a paired one: it has an interval of its
    own, most often far narrower than two intervals side by side suggest.

    Args:
        measures: M numbers, each the mean of one or more measures (its directions).
        items: Items I from which I are drawn with replacement.
        resamples: How often.
        seed: Of the generator of the draws.
    """
    drawn: list[list[np.ndarray]] = [[] for _ in measures]
    for weights in _weights(items, resamples, seed):
        for measure, found in zip(measures, drawn, strict=True):
            found.append(np.mean([sample.resampled(weights) for sample in measure], axis=0))
    return [np.concatenate(found) for found in drawn]


def interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a number, or of a difference, from its resamples [R]."""
    low, high = np.nanquantile(resampled, QUANTILES)
    return float(low), float(high)


def _weights(items: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each item is drawn, in chunks [C, I] of the resamples."""
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_WEIGHTS // items)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        draws = generator.integers(items, size=(count, items)) + items * np.arange(count)[:, None]
        yield np.bincount(draws.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)
