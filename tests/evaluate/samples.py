"""Random sides and positives that the tests of this folder share."""

import numpy as np

from pipeline.evaluate.ranking.positives import Positives


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_rows(seed: int, *shape: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=shape))


def with_duplicates(rows: np.ndarray, seed: int) -> np.ndarray:
    rows = rows.copy()
    generator = np.random.default_rng(seed)
    rows[generator.integers(len(rows), size=len(rows) // 2)] = rows[generator.integers(len(rows), size=len(rows) // 2)]
    return rows


def random_positives(seed: int, queries: int, gallery: int, most: int) -> Positives:
    generator = np.random.default_rng(seed)
    chosen = [generator.choice(gallery, generator.integers(1, most + 1), replace=False) for _ in range(queries)]
    rows = np.repeat(np.arange(queries), [len(columns) for columns in chosen])
    return Positives.of_pairs(rows, np.concatenate(chosen), (queries, gallery))
