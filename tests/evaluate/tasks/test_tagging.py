"""Zero-shot tagging against scikit-learn, with and without resampling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluate.folders import Folders
from pipeline.evaluate.ranking.positives import Positives
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.tasks.tagging import MeanPrecision
from tests.evaluate.samples import random_rows
from tests.evaluate.world import CONNECTIONS, build_world, embedded, write_store

TAGS = ["rain", "siren", "speech", "unused"]


def membership(seed: int, samples: int, classes: int) -> np.ndarray:
    found = np.random.default_rng(seed).random((samples, classes)) < 0.35
    found[np.arange(samples), np.random.default_rng(seed + 1).integers(classes, size=samples)] = True
    return found


def test_the_mean_is_that_of_scikit_learn(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    folders = build_world(tmp_path)
    write_store(folders, "clap", "tags", "text", [f"{name}-{at}" for name in TAGS for at in range(2)])
    truth = membership(0, 40, 3)
    rows = [(f"heldout-{row:04d}", TAGS[tag]) for row, tag in zip(*np.nonzero(truth), strict=True)]
    pd.DataFrame(rows, columns=["clip", "tag"]).to_parquet(tmp_path / "tags.parquet")
    folders = Folders(folders.embeddings, folders.models, folders.pairs, folders.metrics, tmp_path)
    task = {
        "task": "tagging",
        "corpus": "heldout",
        "modality": "audio",
        "labels": {"table": "tags.parquet", "key": "clip", "column": "tag"},
        "prompts": "tags",
        "space": "clap",
    }
    evaluate(EvaluateSettings.model_validate({"bootstrap": 300, "tasks": {"tags": task}}), folders, CONNECTIONS, 3)
    row = pd.read_parquet(folders.metrics / "metrics.parquet").iloc[0]
    prompts = embedded("clap", "tags", "text", 8).astype(np.float64).reshape(4, 2, -1).mean(1)
    scores = embedded("clap", "heldout", "audio", 40) @ (prompts / np.linalg.norm(prompts, axis=1, keepdims=True)).T
    assert row.value == pytest.approx(sklearn.average_precision_score(truth, scores[:, :3], average="macro"))
    assert (row.metric, row.n, row.direction) == ("mAP", 40, "audio->text")
    assert row.ci_low < row.value < row.ci_high
    assert truth.mean() < row.chance < truth.mean() + 0.1


def test_resamples_weigh_the_samples_as_scikit_learn_does() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    truth = membership(5, 30, 4)
    scores = random_rows(1, 4, 6).astype(np.float64) @ random_rows(2, 30, 6).T
    pairs = np.argwhere(truth.T)
    positives = Positives.of_pairs(pairs[:, 0], pairs[:, 1], (4, 30))
    weights = np.random.default_rng(3).integers(0, 3, size=(7, 30)).astype(np.float64)
    expected = [
        np.mean([sklearn.average_precision_score(truth[:, at], scores[at], sample_weight=row) for at in range(4)])
        for row in weights
    ]
    np.testing.assert_allclose(MeanPrecision(scores, positives, 0.0, 0).resampled(weights), expected)


def test_a_resample_without_a_class_is_the_mean_over_the_others() -> None:
    positives = Positives(np.array([[0], [1]]), 3)
    found = MeanPrecision(np.array([[3.0, 2, 1], [3, 2, 1]]), positives, 0.0, 0)
    np.testing.assert_allclose(found.resampled(np.array([[1.0, 1, 1], [0, 1, 1], [0, 0, 1]])), [0.75, 1.0, np.nan])
