"""Retrieval metrics per query, in closed form also where scores are tied.

Where several gallery rows score the same, a metric is its expectation over all orders of the tied rows. A method
that scores everything equally therefore gets exactly the chance level: that is how `chance` is defined here.
With one relevant row among N, chance is k/N for R@k, H_N/N for mAP and (N+1)/2 for the rank.
"""

import numpy as np

from pipeline.evaluate.ranking.counting import Counts


def hits(counts: Counts, k: int) -> np.ndarray:
    """Probability [Q] that a relevant row is among the first `k`.

    The best relevant row stands in a group of n tied rows with r relevant ones below m others: the first k hold
    d = min(k - m, n) of the group, and miss it with probability C(n-r, d) / C(n, d).
    """
    above, tied, relevant = _best(counts)
    draws = np.clip(k - above, 0, tied)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, counts.gallery + 1)))])
    others = tied - relevant
    missable = draws <= others
    safe = np.where(missable, draws, 0)
    missed = np.exp(logs[others] - logs[others - safe] - logs[tied] + logs[tied - safe])
    # One relevant row is by far the commonest case, and there d/n is exact.
    return np.where(relevant == 1, draws / tied, np.where(missable, 1.0 - missed, 1.0))


def best_rank(counts: Counts) -> np.ndarray:
    """Expected rank [Q] of the first relevant row, m + (n+1)/(r+1): with one relevant row, ties count half."""
    above, tied, relevant = _best(counts)
    return np.asarray(above + (tied + 1) / (relevant + 1))


def average_precision(counts: Counts) -> np.ndarray:
    """Expected average precision [Q] over all relevant rows; with one, the mean reciprocal rank.

    A tied group of n rows, r of them relevant, below m rows of which R are relevant, puts a relevant row at each of
    its n places with probability r/n, and then finds on average R + 1 + (i-1)(r-1)/(n-1) relevant rows down to
    place i. Divided by the rank m + i and summed this is b n + (R + 1 - b (m+1)) (H_{m+n} - H_m), b = (r-1)/(n-1).
    """
    m, n = counts.above, np.maximum(counts.tied, 1)
    slope = np.where(n > 1, (counts.relevant_tied - 1) / np.maximum(n - 1, 1), 0.0)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, counts.gallery + 1))])
    # A single row needs no sum, and the difference of two long sums would cost digits.
    spread = np.where(n == 1, 1.0 / (m + 1), harmonic[np.minimum(m + n, counts.gallery)] - harmonic[m])
    precision = (slope * n + (counts.relevant_above + 1 - slope * (m + 1)) * spread) / n
    return np.asarray(np.where(counts.valid, precision, 0.0).sum(1) / counts.valid.sum(1))


def all_tied(counts: Counts) -> Counts:
    """The counts of a method that scores every row equally."""
    relevant = np.repeat(counts.valid.sum(1, keepdims=True), counts.valid.shape[1], axis=1)
    nothing = np.zeros_like(relevant)
    everything = np.where(counts.valid, counts.gallery, 0)
    return Counts(nothing, everything, nothing, relevant, counts.valid, counts.gallery)


def _best(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    slot = np.where(counts.valid, counts.above, counts.gallery).argmin(1)
    query = np.arange(len(slot))
    return counts.above[query, slot], counts.tied[query, slot], counts.relevant_tied[query, slot]
