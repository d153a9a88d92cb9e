"""Differences between connections: those of the metrics, with the interval of resampled items, first one as reference."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.files.sealed import read_sealed, write_sealed
from tests.evaluate.world import CONNECTIONS, build_world

KEYS = ["direction", "metric"]
TASK = {
    "task": "retrieval",
    "corpus": "heldout",
    "modalities": ["audio", "image"],
    "connections": ["audio_image", "oracle"],
    "baselines": "audio_image",
}


@pytest.fixture
def folders(tmp_path: Path):
    return build_world(tmp_path)


def measured(folders, bootstrap: int = 400) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    settings = EvaluateSettings.model_validate({"bootstrap": bootstrap, "tasks": {"bridged": TASK}})
    evaluate(settings, folders, CONNECTIONS, 3)
    metrics, differences, ranks = (
        pd.read_parquet(folders.metrics / f"{name}.parquet") for name in ("metrics", "differences", "ranks")
    )
    return metrics, differences[~differences.against.str.startswith("baseline/")], ranks


def test_a_difference_is_that_of_the_two_metrics(folders):
    metrics, differences, _ = measured(folders)
    assert set(differences.connection) == {"oracle"} and set(differences.against) == {"audio_image"}
    assert len(differences) == 3 * 5
    values = {
        name: rows.set_index(KEYS).value
        for name, rows in metrics[metrics.method.isin(["cmcr", "oracle"])].groupby("method")
    }
    found = differences.set_index(KEYS)
    np.testing.assert_allclose(found.value, (values["oracle"] - values["cmcr"])[found.index], atol=1e-12)
    assert ((differences.ci_low <= differences.value) & (differences.value <= differences.ci_high)).mean() > 0.9


def test_the_interval_is_that_of_items_drawn_once_for_both_and_for_both_directions(folders):
    _, differences, ranks = measured(folders, 2000)
    hits = ranks[ranks.method.isin(["cmcr", "oracle"])].assign(hit=lambda rows: rows["rank"] <= 10)
    table = hits.pivot_table(index="item", columns=["method", "direction"], values="hit", aggfunc="mean")
    each = (table["oracle"] - table["cmcr"]).mean(axis=1).to_numpy(float)
    draws = np.random.default_rng(0).integers(len(each), size=(4000, len(each)))
    expected = np.quantile(each[draws].mean(1), [0.025, 0.975])
    row = differences.set_index(KEYS).loc[("mean", "R@10")]
    np.testing.assert_allclose([row.ci_low, row.ci_high], expected, atol=0.02)


def test_a_connection_against_itself_does_not_differ_and_without_resamples_there_is_nothing(folders):
    config = read_sealed(folders.models / "audio_image" / "config.json")
    for name in ("projector.safetensors",):
        (folders.models / "oracle" / name).write_bytes((folders.models / "audio_image" / name).read_bytes())
    oracle = folders.models / "oracle" / "config.json"
    write_sealed(oracle, read_sealed(oracle) | {"files": config["files"]})
    _, differences, _ = measured(folders)
    assert (differences[["value", "ci_low", "ci_high"]] == 0).all().all()
    assert measured(folders, 0)[1].empty


def test_a_connection_is_compared_with_what_needs_no_training_on_the_same_items(folders):
    """By hand from the ranks: the difference of two rows, and its interval over items drawn once for both."""
    measured(folders, 2000)
    metrics, differences, ranks = (
        pd.read_parquet(folders.metrics / f"{name}.parquet") for name in ("metrics", "differences", "ranks")
    )
    free = differences[differences.against.str.startswith("baseline/")]
    offered = set(metrics.method) - {"cmcr", "oracle"}
    assert set(free.against) == {f"baseline/{name}" for name in offered} and {"bridge", "two_hop_softmax"} <= offered
    assert set(free.connection) == {"audio_image", "oracle"}
    for name in sorted(offered):
        hits = ranks[ranks.method.isin(["cmcr", name])].assign(hit=lambda rows: rows["rank"] <= 10)
        table = hits.pivot_table(index="item", columns=["method", "direction"], values="hit", aggfunc="mean")
        each = (table["cmcr"] - table[name]).mean(axis=1).to_numpy(float)
        row = free[(free.connection == "audio_image") & (free.against == f"baseline/{name}")].set_index(KEYS)
        row = row.loc[("mean", "R@10")]
        draws = np.random.default_rng(0).integers(len(each), size=(4000, len(each)))
        np.testing.assert_allclose(row.value, each.mean(), atol=1e-12)
        np.testing.assert_allclose(
            [row.ci_low, row.ci_high], np.quantile(each[draws].mean(1), [0.025, 0.975]), atol=0.02
        )


def test_a_connection_is_compared_with_the_frozen_space_whose_own_task_it_is(folders):
    """By hand from the ranks: what a space's own retrieval loses by connecting, with its paired interval."""
    task = {**TASK, "modalities": ["image", "text"], "space": "clip", "connections": ["audio_image"], "baselines": ""}
    settings = EvaluateSettings.model_validate({"bootstrap": 2000, "tasks": {"kept": task}})
    evaluate(settings, folders, CONNECTIONS, 3)
    differences, ranks = (pd.read_parquet(folders.metrics / f"{name}.parquet") for name in ("differences", "ranks"))
    assert set(differences.against) == {"frozen/clip"} and set(differences.connection) == {"audio_image"}
    table = ranks.assign(hit=ranks["rank"] <= 1).pivot_table(
        index="item", columns=["method", "direction"], values="hit", aggfunc="mean"
    )
    each = (table["cmcr"] - table["frozen"]).mean(axis=1).to_numpy(float)
    draws = np.random.default_rng(0).integers(len(each), size=(4000, len(each)))
    row = differences.set_index(KEYS).loc[("mean", "R@1")]
    assert each.mean() != 0
    np.testing.assert_allclose(row.value, each.mean(), atol=1e-12)
    np.testing.assert_allclose([row.ci_low, row.ci_high], np.quantile(each[draws].mean(1), [0.025, 0.975]), atol=0.02)
