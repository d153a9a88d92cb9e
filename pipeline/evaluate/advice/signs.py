"""Signs of a good connection that need no pair: what two unpaired memories look like to each other in the connected space.

They are signs and no measurement: a space can agree with itself on something wrong.
"""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 10


@dataclass(frozen=True)
class Signs:
    """What the memories show.

    Attributes:
        agreement: Share of the ten nearest of a sample that have it among their own ten nearest, both ways.
        reached: Effective share of a gallery that is among somebody's ten nearest: exp of the entropy over its size. Few
            hubs that are near to everything make it small.
    """

    agreement: float
    reached: float


def signs(first: np.ndarray, second: np.ndarray) -> Signs:
    """The signs of two memories [N, E] and [M, E] in a connected space."""
    scores = first @ second.T
    k = min(NEIGHBOURS, *scores.shape)
    onward = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    back = np.argpartition(-scores.T, k - 1, axis=1)[:, :k]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, onward, True, axis=1)
    chosen_back = np.zeros(scores.T.shape, bool)
    np.put_along_axis(chosen_back, back, True, axis=1)
    both = np.count_nonzero(chosen & chosen_back.T)
    agreement = (both / onward.size + both / back.size) / 2
    return Signs(agreement, (_spread(chosen.sum(0)) + _spread(chosen_back.sum(0))) / 2)


def _spread(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / len(counts))
