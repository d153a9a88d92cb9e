"""Which gallery rows are right for which query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError

ABSENT = -1


@dataclass(frozen=True)
class Positives:
    """The relevant gallery rows of each query.

    Attributes:
        columns: Gallery rows [Q, P] int64, ascending, filled up with -1 where a query has fewer than P.
        gallery: Rows N of the gallery.
    """

    columns: np.ndarray
    gallery: int

    @classmethod
    def diagonal(cls, items: int) -> "Positives":
        """Query i is answered by gallery row i, and by no other."""
        return cls(np.arange(items)[:, None], items)

    @classmethod
    def of_pairs(cls, queries: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> "Positives":
        """Collect pairs (query, gallery row) of a relation of `shape` (Q, N).

        Raises:
            UserError: A query has no relevant row, so that it has no rank.
        """
        order = np.lexsort((columns, queries))
        queries, columns = queries[order], columns[order]
        counts = np.bincount(queries, minlength=shape[0])
        if not len(counts) or counts.min() == 0:
            raise UserError("A query has no relevant item in the gallery.", "Remove queries without a counterpart.")
        slots = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        padded = np.full((shape[0], int(counts.max())), ABSENT, np.int64)
        padded[queries, slots] = columns
        return cls(padded, shape[1])

    @classmethod
    def of_items(cls, queries: Sequence[str], gallery: Sequence[str]) -> "Positives":
        """A gallery row is relevant when it shows the same item as the query.

        Args:
            queries: Item of each query.
            gallery: Item of each gallery row.
        """
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(gallery):
            rows.setdefault(item, []).append(row)
        pairs = [(query, row) for query, item in enumerate(queries) for row in rows.get(item, ())]
        indices = np.array(pairs, np.int64).reshape(-1, 2)
        return cls.of_pairs(indices[:, 0], indices[:, 1], (len(queries), len(gallery)))

    def transposed(self) -> "Positives":
        """The same relation with queries and gallery exchanged."""
        queries, slots = np.nonzero(self.columns != ABSENT)
        return self.of_pairs(self.columns[queries, slots], queries, (self.gallery, len(self.columns)))
