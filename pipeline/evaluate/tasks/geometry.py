"""Geometry of a space: how far its modalities lie apart, how they spread, and whether some samples are near to all."""

from collections.abc import Mapping

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.results.bootstrap import Measure, Sample
from pipeline.evaluate.results.measured import Number
from pipeline.evaluate.sets.items import EvaluationSet, load_set
from pipeline.evaluate.settings import GeometryTask
from pipeline.evaluate.tasks.shape import Gap, Skewness, Uniformity, occurrences
from pipeline.evaluate.tasks.task_run import TaskRun
from pipeline.evaluate.views import Views, unit


def evaluate_geometry(run: TaskRun[GeometryTask]) -> None:
    """Measure the shape of the space of every contender of the task and add the rows to its tables.

    Methods that score the two directions differently have no one space, and are left out.

    Raises:
        UserError: A store or connection is missing or does not fit, or there is only one item.
    """
    task = run.task
    evaluation = load_set(task, run.spaces, run.folders)
    if evaluation.items < 2:
        raise UserError(f"{task.corpus} has only one item, which has no geometry.", "Use a larger evaluation set.")
    measured = []
    first, second = evaluation.sides
    for contender, scorer in run.scorers():
        views = scorer(first.embeddings[contender.spaces[0]], second.embeddings[contender.spaces[1]])
        if views.backward is None:
            measured.append((contender, _numbers(task, evaluation, views)))
    run.add(measured, evaluation.items)


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
