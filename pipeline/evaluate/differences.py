"""How much a connection differs from the first one of its task, item by item.

Two intervals that overlap say little about two methods that were measured on the same items: most of their width is what
both find hard. So the items are resampled once for both, and the interval is that of the difference.
"""

from collections.abc import Callable, Mapping, Sequence

from pipeline.evaluate.bootstrap import Sample, paired_difference
from pipeline.evaluate.items import EvaluationSet
from pipeline.evaluate.methods import Method
from pipeline.evaluate.ranking import Counts
from pipeline.evaluate.tables import Tables

Measures = Mapping[str, Callable[[tuple[Counts, Counts]], Sequence[Sample]]]
"""By metric: its values per query, in both directions."""


def add_differences(
    place: Mapping[str, str],
    directions: Mapping[str, Sequence[int]],
    measured: Sequence[tuple[Method, tuple[Counts, Counts]]],
    measures: Measures,
    evaluation: EvaluationSet,
    resamples: int,
    seed: int,
    tables: Tables,
) -> None:
    """Add to `tables` each trained connection minus the first one.

    Args:
        place: Task and dataset.
        directions: By name: which of the two directions it averages over.
        measured: Methods with their counts.
        measures: What is compared.
        evaluation: The items.
        resamples: How often items are drawn.
        seed: Of the draws.
        tables: Where the rows go.
    """
    trained = [(method, counts) for method, counts in measured if method.trained]
    for metric, samples in measures.items() if resamples else ():
        for method, counts in trained[1:]:
            ours, theirs = samples(counts), samples(trained[0][1])
            for direction, chosen in directions.items():
                first, second = [ours[at] for at in chosen], [theirs[at] for at in chosen]
                found = paired_difference(first, second, evaluation.items, resamples, seed)
                tables.add(
                    "differences",
                    {
                        **place,
                        "connection": method.connection,
                        "method": method.name,
                        "against": trained[0][0].connection,
                        "direction": direction,
                        "metric": metric,
                        "value": found.value,
                        "ci_low": found.low,
                        "ci_high": found.high,
                        "n": evaluation.items,
                    },
                )
