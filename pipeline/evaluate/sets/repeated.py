"""Items that look alike to the last bit: the same picture or sound under several keys."""

import logging
from collections.abc import Sequence

import numpy as np

log = logging.getLogger(__name__)


def warn_of_repeats(modality: str, corpus: str, keys: Sequence[str], items: np.ndarray, vectors: np.ndarray) -> None:
    """Warn if different items have the same embedding: each is a wrong answer for the others.

    The shard stage refuses this within a corpus of several modalities; a task may take each modality from another corpus.

    Args:
        modality: Of the rows, no text: captions may repeat.
        corpus: Where they are from, for the message.
        keys: Of the rows.
        items: Number of the item that each row shows [N].
        vectors: Embeddings in one space [N, D].
    """
    rows = np.ascontiguousarray(vectors).view(np.dtype((np.void, vectors.shape[1] * vectors.dtype.itemsize))).ravel()
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    again = np.flatnonzero(items != items[first[which]])
    if len(again):
        example = keys[first[which[again[0]]]], keys[again[0]]
        log.warning(
            "%s: %d %s items look exactly like another, such as %s and %s, and are wrong answers for it; if they are rows of "
            "one item, set `item_column` of their corpus",
            corpus, len(again), modality, *example,
        )  # fmt: skip
