"""Cross-modal retrieval: both directions and their mean, every method on the same items."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.evaluate.bootstrap import Sample, Statistic, intervals
from pipeline.evaluate.differences import Measures, add_differences
from pipeline.evaluate.items import EvaluationSet, load_set
from pipeline.evaluate.methods import Method, methods_of
from pipeline.evaluate.metrics import all_tied, average_precision, best_rank, hits
from pipeline.evaluate.positives import Positives
from pipeline.evaluate.ranking import Counts, rank, rank_both
from pipeline.evaluate.samples import add_examples, add_similarities
from pipeline.evaluate.settings import EvaluateSettings, RetrievalTask
from pipeline.evaluate.sources import ConnectionData, Folders
from pipeline.evaluate.tables import Tables
from pipeline.evaluate.views import Views
from pipeline.hashing import seed_from
from pipeline.progress import Progress

MEAN = "mean"


@dataclass(frozen=True)
class Context:
    """What every task may use."""

    settings: EvaluateSettings
    folders: Folders
    connections: Mapping[str, ConnectionData]
    seed: int
    progress: Progress
    device: str = "cpu"


def evaluate_retrieval(name: str, task: RetrievalTask, context: Context, tables: Tables) -> None:
    """Measure every method of `task` and add its rows to `tables`.

    Raises:
        UserError: A store or connection is missing or does not fit, or an embedding is not finite.
    """
    most = context.settings.baseline_rows
    methods = methods_of(task, context.connections, context.folders, most, context.seed, context.device)
    spaces = {method.spaces[0] for method in methods}, {method.spaces[1] for method in methods}
    evaluation = load_set(task, spaces, context.folders)
    context.progress.start(f"evaluate {name}", len(methods), "methods")
    measured: list[tuple[Method, tuple[Counts, Counts]]] = []
    for method in methods:
        scorer = method.build()
        if scorer is not None:
            first, second = evaluation.sides
            views = scorer(first.embeddings[method.spaces[0]], second.embeddings[method.spaces[1]])
            counts = count(views, evaluation.positives, context.device)
            measured.append((method, counts))
            _add_ranks(name, task, method, evaluation, counts, tables)
            if method.trained:
                add_examples(name, task, method, evaluation, views, counts, context.settings.examples, tables)
            add_similarities(name, task, method, evaluation, views, context.seed, tables)
        context.progress.advance(1)
    _add_metrics(name, task, measured, evaluation, context, tables)
    add_differences(
        {"task": name, "dataset": task.corpus},
        {**{direction: [at] for at, direction in enumerate(task.directions)}, MEAN: [0, 1]},
        measured,
        _samples(context.settings.recall_at, evaluation),
        evaluation,
        context.settings.bootstrap,
        seed_from(context.seed, name, "bootstrap"),
        tables,
    )


def count(views: Views, positives: Positives, device: str) -> tuple[Counts, Counts]:
    """Counts of both directions, from one sweep where the score is symmetric."""
    if views.backward is None:
        return rank_both(*views.forward, positives, device=device)
    return rank(*views.forward, positives, device=device), rank(*views.backward, positives.transposed(), device=device)


def _measures(recall_at: tuple[int, ...]) -> dict[str, tuple[Callable[[Counts], np.ndarray], Statistic]]:
    recalls: dict[str, tuple[Callable[[Counts], np.ndarray], Statistic]] = {
        f"R@{k}": (partial(hits, k=k), "mean") for k in recall_at
    }
    return {**recalls, "mAP": (average_precision, "mean"), "median_rank": (best_rank, "median")}


def _samples(recall_at: tuple[int, ...], evaluation: EvaluationSet) -> Measures:
    """By metric: from the counts of both directions to the values of every query."""

    def of(function: Callable[[Counts], np.ndarray], statistic: Statistic) -> Callable[..., list[Sample]]:
        return lambda counts: [
            Sample(function(one), side.items, statistic) for one, side in zip(counts, evaluation.sides, strict=True)
        ]

    return {name: of(function, statistic) for name, (function, statistic) in _measures(recall_at).items()}


def _add_metrics(
    name: str,
    task: RetrievalTask,
    measured: list[tuple[Method, tuple[Counts, Counts]]],
    evaluation: EvaluationSet,
    context: Context,
    tables: Tables,
) -> None:
    rows: list[dict[str, object]] = []
    labels: list[str] = []
    groups: list[list[Sample]] = []
    for method, counts in measured:
        for metric, (function, statistic) in _measures(context.settings.recall_at).items():
            samples, chances = [], []
            for one, side in zip(counts, evaluation.sides, strict=True):
                samples.append(Sample(function(one), side.items, statistic))
                chances.append(Sample(function(all_tied(one)), side.items, statistic).value())
            choices = [(direction, [at]) for at, direction in enumerate(task.directions)] + [(MEAN, [0, 1])]
            for direction, chosen in choices:
                n = evaluation.items if direction == MEAN else len(samples[chosen[0]].values)
                rows.append(
                    {
                        "connection": method.connection,
                        "method": method.name,
                        "task": name,
                        "dataset": task.corpus,
                        "direction": direction,
                        "metric": metric,
                        "value": float(np.mean([samples[at].value() for at in chosen])),
                        "n": n,
                        "chance": float(np.mean([chances[at] for at in chosen])),
                    }
                )
                labels.append(method.label)
                groups.append([samples[at] for at in chosen])
    resamples, seed = context.settings.bootstrap, seed_from(context.seed, name, "bootstrap")
    limits: list[tuple[float | None, float | None]] = [(None, None)] * len(rows)
    if resamples:
        limits = list(intervals(groups, evaluation.items, resamples, seed))
    for row, label, (low, high) in zip(rows, labels, limits, strict=True):
        tables.add("metrics", {**row, "ci_low": low, "ci_high": high})
        tables.mirrored(name, label, str(row["direction"]), str(row["metric"]), float(str(row["value"])))


def _add_ranks(
    name: str,
    task: RetrievalTask,
    method: Method,
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
                "connection": method.connection,
                "method": method.name,
                "direction": direction,
                "query_key": side.keys,
                "item": side.items,
                "rank": best_rank(one),
                "average_precision": average_precision(one),
            },
        )
