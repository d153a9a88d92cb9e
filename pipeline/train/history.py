"""``history.parquet``: one row per step, so that a curve can be drawn at any resolution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.files.atomic import atomic_path
from pipeline.store.parquet import write_table

HISTORY_NAME = "history.parquet"


def write_history(
    path: Path, terms: Sequence[str], values: npt.NDArray[np.float32], steps_per_epoch: int, rates: Sequence[float]
) -> None:
    """Write the columns step, epoch (both from 0), the terms of the loss, and learning_rate.

    Args:
        path: The file.
        terms: Names of the columns of `values`.
        values: Terms per step [S, T].
        steps_per_epoch: Steps of one epoch.
        rates: Learning rate per step.
    """
    steps = np.arange(len(values))
    columns: dict[str, pa.Array] = {"step": pa.array(steps), "epoch": pa.array(steps // steps_per_epoch)}
    columns |= {name: pa.array(values[:, number]) for number, name in enumerate(terms)}
    columns["learning_rate"] = pa.array(rates, pa.float64())
    with atomic_path(path) as temporary:
        write_table(temporary, pa.table(columns), compression="zstd")
