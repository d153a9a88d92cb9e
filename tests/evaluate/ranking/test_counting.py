"""Rank counting against brute force in float64."""

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.evaluate.ranking import counting as ranking
from pipeline.evaluate.ranking.counting import Counts, rank, rank_both
from pipeline.evaluate.ranking.metrics import average_precision, best_rank, hits
from pipeline.evaluate.ranking.positives import ABSENT, Positives
from tests.evaluate.samples import random_positives, random_rows, unit, with_duplicates
from tests.makers.devices import DEVICES


def brute_force(queries: np.ndarray, gallery: np.ndarray, positives: Positives) -> dict[str, np.ndarray]:
    scores = (queries.astype(np.float64) @ gallery.astype(np.float64).T).astype(np.float32)
    fields = {name: np.zeros_like(positives.columns) for name in ("above", "tied", "relevant_above", "relevant_tied")}
    for query, columns in enumerate(positives.columns):
        relevant = columns[columns != ABSENT]
        for slot, column in enumerate(relevant):
            own = scores[query, column]
            fields["above"][query, slot] = (scores[query] > own).sum()
            fields["tied"][query, slot] = (scores[query] == own).sum()
            fields["relevant_above"][query, slot] = (scores[query, relevant] > own).sum()
            fields["relevant_tied"][query, slot] = (scores[query, relevant] == own).sum()
    return fields


def assert_counts(counts: Counts, expected: dict[str, np.ndarray]) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(np.where(counts.valid, getattr(counts, name), 0), values, err_msg=name)


@pytest.mark.parametrize("most", [1, 5])
@pytest.mark.parametrize("dimension", [3, 96, 1024])
@pytest.mark.parametrize("duplicates", [False, True])
@DEVICES
def test_counts_equal_brute_force_in_both_directions(most: int, dimension: int, duplicates: bool, device: str) -> None:
    first, second = random_rows(1, 70, dimension), random_rows(2, 90, dimension)
    if duplicates:
        first, second = with_duplicates(first, 3), with_duplicates(second, 4)
    positives = random_positives(5, 70, 90, most)
    # Every row of the second side needs a relevant row too.
    rows, slots = np.nonzero(positives.columns != ABSENT)
    extra = np.setdiff1d(np.arange(90), positives.columns)
    rows, columns = np.append(rows, extra % 70), np.append(positives.columns[rows, slots], extra)
    positives = Positives.of_pairs(rows, columns, (70, 90))
    forward, backward = rank_both(first, second, positives, tile=(16, 32), device=device)
    assert_counts(forward, brute_force(first, second, positives))
    assert_counts(backward, brute_force(second, first, positives.transposed()))
    assert_counts(rank(first, second, positives, device=device), brute_force(first, second, positives))


@pytest.mark.parametrize("tile", [(1, 1), (7, 5), (64, 3), (1024, 8192)])
def test_tile_size_never_changes_a_count(tile: tuple[int, int]) -> None:
    first, second = with_duplicates(random_rows(1, 64, 128), 2), with_duplicates(random_rows(3, 64, 128), 4)
    positives = Positives.diagonal(64)
    tiled, untiled = rank_both(first, second, positives, tile), rank_both(first, second, positives)
    for counts, whole in zip(tiled, untiled, strict=True):
        assert_counts(counts, {name: getattr(whole, name) for name in ("above", "tied")})


def test_ties_closer_than_float32_rounding_are_decided_by_the_definition() -> None:
    # Thousands of copies of one row, spread over tiles of several shapes, tie to the last one.
    row = random_rows(1, 1, 513)
    gallery = np.concatenate([np.repeat(row, 1501, axis=0), random_rows(2, 100, 513)])
    counts = rank(random_rows(3, 4, 513), gallery, Positives(np.array([[0], [7], [1500], [800]]), 1601), tile=(3, 130))
    assert (counts.tied[:, 0] == 1501).all()


def test_the_dense_and_the_gathered_decision_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = with_duplicates(random_rows(1, 200, 2), 2), with_duplicates(random_rows(3, 200, 2), 4)
    results = []
    for share in (0.0, 2.0):
        monkeypatch.setattr(ranking, "DENSE_SHARE", share)
        results.append(rank(first, second, Positives.diagonal(200)))
    assert_counts(results[0], {name: getattr(results[1], name) for name in ("above", "tied")})


def test_perfect_and_worst() -> None:
    rows = random_rows(1, 50, 16)
    perfect = rank(rows, rows, Positives.diagonal(50))
    assert (best_rank(perfect) == 1).all()
    assert (hits(perfect, 1) == 1).all()
    assert (average_precision(perfect) == 1).all()
    worst = rank(rows, -rows, Positives.diagonal(50))
    assert (best_rank(worst) == 50).all()
    assert (hits(worst, 49) == 0).all()


def test_ties_count_half() -> None:
    gallery = unit(np.array([[1, 0], [1, 0], [1, 0], [0, 1], [2, 1]]))
    counts = rank(unit(np.array([[1.0, 0]])), gallery, Positives(np.array([[4]]), 5))
    assert best_rank(counts)[0] == 4
    counts = rank(unit(np.array([[1.0, 0]])), gallery, Positives(np.array([[1]]), 5))
    assert best_rank(counts)[0] == 1 + 2 / 2
    np.testing.assert_allclose(hits(counts, 1), 1 / 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_is_refused(value: float, side: int) -> None:
    sides = [random_rows(1, 5, 4), random_rows(2, 5, 4)]
    sides[side][3] = value
    with pytest.raises(UserError, match="not finite"):
        rank_both(sides[0], sides[1], Positives.diagonal(5))


def test_positives_by_item() -> None:
    positives = Positives.of_items(["a", "b"], ["b", "a", "b"])
    assert positives.columns.tolist() == [[1, ABSENT], [0, 2]]
    assert positives.transposed().columns.tolist() == [[1], [0], [1]]
    with pytest.raises(UserError, match="no relevant item"):
        Positives.of_items(["a", "c"], ["a"])
