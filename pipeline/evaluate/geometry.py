"""Geometry of a space: how far its modalities lie apart, how they spread, and whether some samples are near to all."""

from collections.abc import Mapping

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.bootstrap import Measure, Sample
from pipeline.evaluate.context import Context
from pipeline.evaluate.items import EvaluationSet, load_set
from pipeline.evaluate.measured import Number, add_numbers
from pipeline.evaluate.methods import methods_of
from pipeline.evaluate.settings import GeometryTask
from pipeline.evaluate.shape import Gap, Skewness, Uniformity, occurrences
from pipeline.evaluate.tables import Tables
from pipeline.evaluate.views import Views, unit


def evaluate_geometry(name: str, task: GeometryTask, context: Context, tables: Tables) -> None:
    """Measure the shape of the space of every method of `task` and add its rows to `tables`.

    Methods that score the two directions differently have no one space, and are left out.

    Raises:
        UserError: A store or connection is missing or does not fit, or there is only one item.
    """
    most = context.settings.baseline_rows
    methods = methods_of(task, context.connections, context.folders, most, context.seed, context.device)
    spaces = {method.spaces[0] for method in methods}, {method.spaces[1] for method in methods}
    evaluation = load_set(task, spaces, context.folders)
    if evaluation.items < 2:
        raise UserError(f"{task.corpus} has one item only, which has no geometry.", "Use a larger evaluation set.")
    context.progress.start(f"evaluate {name}", len(methods), "methods")
    measured = []
    for method in methods:
        scorer = method.build()
        first, second = evaluation.sides
        if scorer is not None:
            views = scorer(first.embeddings[method.spaces[0]], second.embeddings[method.spaces[1]])
            if views.backward is None:
                measured.append((method, _numbers(task, evaluation, views)))
        context.progress.advance(1)
    add_numbers(name, task.dataset, measured, evaluation.items, context, tables)


def _numbers(task: GeometryTask, evaluation: EvaluationSet, views: Views) -> Mapping[tuple[str, str], Number]:
    rows = (unit(views.forward[0]), unit(views.forward[1]))
    items = (evaluation.sides[0].items, evaluation.sides[1].items)
    left, slots = np.nonzero(evaluation.positives.columns >= 0)
    right = evaluation.positives.columns[left, slots]
    distances = ((rows[0][left].astype(np.float64) - rows[1][right]) ** 2).sum(1)
    measures: dict[str, Measure] = {"gap": Gap(*rows, items), "alignment": Sample(distances, items[0][left])}
    for at, modality in enumerate(task.modalities):
        measures[f"uniformity_{modality}"] = Uniformity.of(rows[at], items[at])
    for at, modality in enumerate(task.modalities):
        found = occurrences(rows[1 - at], rows[at], task.neighbours)
        measures[f"hubness_{modality}"] = Skewness(found, items[at])
    direction = "-".join(task.modalities)
    return {(metric, direction): Number([measure], evaluation.items) for metric, measure in measures.items()}
