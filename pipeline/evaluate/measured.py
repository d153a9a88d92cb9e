"""What a task measured, as rows: each number with its interval, and each trained connection against the first one.

Two intervals that overlap say little about two methods that were measured on the same items: most of their width is what
both find hard. So the items are resampled once for both, and the interval is that of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.bootstrap import Measure, intervals, paired_difference
from pipeline.evaluate.context import Context
from pipeline.evaluate.methods import Method
from pipeline.evaluate.tables import Tables
from pipeline.hashing import seed_from


@dataclass(frozen=True)
class Number:
    """One number of one method.

    Attributes:
        measures: What it is the mean of (the directions).
        n: Queries; items, where it is a mean of directions.
        chance: What a method that scores everything equally gets; None where that says nothing.
    """

    measures: Sequence[Measure]
    n: int
    chance: float | None = None

    @property
    def value(self) -> float:
        """The number itself."""
        return float(np.mean([measure.value() for measure in self.measures]))


Numbers = Mapping[tuple[str, str], Number]
"""By metric and direction."""


def add_numbers(
    name: str, dataset: str, measured: Sequence[tuple[Method, Numbers]], items: int, context: Context, tables: Tables
) -> None:
    """Add what the methods of task `name` reached to `tables`.

    Args:
        name: Of the task.
        dataset: What it was measured on.
        measured: Every method with its numbers.
        items: How many items are resampled.
        context: Resamples and seed.
        tables: Where the rows go.
    """
    resamples, seed = context.settings.bootstrap, seed_from(context.seed, name, "bootstrap")
    flat = [(method, *place, number) for method, numbers in measured for place, number in numbers.items()]
    limits: list[tuple[float | None, float | None]] = [(None, None)] * len(flat)
    if resamples and flat:
        limits = list(intervals([number.measures for *_, number in flat], items, resamples, seed))
    for (method, metric, direction, number), (low, high) in zip(flat, limits, strict=True):
        where = {"connection": method.connection, "method": method.name, "task": name, "dataset": dataset}
        where |= {"direction": direction, "metric": metric}
        found = {"value": number.value, "ci_low": low, "ci_high": high, "n": number.n, "chance": number.chance}
        tables.add("metrics", where | found)
        tables.mirrored(name, method.label, direction, metric, number.value)
    if resamples:
        _add_differences(name, dataset, [each for each in measured if each[0].trained], items, resamples, seed, tables)


def _add_differences(
    name: str,
    dataset: str,
    trained: Sequence[tuple[Method, Numbers]],
    items: int,
    resamples: int,
    seed: int,
    tables: Tables,
) -> None:
    """Each trained connection minus the first one of the task, item by item."""
    for metric in dict.fromkeys(metric for _, numbers in trained for metric, _ in numbers):
        for method, numbers in trained[1:]:
            for direction in [way for other, way in numbers if other == metric]:
                first, second = (found[metric, direction].measures for found in (numbers, trained[0][1]))
                found = paired_difference(first, second, items, resamples, seed)
                where = {"task": name, "dataset": dataset, "connection": method.connection, "method": method.name}
                where |= {"against": trained[0][0].connection, "direction": direction, "metric": metric}
                interval = {"value": found.value, "ci_low": found.low, "ci_high": found.high, "n": items}
                tables.add("differences", where | interval)
