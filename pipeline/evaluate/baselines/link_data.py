"""What the baselines may know: both embeddings of the overlapping modality, and two memories that share no sample."""

from dataclasses import dataclass

import numpy as np

from pipeline.connect import ProjectorSpec


@dataclass(frozen=True)
class LinkData:
    """The unpaired data of one link, ordered as the two modalities of the task.

    Attributes:
        overlap: The overlapping modality in the first and in the second space, [T, D1] and [T, D2]; row i is one item.
        memories: Unpaired embeddings of the first and of the second modality, [M1, D1] and [M2, D2].
        pseudo: Pseudo-pairs of the retrieve stage, [P, D1] and [P, D2]; None where they are not one table (coupling).
        projectors: Architecture of the connection's projectors, first and second; None of a base, which has none.
        init: Their initialisation.
        seed: Of what a baseline draws.
    """

    overlap: tuple[np.ndarray, np.ndarray]
    memories: tuple[np.ndarray, np.ndarray]
    pseudo: tuple[np.ndarray, np.ndarray] | None
    projectors: tuple[ProjectorSpec | None, ProjectorSpec | None]
    init: str
    seed: int


def mean(rows: np.ndarray) -> np.ndarray:
    """The mean row [D], summed in float64."""
    return np.asarray(rows.mean(0, dtype=np.float64))


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` rows, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
