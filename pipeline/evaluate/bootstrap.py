"""95 % percentile intervals over resampled items.

The item is what is resampled, not the query: both directions of a retrieval task, and all captions of one image,
rise and fall together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

QUANTILES = (0.025, 0.975)
CHUNK_WEIGHTS = 2**23

Statistic = Literal["mean", "median"]


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


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def intervals(measures: Sequence[Sequence[Sample]], items: int, resamples: int, seed: int) -> list[tuple[float, float]]:
    """The interval of each measure; a measure is the mean of the summaries of its samples (its directions).

    Every measure sees the same resamples, so that two of them can be compared.

    Args:
        measures: M measures of one or more samples each.
        items: Items I from which I are drawn with replacement.
        resamples: How often.
        seed: Of the generator of the draws.
    """
    drawn: list[list[np.ndarray]] = [[] for _ in measures]
    for weights in _weights(items, resamples, seed):
        for measure, found in zip(measures, drawn, strict=True):
            found.append(np.mean([_resampled(sample, weights) for sample in measure], axis=0))
    limits = [np.nanquantile(np.concatenate(found), QUANTILES) for found in drawn]
    return [(float(low), float(high)) for low, high in limits]


def paired_difference(
    first: Sequence[Sample], second: Sequence[Sample], items: int, resamples: int, seed: int
) -> Interval:
    """First minus second method on the same items: the interval of the difference, not a difference of intervals.

    A method is given by one or more samples (its directions), of which the mean is compared.
    """
    differences = []
    for weights in _weights(items, resamples, seed):
        means = [np.mean([_resampled(sample, weights) for sample in samples], axis=0) for samples in (first, second)]
        differences.append(means[0] - means[1])
    low, high = np.nanquantile(np.concatenate(differences), QUANTILES)
    values = [float(np.mean([sample.value() for sample in samples])) for samples in (first, second)]
    return Interval(values[0] - values[1], float(low), float(high))


def _weights(items: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each item is drawn, in chunks [C, I] of the resamples."""
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_WEIGHTS // items)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        draws = generator.integers(items, size=(count, items)) + items * np.arange(count)[:, None]
        yield np.bincount(draws.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)


def _resampled(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """The summary of each resample [C]; NaN where it holds no query of this sample."""
    if sample.statistic == "mean":
        items = weights.shape[1]
        queries = np.bincount(sample.items, minlength=items)
        sums = np.bincount(sample.items, sample.values, minlength=items)
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ sums) / (weights @ queries))
    order = np.argsort(sample.values, kind="stable")
    reached = weights[:, sample.items[order]].cumsum(1)
    total = reached[:, -1]
    values = sample.values[order]
    # The middle of an even number of draws lies between two of them.
    places = (np.floor((total + 1) / 2), np.floor(total / 2) + 1)
    middle = [values[np.minimum((reached < place[:, None]).sum(1), len(values) - 1)] for place in places]
    return np.where(total > 0, (middle[0] + middle[1]) / 2, np.nan)
