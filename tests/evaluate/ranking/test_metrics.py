"""Metrics against enumeration, scikit-learn and closed forms."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from pipeline.evaluate.ranking.counting import Counts, rank
from pipeline.evaluate.ranking.metrics import all_tied, average_precision, best_rank, hits
from pipeline.evaluate.ranking.positives import Positives
from tests.evaluate.samples import random_positives, random_rows, unit


def scored(scores: np.ndarray, positives: Positives) -> Counts:
    """Counts of a given score matrix: one-hot queries read its rows off."""
    return rank(np.eye(len(scores), dtype=np.float32), scores.T.astype(np.float32), positives)


def labels_of(positives: Positives) -> np.ndarray:
    labels = np.zeros((len(positives.columns), positives.gallery + 1))
    np.put_along_axis(labels, positives.columns, 1, axis=1)
    return labels[:, :-1]


@pytest.mark.parametrize("most", [1, 6])
def test_average_precision_equals_sklearn(most: int) -> None:
    first, second = random_rows(1, 40, 8), random_rows(2, 60, 8)
    positives = random_positives(3, 40, 60, most)
    # In float64, because scikit-learn computes in the type of the scores.
    scores, labels = first.astype(np.float64) @ second.T, labels_of(positives)
    ours = average_precision(rank(first, second, positives))
    np.testing.assert_allclose(ours.mean(), label_ranking_average_precision_score(labels, scores), rtol=1e-12)
    theirs = [average_precision_score(label, score) for label, score in zip(labels, scores, strict=True)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("most", [1, 6])
def test_recall_and_rank_equal_sorting(most: int) -> None:
    first, second = random_rows(1, 40, 8), random_rows(2, 60, 8)
    positives = random_positives(3, 40, 60, most)
    order = np.argsort(-(first.astype(np.float64) @ second.T.astype(np.float64)), axis=1)
    sorted_labels = np.take_along_axis(labels_of(positives), order, axis=1)
    counts = rank(first, second, positives)
    for k in (1, 5, 10, 100):
        np.testing.assert_array_equal(hits(counts, k), sorted_labels[:, :k].any(1))
    np.testing.assert_array_equal(best_rank(counts), sorted_labels.argmax(1) + 1)


def test_tied_metrics_are_expectations_over_every_order_of_the_ties() -> None:
    scores = np.array([3.0, 2, 2, 2, 2, 1, 1])
    for relevant in ([1, 2], [0, 1, 5], [3], [5, 6], [0, 2, 3, 6]):
        positives = Positives(np.array([relevant]), 7)
        counts = scored(scores[None], positives)
        orders = {tuple(order) for order in permutations(range(7)) if (np.diff(scores[list(order)]) <= 0).all()}
        found = np.array([[label in relevant for label in order] for order in sorted(orders)])
        precision = found.cumsum(1) / np.arange(1, 8)
        expected = (precision * found).sum(1).mean() / len(relevant)
        np.testing.assert_allclose(average_precision(counts)[0], expected, rtol=1e-12)
        np.testing.assert_allclose(best_rank(counts)[0], (found.argmax(1) + 1).mean(), rtol=1e-12)
        for k in range(1, 8):
            np.testing.assert_allclose(hits(counts, k)[0], found[:, :k].any(1).mean(), rtol=1e-12)


@pytest.mark.parametrize("items", [1, 2, 17, 800])
def test_a_collapsed_space_scores_exactly_chance(items: int) -> None:
    rows = np.repeat(unit(np.array([[0.3, 0.4, 0.1]])), items, axis=0)
    counts = rank(rows, rows, Positives.diagonal(items))
    for k in (1, 5, 10):
        np.testing.assert_array_equal(hits(counts, k), min(k / items, 1))
    np.testing.assert_allclose(average_precision(counts), np.sum(1 / np.arange(1, items + 1)) / items, rtol=1e-12)
    np.testing.assert_array_equal(best_rank(counts), (items + 1) / 2)


def test_chance_with_several_positives_is_what_random_scores_reach() -> None:
    positives = random_positives(1, 3, 20, 5)
    scores = np.random.default_rng(2).permuted(np.tile(np.arange(20.0), (6000, 1)), axis=1)
    chance = all_tied(scored(scores[:3], positives))
    for query in range(3):
        same = Positives(np.repeat(positives.columns[query : query + 1], 6000, axis=0), 20)
        counts = scored_rows(scores, same)
        np.testing.assert_allclose(average_precision(chance)[query], average_precision(counts).mean(), atol=0.01)
        np.testing.assert_allclose(hits(chance, 3)[query], hits(counts, 3).mean(), atol=0.025)
        np.testing.assert_allclose(best_rank(chance)[query], best_rank(counts).mean(), rtol=0.05)


def scored_rows(scores: np.ndarray, positives: Positives) -> Counts:
    """Counts by the definition, for more queries than a one-hot matrix can hold."""
    own = np.take_along_axis(scores, np.maximum(positives.columns, 0), axis=1)
    valid = positives.columns >= 0
    above = (scores[:, None, :] > own[:, :, None]).sum(2)
    relevant = ((own[:, None, :] > own[:, :, None]) & valid[:, None, :]).sum(2)
    one = np.ones_like(above)
    return Counts(above, one, relevant, one, valid, positives.gallery)
