"""Whether the texts speak of what the memories show: nothing moved results more than that."""

import numpy as np
from scipy.cluster.vq import kmeans2

from pipeline.evaluate.views import unit

TOPICS = 32
# A topic with fewer texts than this share of what its samples would let expect is not covered.
ENOUGH = 0.2


def covered(memory: np.ndarray, texts: np.ndarray, seed: int) -> float:
    """Share of a memory that lies in topics of which the texts speak.

    Topics are clusters of the memory, centred by its mean; a text belongs to the topic whose centre is nearest. Texts are
    taken as they are: a mean of their own would take away the very topic that all of them have. That rests on the gap between
    two modalities being about orthogonal to what varies within each (Zhang et al. 2023, arXiv 2302.04269).

    Args:
        memory: Samples [N, D] in a frozen space.
        texts: The overlapping modality in the same space [T, D].
        seed: Of the clusters.
    """
    samples = unit(memory - memory.mean(0))
    count = max(1, min(TOPICS, len(samples) // 4))
    centres = unit(kmeans2(samples.astype(np.float64), count, minit="++", seed=seed)[0])
    own, nearest = ((rows @ centres.T).argmax(1) for rows in (samples, texts))
    share = np.bincount(own, minlength=count) / len(own)
    said = np.bincount(nearest, minlength=count) / len(nearest)
    return float(share[said >= ENOUGH * share].sum())
