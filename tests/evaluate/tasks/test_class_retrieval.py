"""Retrieval by class: many relevant rows, no key in common, and the same ranks by sorting as by counting."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.ranking import sorted_ranks
from pipeline.evaluate.ranking.counting import rank
from pipeline.evaluate.ranking.sorted_ranks import rank_by_sorting
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.sets.items import _items
from pipeline.evaluate.settings import EvaluateSettings
from tests.evaluate.samples import random_positives, random_rows, with_duplicates
from tests.evaluate.world import CONNECTIONS, build_world, embedded

# Sounds and pictures of different corpora: only the class joins them.
TASK = {
    "task": "retrieval",
    "corpus": "sounds",
    "corpora": {"image": "photos"},
    "modalities": ["audio", "image"],
    "connections": ["audio_image"],
    "labels": {"table": "scenes.parquet", "column": "shape"},
}


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("most", [1, 4, 30])
def test_sorting_gives_the_counts_of_counting(duplicates: bool, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = random_rows(1, 50, 16), random_rows(2, 60, 16)
    if duplicates:
        first, second = with_duplicates(first, 3), with_duplicates(second, 4)
    positives = random_positives(5, 50, 60, most)
    expected = rank(first, second, positives)
    for tile in (2**23, 130):
        monkeypatch.setattr(sorted_ranks, "TILE_SCORES", tile)
        found = rank_by_sorting(first, second, positives)
        for name in ("above", "tied", "relevant_above", "relevant_tied"):
            kept = np.where(expected.valid, getattr(expected, name), 0)
            np.testing.assert_array_equal(getattr(found, name), kept, err_msg=name)
        np.testing.assert_array_equal(found.valid, expected.valid)
        assert found.gallery == 60


def test_an_embedding_that_is_not_finite_is_refused() -> None:
    rows = random_rows(1, 20, 4)
    rows[3, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        rank_by_sorting(rows, rows, random_positives(5, 20, 20, 10))


def by_class(tmp_path: Path, table: pd.DataFrame, **changes: object) -> pd.DataFrame:
    folders = build_world(tmp_path)
    table.to_parquet(tmp_path / "scenes.parquet")
    folders = Folders(folders.embeddings, folders.models, folders.pairs, folders.metrics, tmp_path)
    settings = EvaluateSettings.model_validate({"bootstrap": 100, "tasks": {"classes": {**TASK, **changes}}})
    evaluate(settings, folders, CONNECTIONS, 3)
    return pd.read_parquet(folders.metrics / "metrics.parquet")


def shapes(seed: int) -> pd.DataFrame:
    keys = [f"sounds-{i:04d}" for i in range(160)] + [f"photos-{i:04d}" for i in range(150)]
    draws = np.random.default_rng(seed).integers(5, size=310)
    return pd.DataFrame({"key": keys, "shape": np.array(["ball", "cube", "ring", "star", "cone"])[draws]})


def test_numbers_are_those_of_a_sort_and_of_scikit_learn(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    from pipeline.connect import ConnectedSpace

    table = shapes(0)
    # A class that only one side has, and a sound without a class, are left out.
    table.loc[7, "shape"] = "only heard"
    table = table.drop(9).reset_index(drop=True)
    metrics = by_class(tmp_path, table).set_index(["direction", "metric"])
    space = ConnectedSpace.load(tmp_path / "models" / "audio_image")
    shape = table.set_index("key")["shape"]
    kept = [i for i in range(160) if i not in (7, 9)]
    audio = space.project("clap", embedded("clap", "sounds", "audio", 160)).numpy()[kept].astype(np.float64)
    image = space.project("clip", embedded("clip", "photos", "image", 150)).numpy().astype(np.float64)
    heard = shape[[f"sounds-{i:04d}" for i in kept]].to_numpy()
    seen = shape[[f"photos-{i:04d}" for i in range(150)]].to_numpy()
    both = []
    for name, queries, gallery, left, right in (
        ("audio->image", audio, image, heard, seen),
        ("image->audio", image, audio, seen, heard),
    ):
        truth = left[:, None] == right
        scores = queries @ gallery.T
        order = np.argsort(-scores, axis=1)
        any_positive = [truth[at][order[at, :5]].any() for at in range(len(truth))]
        precision = [sklearn.average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)]
        assert metrics.value[name, "class_R@5"] == pytest.approx(np.mean(any_positive))
        assert metrics.value[name, "class_mAP"] == pytest.approx(np.mean(precision))
        assert metrics.n[name, "class_mAP"] == len(left)
        assert metrics.chance[name, "class_mAP"] == pytest.approx(truth.mean(), abs=0.05)
        both.append(np.mean(precision))
    assert metrics.value["mean", "class_mAP"] == pytest.approx(np.mean(both))
    assert metrics.n["mean", "class_mAP"] == 158 + 150
    examples = pd.read_parquet(tmp_path / "metrics" / "examples.parquet")
    same = shape[examples.query_key].to_numpy() == shape[examples.neighbour_key].to_numpy()
    np.testing.assert_array_equal(examples.relevant, same)
    assert same.any()


@pytest.mark.parametrize("true", [True, "1", "true"])
def test_only_marked_samples_are_used(tmp_path: Path, true: object) -> None:
    from pipeline.connect import ConnectedSpace

    kept = [0, 3, 4, 11, 17, 28, 39]
    false = {True: False, "1": "0", "true": ""}[true]
    marks = pd.DataFrame(
        {"key": [f"heldout-{i:04d}" for i in range(40)], "used": [true if i in kept else false for i in range(40)]}
    )
    task = {
        **TASK,
        "corpus": "heldout",
        "corpora": {},
        "only": {"table": "scenes.parquet", "column": "used"},
        "labels": None,
    }
    metrics = by_class(tmp_path, marks, **task).set_index(["direction", "metric"])
    space = ConnectedSpace.load(tmp_path / "models" / "audio_image")
    audio = space.project("clap", embedded("clap", "heldout", "audio", 40)).numpy()[kept]
    image = space.project("clip", embedded("clip", "heldout", "image", 40)).numpy()[kept]
    scores = audio @ image.T
    first = np.mean(scores.argmax(1) == np.arange(len(kept)))
    assert metrics.value["audio->image", "R@1"] == pytest.approx(first)
    assert metrics.n["audio->image", "R@1"] == len(kept)


def test_a_mark_that_is_neither_true_nor_false_is_refused(tmp_path: Path) -> None:
    marks = pd.DataFrame({"key": ["heldout-0000"], "used": ["perhaps"]})
    task = {
        **TASK,
        "corpus": "heldout",
        "corpora": {},
        "only": {"table": "scenes.parquet", "column": "used"},
        "labels": None,
    }
    with pytest.raises(UserError, match="neither true nor false"):
        by_class(tmp_path, marks, **task)


def test_no_class_in_common_is_named(tmp_path: Path) -> None:
    table = shapes(0)
    table["shape"] = table.key.str[:6]
    with pytest.raises(UserError, match="no class in common"):
        by_class(tmp_path, table)


def test_a_dash_in_an_id_is_not_that_of_its_captions() -> None:
    sounds, captions = ["-a1-b_30", "c_0"], ["-a1-b_30-0", "-a1-b_30-1", "c_0-0", "-stray-1"]
    found = _items([sounds, captions], "-")
    assert found[0] == {"-a1-b_30": "-a1-b_30", "c_0": "c_0"}
    assert list(found[1].values()) == ["-a1-b_30", "-a1-b_30", "c_0", "-stray-1"]
    # Both sides have several of each item.
    assert _items([["dog_0", "dog_1"], ["dog_0", "dog_2"]], "_") == [
        {"dog_0": "dog", "dog_1": "dog"},
        {"dog_0": "dog", "dog_2": "dog"},
    ]
    assert _items([["a_0"], ["a_0"]], "") == [{"a_0": "a_0"}] * 2


def test_blanks_around_a_class_or_a_key_make_no_other_one(tmp_path: Path) -> None:
    """A table that was typed: `cone ` is the class of `cone`, not a second one for which every cone is a wrong answer."""
    clean, typed = shapes(0), shapes(0)
    typed.loc[::2, "shape"] += " "
    typed.loc[::3, "key"] = " " + typed.key[::3]
    pd.testing.assert_frame_equal(by_class(tmp_path / "typed", typed), by_class(tmp_path / "clean", clean))


def test_a_single_class_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = by_class(tmp_path, shapes(0).assign(shape="cone"))
    assert (metrics.value[metrics.metric == "class_R@1"] == 1).all()
    assert "sounds has one class: every answer is right" in caplog.text
