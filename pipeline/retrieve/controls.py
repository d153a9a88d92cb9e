"""Negative controls: what a connection reaches when a part of its evidence is destroyed on purpose."""

import numpy as np

from pipeline.hashing import seed_from


def strangers(rows: int, seed: int, connection: str, control: str) -> np.ndarray:
    """A permutation of `rows` row numbers in which no row keeps its place (if there are two or more).

    It is one random cycle: row order[i] gets the partner of order[i + 1].
    """
    order = np.random.default_rng(seed_from(seed, connection, control)).permutation(rows)
    partner = np.empty(rows, np.int64)
    partner[order] = np.roll(order, -1)
    return partner
