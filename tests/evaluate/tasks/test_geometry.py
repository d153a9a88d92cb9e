"""Geometry: closed forms, brute force, and SciPy where it has the number."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import skew

from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.tasks import shape
from pipeline.evaluate.tasks.shape import Gap, Skewness, Uniformity, occurrences
from tests.evaluate.samples import random_rows
from tests.evaluate.world import CONNECTIONS, build_world, embedded

TASK = {"task": "geometry", "corpus": "heldout", "modalities": ["text", "audio"], "space": "clap", "neighbours": 4}
ITEMS = np.arange(30)


def test_a_frozen_space_has_the_numbers_of_a_loop(tmp_path: Path) -> None:
    folders = build_world(tmp_path)
    connections = {"connections": ["audio_image"], "through": {"text": "clap"}}
    settings = EvaluateSettings.model_validate({"bootstrap": 200, "tasks": {"shape": {**TASK, **connections}}})
    evaluate(settings, folders, CONNECTIONS, 3)
    rows = pd.read_parquet(folders.metrics / "metrics.parquet")
    assert set(rows.direction) == {"text-audio"} and set(rows.method) == {"frozen", "cmcr"} and (rows.n == 40).all()
    assert rows.chance.isna().all() and ((rows.ci_low <= rows.value) & (rows.value <= rows.ci_high)).mean() > 0.9
    found = rows[rows.method == "frozen"].set_index("metric").value
    text, audio = (embedded("clap", "heldout", name, 40).astype(np.float64) for name in ("text", "audio"))
    scores = text @ audio.T
    nearest = [[np.sort(row)[-4] <= score for score in row] for row in scores]
    expected = {
        "gap": np.sqrt(sum((text[:, at].mean() - audio[:, at].mean()) ** 2 for at in range(10))),
        "alignment": np.mean([((one - other) ** 2).sum() for one, other in zip(text, audio, strict=True)]),
        "uniformity_text": np.log(np.exp(-2 * pdist(text) ** 2).mean()),
        "uniformity_audio": np.log(np.exp(-2 * pdist(audio) ** 2).mean()),
        "hubness_audio": skew(np.sum(nearest, axis=0)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name
    assert "hubness_text" in found


def test_closed_forms() -> None:
    rows = random_rows(0, 30, 8)
    assert Gap(rows, rows, (ITEMS, ITEMS)).value() == 0
    assert Gap(np.tile([[1.0, 0]], (3, 1)), np.tile([[-1.0, 0]], (3, 1)), (ITEMS, ITEMS)).value() == 2
    assert Uniformity.of(np.tile([[1.0, 0]], (5, 1)), ITEMS[:5]).value() == pytest.approx(0)
    assert Uniformity.of(np.array([[1.0, 0], [-1, 0]]), ITEMS[:2]).value() == pytest.approx(-8)
    assert Skewness(np.full(6, 4.0), ITEMS[:6]).value() == 0
    # One row that is everybody's nearest: N - 1 zeros and one N.
    hub = occurrences(rows, np.concatenate([rows.mean(0, keepdims=True) * 100, rows * 1e-3]), 1)
    assert hub[0] >= 15 and Skewness(hub, np.arange(31)).value() > 4


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, others = random_rows(0, 30, 8), random_rows(1, 25, 8)
    whole = Uniformity.of(rows, ITEMS).potentials, occurrences(rows, others, 5)
    monkeypatch.setattr(shape, "TILE_ROWS", 7)
    np.testing.assert_allclose(Uniformity.of(rows, ITEMS).potentials, whole[0])
    np.testing.assert_array_equal(occurrences(rows, others, 5), whole[1])
    assert occurrences(rows, others, 5).sum() == 30 * 5
    np.testing.assert_array_equal(occurrences(rows, others, 99), np.full(25, 30.0))


def test_resamples_are_those_of_drawn_rows() -> None:
    rows, others = random_rows(0, 30, 8), random_rows(1, 30, 8)
    values = np.random.default_rng(2).exponential(size=30)
    weights = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), size=40).astype(np.float64)
    drawn = [np.repeat(ITEMS, row.astype(int)) for row in weights]
    gaps = Gap(rows, others, (ITEMS, ITEMS)).resampled(weights)
    np.testing.assert_allclose(gaps, [np.linalg.norm(rows[at].mean(0) - others[at].mean(0)) for at in drawn], rtol=1e-5)
    np.testing.assert_allclose(Skewness(values, ITEMS).resampled(weights), [skew(values[at]) for at in drawn])


def test_the_interval_of_uniformity_has_the_width_of_fresh_samples() -> None:
    def draw(seed: int) -> Uniformity:
        rows = np.random.default_rng(seed).normal([1.0, 0, 0, 0], size=(80, 4))
        return Uniformity.of(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.arange(80))

    spread = np.std([draw(seed).value() for seed in range(200)])
    weights = np.random.default_rng(0).multinomial(80, np.full(80, 1 / 80), size=400).astype(np.float64)
    assert np.mean([draw(seed).resampled(weights).std() for seed in range(5)]) == pytest.approx(spread, rel=0.2)
