"""Two hops: through the overlapping modality, which both spaces embed, a sample of one space reaches the other."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import entropy

from pipeline.evaluate.baselines.link_data import LinkData, evenly, mean
from pipeline.evaluate.views import Scorer, Views, unit

HOP_TEMPERATURE = 0.01
# What the bridge and coupling profile by; solved on so many samples of a memory.
HOP_PERPLEXITY = 40
SOLVED_ROWS = 256
# Flatter than a hop's: an average over dozens of overlap items keeps what one caption leaves out.
BRIDGE_TEMPERATURE = 0.05
BLOCK_SCORES = 2**24
# The mean profile of a memory needs no more samples than this.
MEAN_ROWS = 8192

Hop = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def two_hop_nearest(data: LinkData) -> Scorer:
    """The query becomes its nearest overlap item, read in the other space."""
    return _query_hops(data, nearest)


def two_hop_softmax(data: LinkData) -> Scorer:
    """The query becomes the softmax-weighted mean of the overlap items, read in the other space."""
    return _query_hops(data, lambda rows, keys, values: profile(rows, keys, values, HOP_TEMPERATURE))


def two_hop_perplexity(data: LinkData) -> Scorer:
    """The same with softmaxes that spread over `HOP_PERPLEXITY` overlap items, whatever the spaces' cosines are like."""
    here, there = data.overlap
    onward = flattened(evenly(data.memories[0], SOLVED_ROWS), here, HOP_PERPLEXITY)
    back = flattened(evenly(data.memories[1], SOLVED_ROWS), there, HOP_PERPLEXITY)
    return lambda first, second: Views(
        (unit(profile(first, here, there, onward)), unit(second)),
        (unit(profile(second, there, here, back)), unit(first)),
    )


def _query_hops(data: LinkData, hop: Hop) -> Scorer:
    here, there = data.overlap
    return lambda first, second: Views(
        (unit(hop(first, here, there)), unit(second)), (unit(hop(second, there, here)), unit(first))
    )


def training_free_bridge(data: LinkData) -> Scorer:
    """Two-way softmax profiles, centred: the strongest connection known without a projector.

    With at(v) the profile of v in the other space and ct(a) the profile of a in this one, the score is
    cos(at(v) - m_at, a - m_a) + cos(v - m_v, ct(a) - m_ct): one inner product of concatenated vectors. Every mean
    m is one over a memory or over a memory's profiles.
    """
    here, there = data.overlap

    def onward(rows: np.ndarray) -> np.ndarray:
        return unit(profile(rows, here, there, BRIDGE_TEMPERATURE))

    def back(rows: np.ndarray) -> np.ndarray:
        return unit(profile(rows, there, here, BRIDGE_TEMPERATURE))

    first_memory, second_memory = (evenly(memory, MEAN_ROWS) for memory in data.memories)
    m_first, m_second = mean(data.memories[0]), mean(data.memories[1])
    m_onward, m_back = mean(onward(first_memory)), mean(back(second_memory))

    def score(first: np.ndarray, second: np.ndarray) -> Views:
        left = np.hstack([unit(first - m_first), unit(onward(first) - m_onward)])
        right = np.hstack([unit(back(second) - m_back), unit(second - m_second)])
        return Views((left / np.float32(np.sqrt(2)), right / np.float32(np.sqrt(2))))

    return score


def profile(rows: np.ndarray, keys: np.ndarray, values: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(rows keys' / temperature) values, in blocks of rows.

    Args:
        rows: [N, D1].
        keys: Overlapping modality in the space of `rows`, [T, D1].
        values: The same items in the other space, [T, D2].
        temperature: Of the softmax.
    """
    made = np.empty((len(rows), values.shape[1]), np.float32)
    step = max(1, BLOCK_SCORES // len(keys))
    for start in range(0, len(rows), step):
        scores = rows[start : start + step] @ keys.T / np.float32(temperature)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        made[start : start + step] = (weights @ values) / weights.sum(1, keepdims=True)
    return made


def flattened(rows: np.ndarray, keys: np.ndarray, perplexity: float) -> float:
    """The temperature at which the mean entropy of softmax(rows keys' / temperature) is log `perplexity`."""
    scores = (rows @ keys.T).astype(np.float64)

    def surplus(log_temperature: float) -> float:
        return float(entropy(softmax(scores / np.exp(log_temperature), axis=1), axis=1).mean() - np.log(perplexity))

    # Fewer items than that spread as evenly as they can; more than that which are equal, as captions of few classes, cannot
    # spread less.
    lowest, highest = np.log(1e-4), np.log(1e2)
    if surplus(lowest) >= 0:
        return float(np.exp(lowest))
    return float(np.exp(brentq(surplus, lowest, highest, xtol=1e-4) if surplus(highest) > 0 else highest))


def nearest(rows: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The `values` [N, D2] of the most similar of the `keys`."""
    step = max(1, BLOCK_SCORES // len(keys))
    found = [(rows[start : start + step] @ keys.T).argmax(1) for start in range(0, len(rows), step)]
    return np.asarray(values[np.concatenate(found)])
