"""Cross-modal retrieval: both directions and their mean, every contender on the same items."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from pipeline.evaluate.contenders import Contender
from pipeline.evaluate.ranking.counting import Counts, rank, rank_both
from pipeline.evaluate.ranking.metrics import all_tied, average_precision, best_rank, hits
from pipeline.evaluate.ranking.positives import Positives
from pipeline.evaluate.ranking.sorted_ranks import rank_by_sorting
from pipeline.evaluate.results.bootstrap import Sample, Statistic
from pipeline.evaluate.results.headlines import MEAN
from pipeline.evaluate.results.measured import Number
from pipeline.evaluate.results.shown import add_examples, add_similarities
from pipeline.evaluate.results.tables import Tables
from pipeline.evaluate.sets.items import EvaluationSet, load_set
from pipeline.evaluate.settings import RetrievalTask
from pipeline.evaluate.tasks.task_run import TaskRun
from pipeline.evaluate.views import Views

# With more relevant rows than this, one sort is faster than a count for each.
MOST_COUNTED = 8


def evaluate_retrieval(run: TaskRun[RetrievalTask]) -> None:
    """Measure every contender of the task and add the rows to its tables.

    Raises:
        UserError: A store or connection is missing or does not fit, or an embedding is not finite.
    """
    name, task, tables = run.name, run.task, run.tables
    evaluation = load_set(task, run.spaces, run.folders)
    first, second = evaluation.sides
    measured = []
    for contender, scorer in run.scorers():
        views = scorer(first.embeddings[contender.spaces[0]], second.embeddings[contender.spaces[1]])
        counts = count(views, evaluation.positives, run.device)
        measured.append((contender, _numbers(task, evaluation, counts, run.settings.recall_at)))
        _add_ranks(name, task, contender, evaluation, counts, tables)
        if contender.trained:
            tables.curves[f"{name}-{contender.connection}"] = _curve(counts)
            add_examples(name, task, contender, evaluation, views, counts, run.settings.examples, tables)
        add_similarities(name, task, contender, evaluation, views, run.seed, tables)
    run.add(measured, evaluation.items)


def count(views: Views, positives: Positives, device: str) -> tuple[Counts, Counts]:
    """Counts of both directions, from one sweep where the score is symmetric and few rows are relevant."""
    if positives.columns.shape[1] > MOST_COUNTED:
        first, second = views.directions
        back = positives.transposed()
        return rank_by_sorting(*first, positives, device), rank_by_sorting(*second, back, device)
    if views.backward is None:
        return rank_both(*views.forward, positives, device=device)
    return rank(*views.forward, positives, device=device), rank(*views.backward, positives.transposed(), device=device)


def _curve(counts: tuple[Counts, Counts]) -> dict[int, float]:
    """Mean recall of both directions by number of candidates: 1, 2, 5, 10, ... up to the smaller gallery."""
    most = min(one.gallery for one in counts)
    steps = [digit * 10**power for power in range(len(str(most))) for digit in (1, 2, 5)]
    return {k: float(np.mean([hits(one, k).mean() for one in counts])) for k in steps if k <= most}


def _measures(recall_at: tuple[int, ...]) -> dict[str, tuple[Callable[[Counts], np.ndarray], Statistic]]:
    recalls: dict[str, tuple[Callable[[Counts], np.ndarray], Statistic]] = {
        f"R@{k}": (partial(hits, k=k), "mean") for k in recall_at
    }
    return {**recalls, "mAP": (average_precision, "mean"), "median_rank": (best_rank, "median")}


def _numbers(
    task: RetrievalTask, evaluation: EvaluationSet, counts: tuple[Counts, Counts], recall_at: tuple[int, ...]
) -> Mapping[tuple[str, str], Number]:
    """Every metric in both directions, and their mean."""
    found: dict[tuple[str, str], Number] = {}
    # By class another thing is measured, with chance many times higher: it is not to be taken for the same.
    prefix = "class_" if task.labels else ""
    for name, (function, statistic) in _measures(recall_at).items():
        metric = prefix + name
        pairs = list(zip(counts, evaluation.sides, strict=True))
        samples = [Sample(function(one), side.items, statistic) for one, side in pairs]
        chances = [Sample(function(all_tied(one)), side.items, statistic).value() for one, side in pairs]
        for direction, sample, chance in zip(task.directions, samples, chances, strict=True):
            found[metric, direction] = Number([sample], len(sample.values), chance)
        found[metric, MEAN] = Number(samples, evaluation.items, float(np.mean(chances)))
    return found


def _add_ranks(
    name: str,
    task: RetrievalTask,
    contender: Contender,
    evaluation: EvaluationSet,
    counts: tuple[Counts, Counts],
    tables: Tables,
) -> None:
    for direction, side, one in zip(task.directions, evaluation.sides, counts, strict=True):
        tables.add(
            "ranks",
            {
                "task": name,
                "dataset": task.corpus,
                "connection": contender.connection,
                "method": contender.name,
                "direction": direction,
                "query_key": side.keys,
                "item": side.items,
                "rank": best_rank(one),
                "average_precision": average_precision(one),
            },
        )
