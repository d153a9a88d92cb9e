"""Join rows by key, never by position."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import UserError


def common_keys(first: Sequence[str], second: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Keys in both lists, in the order of the first, with their row numbers in each.

    Raises:
        UserError: The lists have no key in common.
    """
    position = {key: row for row, key in enumerate(second)}
    pairs = [(key, row, position[key]) for row, key in enumerate(first) if key in position]
    if not pairs:
        raise UserError("The two stores have no key in common.", "Check that both encode the same corpus.")
    keys, rows, others = zip(*pairs, strict=True)
    return list(keys), np.array(rows), np.array(others)
