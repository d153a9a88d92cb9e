"""Baselines: planted maps are recovered, closed forms agree with peers, hops with slow loops."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pipeline.connect import ProjectorSpec
from pipeline.errors import UserError
from pipeline.evaluate.baselines import BASELINES, LinkData
from pipeline.evaluate.baselines.hops import BRIDGE_TEMPERATURE, evenly, nearest, profile
from pipeline.evaluate.baselines.linear import PENALTIES, fit_ridge, ridge_path
from pipeline.evaluate.baselines.load_link import link_between
from pipeline.evaluate.ranking.counting import rank
from pipeline.evaluate.ranking.metrics import best_rank
from pipeline.evaluate.ranking.positives import Positives
from pipeline.links import Memory
from tests.evaluate.samples import random_rows, unit
from tests.makers.links import make_link


def rotation(dimension: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(9).normal(size=(dimension, dimension)))[0]


def link_data(widths: tuple[int, int] = (8, 8), items: int = 200) -> LinkData:
    shared = np.random.default_rng(0).normal(size=(items, 8))
    maps = [np.random.default_rng(side + 1).normal(size=(8, width)) for side, width in enumerate(widths)]
    overlap = tuple(unit(shared @ matrix) for matrix in maps)
    memories = tuple(random_rows(side + 5, 90, width) for side, width in enumerate(widths))
    specs = tuple(ProjectorSpec(kind="mlp", input=width, hidden=16, dimension=12) for width in widths)
    return LinkData(overlap, memories, overlap, specs, "xavier", 3)  # type: ignore[arg-type]


def ranks(views: object, items: int) -> np.ndarray:
    return np.stack([best_rank(rank(*direction, Positives.diagonal(items))) for direction in views.directions])  # type: ignore[attr-defined]


def test_procrustes_recovers_a_planted_rotation() -> None:
    turn = rotation(16)
    texts, images = random_rows(1, 300, 16), random_rows(2, 100, 16)
    offsets = np.random.default_rng(3).normal(size=(4, 16)).astype(np.float32)
    data = replace(
        link_data((16, 16)),
        overlap=(texts + offsets[0], (texts @ turn).astype(np.float32) + offsets[1]),
        memories=(images + offsets[2], (images @ turn).astype(np.float32) + offsets[3]),
    )
    scorer = BASELINES["procrustes"](data)
    assert scorer is not None
    new = random_rows(4, 50, 16)
    views = scorer(new + offsets[2], (new @ turn).astype(np.float32) + offsets[3])
    np.testing.assert_allclose(np.sum(views.forward[0] * views.forward[1], axis=1), 1, atol=1e-5)
    assert (ranks(views, 50) == 1).all()


def test_centring_never_looks_at_the_evaluation_gallery() -> None:
    first, second = random_rows(11, 30, 8), random_rows(12, 30, 8)
    for name, baseline in BASELINES.items():
        scorer = baseline(link_data())
        assert scorer is not None
        whole, half = scorer(first, second).directions, scorer(first[:15], second[:15]).directions
        for all_rows, rows in zip((*whole[0], *whole[1]), (*half[0], *half[1]), strict=True):
            np.testing.assert_allclose(all_rows[:15], rows, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_takes_spaces_of_different_widths(name: str) -> None:
    scorer = BASELINES[name](link_data((8, 12)))
    if name == "unprojected":
        assert scorer is None
        return
    assert scorer is not None
    views = scorer(random_rows(1, 20, 8), random_rows(2, 25, 12))
    for queries, gallery in views.directions:
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1, atol=1e-5)
    assert [len(side) for side in views.directions[0]] == [20, 25]
    assert [len(side) for side in views.directions[1]] == [25, 20]


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 50.0])
def test_ridge_equals_sklearn_and_the_normal_equations(penalty: float) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 7)), generator.normal(size=(60, 5))
    ours = ridge_path(x, y, [penalty])[0]
    np.testing.assert_allclose(ours, Ridge(alpha=penalty, fit_intercept=False).fit(x, y).coef_.T, atol=1e-10)
    np.testing.assert_allclose(ours, np.linalg.solve(x.T @ x + penalty * np.eye(7), x.T @ y), atol=1e-10)


def test_the_penalty_is_the_best_of_the_held_out_rows() -> None:
    generator = np.random.default_rng(0)
    x, noise = generator.normal(size=(40, 20)), generator.normal(size=(40, 3))
    held = np.arange(40) % 10 == 0
    scale = (x**2).mean() * 40
    errors = {
        penalty: np.square(x[held] @ ridge_path(x[~held], noise[~held], [scale * penalty])[0] - noise[held]).sum()
        for penalty in PENALTIES
    }
    best = min(errors, key=errors.__getitem__)
    assert best > PENALTIES[0]
    np.testing.assert_allclose(fit_ridge(x, noise), ridge_path(x, noise, [scale * best])[0])
    planted = generator.normal(size=(20, 3))
    np.testing.assert_allclose(fit_ridge(x, x @ planted), planted, atol=1e-2)


def test_ridge_on_linear_data_finds_the_partner_from_both_sides() -> None:
    data = link_data((8, 8), 400)
    scorer = BASELINES["ridge"](replace(data, memories=data.overlap))
    assert scorer is not None
    assert ranks(scorer(data.overlap[0][:50], data.overlap[1][:50]), 50).mean() < 1.5


def slow_profile(row: np.ndarray, keys: np.ndarray, values: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.array([np.exp(np.dot(row.astype(float), key.astype(float)) / temperature) for key in keys])
    return sum(weight * value.astype(float) for weight, value in zip(weights / weights.sum(), values, strict=True))


def test_hops_equal_slow_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluate.baselines.hops.BLOCK_SCORES", 500)
    rows, keys, values = random_rows(1, 13, 6), random_rows(2, 70, 6), random_rows(3, 70, 9)
    expected = [slow_profile(row, keys, values, 0.02) for row in rows]
    np.testing.assert_allclose(profile(rows, keys, values, 0.02), expected, atol=1e-5)
    closest = [max(range(70), key=lambda item: float(row @ keys[item])) for row in rows]
    np.testing.assert_array_equal(nearest(rows, keys, values), values[closest])


def test_a_sharp_softmax_does_not_overflow() -> None:
    rows = random_rows(1, 5, 6)
    np.testing.assert_allclose(profile(rows, rows, rows, 1e-4), rows, atol=1e-6)


def test_two_hops_send_the_query_and_leave_the_gallery() -> None:
    data = link_data((8, 12))
    first, second = random_rows(1, 10, 8), random_rows(2, 11, 12)
    scorer = BASELINES["two_hop_nearest"](data)
    assert scorer is not None
    (queries, gallery), (back_queries, back_gallery) = scorer(first, second).directions
    np.testing.assert_allclose(gallery, second, atol=1e-6)
    np.testing.assert_allclose(back_gallery, first, atol=1e-6)
    np.testing.assert_allclose(queries, nearest(first, *data.overlap), atol=1e-6)
    np.testing.assert_allclose(back_queries, nearest(second, *data.overlap[::-1]), atol=1e-6)


def test_the_bridge_is_the_sum_of_two_centred_cosines() -> None:
    data = link_data((8, 12), 40)
    here, there = data.overlap
    first, second = random_rows(1, 6, 8), random_rows(2, 7, 12)

    def normal(row: np.ndarray) -> np.ndarray:
        return row / np.linalg.norm(row)

    def onward(row: np.ndarray) -> np.ndarray:
        return normal(slow_profile(row, here, there, BRIDGE_TEMPERATURE))

    def back(row: np.ndarray) -> np.ndarray:
        return normal(slow_profile(row, there, here, BRIDGE_TEMPERATURE))

    m_v, m_a = data.memories[0].mean(0), data.memories[1].mean(0)
    m_at = np.mean([onward(row) for row in data.memories[0]], axis=0)
    m_ct = np.mean([back(row) for row in data.memories[1]], axis=0)
    expected = [
        [normal(onward(v) - m_at) @ normal(a - m_a) + normal(v - m_v) @ normal(back(a) - m_ct) for a in second]
        for v in first
    ]
    scorer = BASELINES["bridge"](data)
    assert scorer is not None
    queries, gallery = scorer(first, second).forward
    np.testing.assert_allclose(2 * queries @ gallery.T, expected, atol=1e-5)


def test_untrained_projectors_are_seeded_and_know_nothing() -> None:
    data = link_data((8, 12))
    first, second = random_rows(1, 400, 8), random_rows(2, 400, 12)
    once, again, other = (
        BASELINES["untrained"](replace(data, seed=seed))(first, second).forward  # type: ignore[misc]
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(once[0], again[0])
    assert not np.allclose(once[0], other[0])
    assert 150 < best_rank(rank(*once, Positives.diagonal(400))).mean() < 250


def test_evenly_spread_rows_keep_both_ends() -> None:
    assert evenly(np.arange(10), 20).tolist() == list(range(10))
    assert evenly(np.arange(10), 4).tolist() == [0, 3, 6, 9]


def test_a_connection_that_names_no_data_gives_no_baselines():
    """Published projectors need none."""
    link = make_link()
    assert link_between("audio_image", [link], ("audio", "image")) == (link, ("clap", "clip"))
    memories = {space: Memory(modality=memory.modality) for space, memory in link.memories.items()}
    for bare in (link.model_copy(update={"memories": memories}), link.model_copy(update={"queries": ()})):
        with pytest.raises(UserError, match="cannot give baselines for audio and image: .*names no data"):
            link_between("published", [bare], ("audio", "image"))


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_constant_data_say_nothing_and_are_at_chance(name: str) -> None:
    """All pictures of a memory alike, or all texts: what is predicted from them is nothing, not NaN, which would end the stage."""
    data = link_data()
    alike = tuple(np.repeat(rows[:1], len(rows), axis=0) for rows in data.overlap)
    scorer = BASELINES[name](replace(data, overlap=alike, memories=alike, pseudo=alike))
    assert scorer is not None
    found = ranks(scorer(random_rows(1, 60, 8), random_rows(2, 60, 8)), 60)
    assert np.isfinite(found).all() and abs(found.mean() - 30.5) < 12
