"""Zero-shot classification: each sample goes to the class whose prompts are nearest.

The embedding of a class is the normalised mean of its normalised prompts, each of them projected by itself.
"""

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.bootstrap import Sample
from pipeline.evaluate.classes import load_classes
from pipeline.evaluate.context import Context
from pipeline.evaluate.measured import Number, add_numbers
from pipeline.evaluate.methods import methods_of
from pipeline.evaluate.metrics import all_tied, hits
from pipeline.evaluate.positives import Positives
from pipeline.evaluate.ranking import rank
from pipeline.evaluate.settings import ClassificationTask
from pipeline.evaluate.tables import Tables


def evaluate_classification(name: str, task: ClassificationTask, context: Context, tables: Tables) -> None:
    """Measure top-k accuracy of every method of `task` and add its rows to `tables`.

    Raises:
        UserError: A store, the labels or a connection is missing or does not fit, or a sample has several classes.
    """
    most = context.settings.baseline_rows
    methods = methods_of(task, context.connections, context.folders, most, context.seed, context.device)
    spaces = {method.spaces[0] for method in methods}, {method.spaces[1] for method in methods}
    data = load_classes(task, spaces, context.folders)
    if any(len(classes) > 1 for classes in data.labels):
        raise UserError(f"A sample of {task.corpus} has several classes.", "Make it a `tagging` task.")
    positives = Positives(np.array(data.labels), len(data.classes))
    samples = np.arange(len(data.labels))
    context.progress.start(f"evaluate {name}", len(methods), "methods")
    measured = []
    for method in methods:
        scorer = method.build()
        if scorer is not None:
            queries, prompts = scorer(data.samples[method.spaces[0]], data.prompts[method.spaces[1]]).forward
            counts = rank(queries, data.class_embeddings(prompts), positives, device=context.device)
            tied = all_tied(counts)
            numbers = {
                (f"top-{k}", f"{task.modality}->text"): Number(
                    [Sample(hits(counts, k), samples)], len(samples), float(hits(tied, k).mean())
                )
                for k in task.top
                if k <= len(data.classes)
            }
            measured.append((method, numbers))
        context.progress.advance(1)
    add_numbers(name, task.dataset, measured, len(samples), context, tables)
