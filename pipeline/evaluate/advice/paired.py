"""Every method of a task against the best one, on the same held-out items."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluate.results.bootstrap import Sample, interval, resample


@dataclass(frozen=True)
class Rival:
    """How far a method is behind the best one.

    Attributes:
        name: Connection, or training-free baseline.
        value: What it reached, between 0 and 1.
        behind: The best one's value less this one's; 0 of the best itself.
        low: Lower end of the 95 % interval of `behind`, over resampled items.
        high: Upper end.
    """

    name: str
    value: float
    behind: float
    low: float
    high: float

    @property
    def is_as_good(self) -> bool:
        """Whether the items cannot tell it from the best."""
        return self.low <= 0


def rivals(
    ranks: pd.DataFrame, names: Collection[tuple[str, str, str]], k: int, resamples: int, seed: int
) -> list[Rival]:
    """Recall at `k`, mean of both directions, best first; every difference is a paired one.

    Args:
        ranks: Of one task: connection, method, direction, item and rank of each query, as the evaluation wrote them.
        names: By what they are called: name, connection and method of each row group that is to be compared.
        k: Of the recall.
        resamples: Draws of the items.
        seed: Of the draws.
    """
    measured = []
    for _, connection, method in names:
        rows = ranks[(ranks.connection == connection) & (ranks.method == method)]
        measured.append(
            [
                Sample((one["rank"].to_numpy() <= k).astype(np.float64), one["item"].to_numpy())
                for _, one in rows.groupby("direction", sort=True)
            ]
        )
    values = [float(np.mean([sample.value() for sample in samples])) for samples in measured]
    drawn = resample(measured, int(ranks["item"].max()) + 1, resamples, seed)
    best = int(np.argmax(values))
    found = [
        Rival(name, value, values[best] - value, *interval(drawn[best] - other))
        for (name, _, _), value, other in zip(names, values, drawn, strict=True)
    ]
    return sorted(found, key=lambda rival: -rival.value)
