"""Zero-shot tagging: for each class, how well its samples are ranked before the others; their mean is the mAP."""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.ranking.metrics import all_tied, average_precision
from pipeline.evaluate.ranking.positives import ABSENT, Positives
from pipeline.evaluate.ranking.sorted_ranks import rank_by_sorting
from pipeline.evaluate.results.measured import Number
from pipeline.evaluate.sets.classes import load_classes
from pipeline.evaluate.settings import TaggingTask
from pipeline.evaluate.tasks.task_run import TaskRun
from pipeline.hashing import seed_from

CHUNK = 2**23


def evaluate_tagging(run: TaskRun[TaggingTask]) -> None:
    """Measure the mAP over classes of every contender of the task and add the rows to its tables.

    Raises:
        UserError: A store, the labels or a connection is missing or does not fit.
    """
    task = run.task
    data = load_classes(task, run.spaces, run.folders)
    shown = sorted({at for classes in data.labels for at in classes})
    place = {at: row for row, at in enumerate(shown)}
    pairs = np.array([(place[at], row) for row, classes in enumerate(data.labels) for at in classes])
    positives = Positives.of_pairs(pairs[:, 0], pairs[:, 1], (len(shown), len(data.labels)))
    measured = []
    for contender, scorer in run.scorers():
        samples, prompts = scorer(data.samples[contender.spaces[0]], data.prompts[contender.spaces[1]]).forward
        classes = data.class_embeddings(prompts)[shown]
        counts = rank_by_sorting(classes, samples, positives, run.device)
        precision = MeanPrecision(
            classes.astype(np.float64) @ samples.astype(np.float64).T,
            positives,
            float(average_precision(counts).mean()),
            seed_from(run.seed, run.name, "ties"),
        )
        chance = float(average_precision(all_tied(counts)).mean())
        measured.append((contender, {("mAP", f"{task.modality}->text"): Number([precision], len(data.labels), chance)}))
    run.add(measured, len(data.labels))


@dataclass(frozen=True)
class MeanPrecision:
    """Mean over classes of the average precision of the samples' ranking.

    Attributes:
        scores: Of each class with each sample [C, N].
        positives: Samples of each class.
        whole: The mean over all samples as they are.
        seed: Of the order in which tied samples are taken in a resample.
    """

    scores: np.ndarray
    positives: Positives
    whole: float
    seed: int

    def value(self) -> float:
        """The mean over all samples as they are."""
        return self.whole

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The mean for each resample [C] of the samples, over the classes that it holds."""
        shuffled = np.random.default_rng(self.seed).permutation(weights.shape[1])
        sums, classes = np.zeros(len(weights)), np.zeros(len(weights))
        rows = max(1, CHUNK // weights.shape[1])
        for scores, columns in zip(self.scores, self.positives.columns, strict=True):
            order = shuffled[np.argsort(-scores[shuffled], kind="stable")]
            relevant = np.isin(order, columns[columns != ABSENT])
            for start in range(0, len(weights), rows):
                drawn = weights[start : start + rows][:, order]
                hits = drawn[:, relevant]
                total = hits.sum(1)
                precision = np.cumsum(hits, 1) / np.maximum(np.cumsum(drawn, 1)[:, relevant], 1)
                held = total > 0
                chunk = slice(start, start + len(drawn))
                sums[chunk] += np.where(held, (hits * precision).sum(1) / np.maximum(total, 1), 0.0)
                classes[chunk] += held
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / classes)
