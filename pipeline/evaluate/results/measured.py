"""What a task measured, as rows: each number with its interval, and each trained connection against the first one,
against what needs no training, and against the frozen space whose own task this is.

Two intervals that overlap say little about two methods that were measured on the same items: most of their width is what
both find hard. So the items are resampled once for both, and the interval is that of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.baselines import BASELINES
from pipeline.evaluate.contenders import FROZEN, Contender
from pipeline.evaluate.results.bootstrap import Measure, interval, resample
from pipeline.evaluate.results.tables import Tables
from pipeline.hashing import seed_from

# In front of the name of a baseline or frozen space that a connection is compared with: no connection can be called so.
UNTRAINED, BY_ITSELF = "baseline/", "frozen/"


@dataclass(frozen=True)
class Number:
    """One number of one contender.

    Attributes:
        measures: What it is the mean of (the directions).
        n: Queries; items, where it is a mean of directions.
        chance: What a contender that scores everything equally gets; None where that says nothing.
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
    name: str,
    dataset: str,
    pair: tuple[str, str],
    measured: Sequence[tuple[Contender, Numbers]],
    items: int,
    resamples: int,
    seed: int,
    tables: Tables,
) -> None:
    """Add what the contenders of task `name` reached to `tables`.

    Args:
        name: Of the task.
        dataset: What it was measured on.
        pair: Its two modalities.
        measured: Every contender with its numbers.
        items: How many items are resampled.
        resamples: How often; 0: no intervals.
        seed: Base of the seed of the draws.
        tables: Where the rows go.
    """
    places = [(contender, *place) for contender, numbers in measured for place in numbers]
    flat = [number for _, numbers in measured for number in numbers.values()]
    drawn = (
        resample([number.measures for number in flat], items, resamples, seed_from(seed, name, "bootstrap"))
        if resamples
        else None
    )
    for at, ((contender, metric, direction), number) in enumerate(zip(places, flat, strict=True)):
        low, high = interval(drawn[at]) if drawn else (None, None)
        where = {"connection": contender.connection, "method": contender.name, "task": name, "dataset": dataset}
        where |= {"direction": direction, "metric": metric}
        found = {"value": number.value, "ci_low": low, "ci_high": high, "n": number.n, "chance": number.chance}
        tables.add("metrics", where | found | {"through": contender.through(pair)})
        tables.add_number(name, contender.label, direction, metric, number.value)
    if drawn is None:
        return
    # Each trained connection minus the first one of the task, and minus each row that needs no training or is frozen.
    at_place = {(id(contender), metric, direction): at for at, (contender, metric, direction) in enumerate(places)}
    trained = [contender for contender, _ in measured if contender.trained]
    others = [contender for contender, _ in measured if not contender.trained]
    fixed = [(f"{UNTRAINED}{one.name}", one) for one in others if one.name in BASELINES]
    fixed += [(f"{BY_ITSELF}{one.connection}", one) for one in others if one.name == FROZEN]
    for at, (contender, metric, direction) in enumerate(places):
        if contender not in trained:
            continue
        rivals = [(one.connection, one) for one in trained[:1] if one is not contender]
        for against, rival in [*rivals, *fixed]:
            other = at_place.get((id(rival), metric, direction))
            if other is None:
                continue
            low, high = interval(drawn[at] - drawn[other])
            where = {"task": name, "dataset": dataset, "connection": contender.connection, "method": contender.name}
            where |= {"against": against, "direction": direction, "metric": metric}
            difference = {"value": flat[at].value - flat[other].value, "ci_low": low, "ci_high": high, "n": items}
            tables.add("differences", where | difference)
