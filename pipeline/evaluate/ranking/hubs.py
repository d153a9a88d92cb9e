"""Hub correction: an inverted softmax against unpaired memories. It changes the similarity and no embedding.

Some rows of a gallery are near to every query. Each is lowered by how near it is to a bank M of other samples of the
query's modality: the connection's own memory, never the evaluation set (which Smith et al. 2017, arXiv 1702.03859, use)::

    s(q, g) = q.g - t log mean_m exp(m.g / t)

The correction is one number per gallery row, so it fits into one more dimension: [q, 1].[g, -t log mean ...].
"""

from collections.abc import Sequence

import numpy as np

from pipeline.evaluate.baselines.link_data import evenly
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.views import Views
from pipeline.links import Link
from pipeline.store import read_placed

BLOCK_SCORES = 2**24


def corrected(views: Views, banks: tuple[np.ndarray, np.ndarray], temperature: float) -> Views:
    """`views` with both galleries corrected.

    Args:
        views: Connected embeddings of the first [N, E] and of the second modality [M, E].
        banks: Connected embeddings of other samples of the first [B, E] and of the second modality [C, E].
        temperature: t; the smaller, the more only the nearest samples of a bank count.
    """
    first, second = views.forward
    return Views(
        (_asking(first), _lowered(second, banks[0], temperature)),
        (_asking(second), _lowered(first, banks[1], temperature)),
    )


def bank(links: Sequence[Link], modality: str, space: str, folders: Folders, most: int) -> np.ndarray | None:
    """Frozen embeddings [B, D] of `modality` among the unpaired data of `links`, at most `most`; None: there are none."""
    for link in links:
        if corpora := link.corpora_of(space, modality):
            return evenly(read_placed([folders.store(space, corpus, modality) for corpus in corpora])[1], most)
    return None


def _asking(queries: np.ndarray) -> np.ndarray:
    return np.hstack([queries, np.ones((len(queries), 1), queries.dtype)])


def _lowered(gallery: np.ndarray, others: np.ndarray, temperature: float) -> np.ndarray:
    found = []
    for start in range(0, len(gallery), step := max(1, BLOCK_SCORES // len(others))):
        scores = gallery[start : start + step] @ others.T / np.float32(temperature)
        top = scores.max(1)
        found.append(top + np.log(np.mean(np.exp(scores - top[:, None]), axis=1, dtype=np.float64)))
    return np.hstack([gallery, -temperature * np.concatenate(found)[:, None]]).astype(gallery.dtype)
