"""Zero-shot classification: each sample goes to the class whose prompts are nearest.

The embedding of a class is the normalised mean of its normalised prompts, each of them projected by itself.
"""

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.ranking.counting import rank
from pipeline.evaluate.ranking.metrics import all_tied, hits
from pipeline.evaluate.ranking.positives import Positives
from pipeline.evaluate.results.bootstrap import Sample
from pipeline.evaluate.results.measured import Number
from pipeline.evaluate.sets.classes import load_classes
from pipeline.evaluate.settings import ClassificationTask
from pipeline.evaluate.tasks.task_run import TaskRun


def evaluate_classification(run: TaskRun[ClassificationTask]) -> None:
    """Measure top-k accuracy of every contender of the task and add the rows to its tables.

    Raises:
        UserError: A store, the labels or a connection is missing or does not fit, or a sample has several classes.
    """
    task = run.task
    data = load_classes(task, run.spaces, run.folders)
    if any(len(classes) > 1 for classes in data.labels):
        raise UserError(f"A sample of {task.corpus} has several classes.", "Make it a `tagging` task.")
    positives = Positives(np.array(data.labels), len(data.classes))
    samples = np.arange(len(data.labels))
    measured = []
    for contender, scorer in run.scorers():
        queries, prompts = scorer(data.samples[contender.spaces[0]], data.prompts[contender.spaces[1]]).forward
        counts = rank(queries, data.class_embeddings(prompts), positives, device=run.device)
        tied = all_tied(counts)
        numbers = {
            (f"top-{k}", f"{task.modality}->text"): Number(
                [Sample(hits(counts, k), samples)], len(samples), float(hits(tied, k).mean())
            )
            for k in task.top
            if k <= len(data.classes)
        }
        measured.append((contender, numbers))
    run.add(measured, len(samples))
