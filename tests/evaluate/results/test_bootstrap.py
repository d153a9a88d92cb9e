"""Bootstrap intervals: repeatable, of the right width, and paired."""

import numpy as np
import pytest

from pipeline.evaluate.results import bootstrap
from pipeline.evaluate.results.bootstrap import Sample, interval, resample


def sample(values: np.ndarray, **kwargs: object) -> Sample:
    return Sample(values, np.arange(len(values)), **kwargs)  # type: ignore[arg-type]


def intervals(measures: list[list[Sample]], *arguments: int) -> list[tuple[float, float]]:
    return [interval(drawn) for drawn in resample(measures, *arguments)]


def difference(first: list[Sample], second: list[Sample], *arguments: int) -> tuple[float, float]:
    one, other = resample([first, second], *arguments)
    return interval(one - other)


def test_equal_seeds_give_equal_intervals() -> None:
    values = sample(np.random.default_rng(0).normal(size=50))
    assert intervals([[values]], 50, 200, 7) == intervals([[values]], 50, 200, 7)
    assert intervals([[values]], 50, 200, 7) != intervals([[values]], 50, 200, 8)


def test_the_interval_of_a_mean_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    low, high = intervals([[sample(values)]], 2000, 1500, 1)[0]
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(2000), rel=0.08)


def test_ninety_five_of_a_hundred_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        low, high = intervals([[sample((generator.random(150) < 0.3).astype(float))]], 150, 300, trial)[0]
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 200 <= 0.985


@pytest.mark.parametrize("items", [1, 2, 9, 10])
def test_statistics_of_each_resample_equal_a_loop(items: int) -> None:
    values = np.random.default_rng(items).normal(size=3 * items)
    owners = np.repeat(np.arange(items), 3)
    for weights in bootstrap._weights(items, 20, 5):
        drawn = [np.repeat(values, weight.astype(int)[owners]) for weight in weights]
        for statistic, function in (("mean", np.mean), ("median", np.median)):
            found = Sample(values, owners, statistic).resampled(weights)  # type: ignore[arg-type]
            np.testing.assert_allclose(found, [function(draw) for draw in drawn])


def test_chunks_do_not_change_the_draws_in_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(bootstrap._weights(6, 10, 1)))
    monkeypatch.setattr(bootstrap, "CHUNK_WEIGHTS", 18)
    np.testing.assert_array_equal(np.concatenate(list(bootstrap._weights(6, 10, 1))), whole)


def test_pairing_cancels_what_both_methods_share() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=400)
    better = sample(difficulty + 0.1 + 0.05 * generator.normal(size=400))
    worse = sample(difficulty)
    paired = difference([better], [worse], 400, 500, 2)
    assert 0.08 < paired[0] < 0.1 < paired[1] < 0.12
    low, high = intervals([[better]], 400, 500, 2)[0]
    assert high - low > 5 * (paired[1] - paired[0])


def test_the_difference_of_two_directions_is_that_of_their_means() -> None:
    draw = np.random.default_rng(1)
    first, second = ([sample(draw.normal(size=50)) for _ in range(2)] for _ in range(2))
    paired = difference(first, second, 50, 400, 3)
    merged = [sample((one.values + other.values) / 2) for one, other in (first, second)]
    np.testing.assert_allclose(paired, difference([merged[0]], [merged[1]], 50, 400, 3), atol=1e-12)


def test_both_directions_are_resampled_together() -> None:
    values = np.random.default_rng(0).normal(size=100)
    opposite = intervals([[sample(values), sample(-values)]], 100, 100, 1)[0]
    np.testing.assert_allclose(opposite, (0, 0), atol=1e-12)
