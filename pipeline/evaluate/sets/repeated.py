"""Items that look alike: the same picture or sound under several keys."""

import logging
from collections.abc import Sequence

import numpy as np

from pipeline.errors import UserError

log = logging.getLogger(__name__)

# Batches of another size round the embedding of the same bytes differently; two pictures are never this near.
ROUNDING = 2e-6
# Rows that are compared with each, on either side; few others have the same product by chance.
NEIGHBOURS = 32


def check_repeats(
    modality: str, corpus: str, keys: Sequence[str], groups: np.ndarray, vectors: np.ndarray, allowed: bool
) -> None:
    """Report rows that have the embedding of another and another right answer, or refuse them.

    The shard stage looks at the bytes of a corpus with several modalities. A task may take each modality from another
    corpus, in which copies are nothing unusual.

    Args:
        modality: Of the rows, no text: captions may repeat.
        corpus: Where they are from, for the message.
        keys: Of the rows.
        groups: What a row of the other side must share to be right [N].
        vectors: Unit embeddings in one space [N, D].
        allowed: Whether items that look alike are items of their own.

    Raises:
        UserError: There are some, and they are not allowed.
    """
    first, second = alike(vectors)
    different = groups[first] != groups[second]
    if not different.any():
        return
    example = keys[first[different][0]], keys[second[different][0]]
    said = f"{corpus}: {different.sum():,} {modality} items look exactly like another, such as {' and '.join(example)}"
    if not allowed:
        raise UserError(
            f"{said}, so each counts as a wrong answer for the others.",
            "Rows of one item become one item with several captions by the corpus' `item_column`; where they are items of "
            "their own, as in some published sets, set the task's `repeated: keep`.",
        )
    log.warning("%s, and are wrong answers for it", said)


def alike(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows that are equal but for rounding [P]: an earlier row, and each row that equals an earlier one.

    Equal rows have equal products with any direction, so that only neighbours in the order of one are compared.

    Args:
        vectors: Unit rows [N, D].
    """
    rows = vectors.astype(np.float64)
    direction = np.random.default_rng(0).standard_normal(rows.shape[1])
    places = rows @ (direction / np.linalg.norm(direction))
    order = np.argsort(places, kind="stable")
    first = np.arange(len(rows))
    for step in range(1, min(len(rows), NEIGHBOURS + 1)):
        left, right = order[:-step], order[step:]
        near = np.flatnonzero(places[right] - places[left] <= ROUNDING * rows.shape[1] ** 0.5)
        if not len(near):
            break
        left, right = left[near], right[near]
        equal = np.abs(rows[left] - rows[right]).max(1) <= ROUNDING
        low, high = np.minimum(left, right)[equal], np.maximum(left, right)[equal]
        np.minimum.at(first, high, low)
    later = np.flatnonzero(first != np.arange(len(rows)))
    return first[later], later
