"""What a method makes of the two sides of an evaluation set: embeddings whose inner products are its scores."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Views:
    """Queries and gallery in both directions.

    Most methods score symmetrically. Two hops and a regression do not: there the query travels, and the gallery stays.

    Attributes:
        forward: Queries [N, E] of the first modality and gallery [M, E] of the second.
        backward: Queries [M, F] of the second modality and gallery [N, F] of the first; None if the scores are those
            of `forward`, transposed.
    """

    forward: tuple[np.ndarray, np.ndarray]
    backward: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def directions(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Queries and gallery of both directions."""
        return self.forward, self.backward or (self.forward[1], self.forward[0])


Scorer = Callable[[np.ndarray, np.ndarray], Views]
"""From frozen embeddings of the first [N, D1] and of the second modality [M, D2] to what the method compares."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [N, D] scaled to length one; a row of zeros stays zero, where it ties with everything."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
