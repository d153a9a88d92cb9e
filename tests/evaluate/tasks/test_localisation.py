"""Localisation and counterfactual recognition against rasters, loops and scikit-learn, and as a task."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.tasks.overlap import box_ciou, crop_heat, map_ciou, success_area, truth_map
from pipeline.evaluate.tasks.recognition import Recognition
from pipeline.keys import key_of_name
from tests.evaluate.samples import random_rows
from tests.evaluate.world import CONNECTIONS, build_world, embedded, write_store

CROPS = 4
BOX = ["x0", "y0", "x1", "y1"]
TASK = {
    "task": "localisation",
    "corpus": "heldout",
    "crops": "crops",
    "proposals": "crops.csv",
    "regions": "regions.csv",
    "space": "both",
}


def boxes(seed: int, count: int, side: int = 1) -> np.ndarray:
    corners = np.sort(np.random.default_rng(seed).integers(0, 33, size=(count, 2, 2)), axis=1)
    corners[:, 1] += corners[:, 0] == corners[:, 1]
    return corners.reshape(count, 4) / 33 * side


@pytest.mark.parametrize("agreement", [1, 2])
def test_overlap_of_boxes_is_that_of_a_raster(agreement: int) -> None:
    for seed in range(40):
        predicted, regions = boxes(seed, 1, 33)[0], boxes(seed + 100, 1 + seed % 4, 33)
        raster = np.zeros((34, 34))
        for x0, y0, x1, y1 in regions.round().astype(int):
            raster[y0:y1, x0:x1] += 1
        raster = np.minimum(raster / agreement, 1)
        mask = np.zeros((34, 34))
        x0, y0, x1, y1 = predicted.round().astype(int)
        mask[y0:y1, x0:x1] = 1
        expected = (mask * raster).sum() / (raster.sum() + (mask * (raster == 0)).sum())
        assert box_ciou(predicted, regions, agreement) == pytest.approx(expected)


def test_one_box_is_intersection_over_union() -> None:
    assert box_ciou(np.array([0, 0, 2, 2]), np.array([[1, 1, 3, 3]])) == pytest.approx(1 / 7)
    assert box_ciou(np.array([0, 0, 2, 2]), np.array([[0, 0, 2, 2]])) == 1
    assert box_ciou(np.array([0, 0, 1, 1]), np.array([[2, 2, 3, 3]])) == 0
    # Two annotators who mark the same are as one who is certain; one alone counts half.
    assert box_ciou(np.array([0, 0, 2, 2]), np.array([[0, 0, 2, 2]] * 2), 2) == 1
    assert box_ciou(np.array([0, 0, 2, 2]), np.array([[0, 0, 2, 2], [2, 0, 4, 2]]), 2) == pytest.approx(0.5)


def test_a_box_that_holds_nothing_marks_nothing():
    """VGG-SS has 18 of them, reversed when they are clipped; of two clips they are all there is, and nothing is right there."""
    good, reversed_, flat = [0.2, 0.2, 0.6, 0.7], [0.4, 0.66, 0.0, 0.98], [0.27, 1.0, 0.75, 1.0]
    predicted = np.array([0.1, 0.2, 0.5, 0.9])
    for empty in (reversed_, flat):
        assert box_ciou(predicted, np.array([good, empty])) == pytest.approx(box_ciou(predicted, np.array([good])))
        assert box_ciou(predicted, np.array([empty])) == 0
        np.testing.assert_array_equal(truth_map(np.array([good, empty])), truth_map(np.array([good])))
        assert not truth_map(np.array([empty])).any()


def test_a_heat_map_is_cut_at_its_median() -> None:
    heat = np.arange(16.0).reshape(4, 4)
    assert map_ciou(heat, (heat >= 8).astype(float)) == 1
    assert map_ciou(heat, (heat < 8).astype(float)) == 0
    assert map_ciou(heat, (heat >= 12).astype(float)) == pytest.approx(4 / 8)
    # The scale of a map says nothing.
    truth = truth_map(boxes(3, 2), side=4)
    assert map_ciou(heat, truth) == map_ciou(heat / 15, truth)


def test_a_map_of_crops_is_their_mean() -> None:
    heat = crop_heat(np.array([[0, 0, 0.5, 1], [0.25, 0, 0.75, 1]]), np.array([1.0, 3.0]), side=4)
    np.testing.assert_allclose(heat, np.tile([1, 2, 3, 1], (4, 1)))
    np.testing.assert_allclose(truth_map(np.array([[0, 0, 0.5, 1], [0.25, 0, 1.5, 1]]), 2, 4)[0], [0.5, 1, 0.5, 0.5])


def test_the_area_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    ciou = np.random.default_rng(0).random(50)
    thresholds = [0.05 * i for i in range(21)]
    expected = sklearn.auc(thresholds, [np.mean(ciou >= threshold) for threshold in thresholds])
    assert success_area(ciou).mean() == pytest.approx(expected)
    np.testing.assert_allclose(success_area(np.array([0.0, 1.0])), [0.025, 1.0])


def recognition_by_loop(confidence, visible, located) -> tuple[float, float]:
    points = []
    for threshold in sorted(set(confidence), reverse=True):
        true = false = missed = 0
        for confident, shown, right in zip(confidence >= threshold, visible, located, strict=True):
            true += confident and shown and right
            false += confident and not (shown and right)
            missed += shown and not confident
        points.append(
            (true / (true + false) if true + false else 1.0, true / (true + missed) if true + missed else 1.0)
        )
    area = before = 0.0
    for at, (_, recall) in enumerate(points):
        area += max(precision for precision, _ in points[at:]) * (recall - before)
        before = recall
    return area, max(2 * p * r / (p + r) if p + r else 0.0 for p, r in points)


@pytest.mark.parametrize("seed", range(6))
def test_recognition_is_that_of_a_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    confidence = generator.random(60).round(2 if seed % 2 else 9)
    visible, located = generator.random(60) < 0.5, generator.random(60) < 0.6
    area, best = recognition_by_loop(confidence, visible, located)
    assert Recognition(confidence, visible, located, "AP").value() == pytest.approx(area)
    assert Recognition(confidence, visible, located, "max-F1").value() == pytest.approx(best)
    weights = generator.multinomial(60, np.full(60, 1 / 60), size=5)
    for metric, at in (("AP", 0), ("max-F1", 1)):
        found = Recognition(confidence, visible, located, metric).resampled(weights.astype(float))
        drawn = [np.repeat(np.arange(60), row) for row in weights]
        expected = [recognition_by_loop(confidence[rows], visible[rows], located[rows])[at] for rows in drawn]
        np.testing.assert_allclose(found, expected)


def slavc_by_loop(confidence, visible, located) -> tuple[float, float]:
    """What EvaluatorFull in utils.py of github stoneMo/SLAVC computes, written down from its description: pair by pair."""

    def counted(threshold):
        true = sum(c >= threshold and v and r for c, v, r in zip(confidence, visible, located, strict=True))
        false = sum(c >= threshold and not (v and r) for c, v, r in zip(confidence, visible, located, strict=True))
        missed = sum(c < threshold and v for c, v in zip(confidence, visible, strict=True))
        return (true / (true + false) if true + false else 1.0, true / (true + missed) if true + missed else 1.0)

    ranked = sorted(confidence)
    points = [counted(threshold) for threshold in ranked[:-1][:: -max(1, len(ranked) // 200)]]
    area = 0.0
    for at in range(len(points) - 1):
        area += max(precision for precision, _ in points[at:]) * (points[at + 1][1] - points[at][1])
    few = [counted(threshold) for threshold in ranked[:: max(1, len(ranked) // 10)]]
    return area, max(2 * p * r / (p + r) if p + r else 0.0 for p, r in few)


@pytest.mark.parametrize(("seed", "pairs"), [(0, 60), (1, 7), (2, 650), (3, 1001)])
def test_the_protocol_of_slavc_is_that_of_a_loop(seed: int, pairs: int) -> None:
    generator = np.random.default_rng(seed)
    confidence = generator.random(pairs).round(2 if seed % 2 else 9)
    visible, located = generator.random(pairs) < 0.5, generator.random(pairs) < 0.6
    weights = generator.multinomial(pairs, np.full(pairs, 1 / pairs), size=2)
    for metric, at in (("AP", 0), ("max-F1", 1)):
        measure = Recognition(confidence, visible, located, metric, "slavc")
        assert measure.value() == pytest.approx(slavc_by_loop(confidence, visible, located)[at])
        drawn = [np.repeat(np.arange(pairs), row) for row in weights]
        expected = [slavc_by_loop(confidence[rows], visible[rows], located[rows])[at] for rows in drawn]
        np.testing.assert_allclose(measure.resampled(weights.astype(float)), expected)


def test_perfect_and_useless_recognition() -> None:
    visible = np.array([True, True, False, False])
    for metric in ("AP", "max-F1"):
        assert Recognition(np.array([4.0, 3, 2, 1]), visible, visible, metric).value() == 1
        assert Recognition(np.array([4.0, 3, 2, 1]), visible, ~visible, metric).value() == 0


@pytest.fixture
def world(tmp_path: Path) -> Folders:
    folders = build_world(tmp_path)
    keys = [f"picture-{i:02d}-{n}" for i in range(20) for n in range(CROPS)]
    # One space with both modalities, so that the numbers can be had by hand.
    write_store(folders, "clap", "crops", "image", keys, random_rows(9, len(keys), 10))
    (folders.embeddings / "clap").rename(folders.embeddings / "both")
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    proposals = pd.DataFrame(boxes(1, len(keys)), columns=BOX).assign(key=keys)
    proposals.to_csv(annotations / "crops.csv", index=False)
    return Folders(folders.embeddings, folders.models, folders.pairs, folders.metrics, annotations)


def write_regions(world: Folders, hidden: int) -> None:
    rows = [(f"heldout-{i:04d}", f"picture-{i:02d}", *box) for i, box in enumerate(boxes(2, 20))]
    rows += [(f"heldout-{i:04d}", f"picture-{i:02d}", *box) for i, box in enumerate(boxes(3, 7))]
    rows += [(f"heldout-{20 + i:04d}", f"picture-{i:02d}", None, None, None, None) for i in range(hidden)]
    pd.DataFrame(rows, columns=["audio", "image", *BOX]).to_csv(world.annotations / "regions.csv", index=False)


def measure(world: Folders, **changes: object) -> pd.DataFrame:
    settings = EvaluateSettings.model_validate({"bootstrap": 100, "tasks": {"where": {**TASK, **changes}}})
    evaluate(settings, world, CONNECTIONS, 3)
    return pd.read_parquet(world.metrics / "metrics.parquet").set_index("metric")


@pytest.mark.parametrize("readout", ["box", "map"])
def test_the_best_crop_is_the_answer(world: Folders, readout: str) -> None:
    write_regions(world, hidden=0)
    found = measure(world, readout=readout)
    crops, sounds = random_rows(9, 80, 10).reshape(20, CROPS, 10), embedded("clap", "heldout", "audio", 40)
    cut, first, second = boxes(1, 80).reshape(20, CROPS, 4), boxes(2, 20), boxes(3, 7)
    ciou = []
    for at in range(20):
        scores = crops[at] @ sounds[at]
        regions = np.concatenate([first[at : at + 1], second[at : at + 1]])
        if readout == "box":
            ciou.append(box_ciou(cut[at, scores.argmax()], regions))
        else:
            ciou.append(map_ciou(crop_heat(cut[at], scores), truth_map(regions)))
    assert found.value["cIoU"] == pytest.approx(np.mean(np.array(ciou) >= 0.5))
    assert found.value["AUC"] == pytest.approx(success_area(np.array(ciou)).mean())
    assert (found.n == 20).all() and (found.direction == "audio->image").all() and set(found.index) == {"cIoU", "AUC"}
    if readout == "box":
        every = [
            [box_ciou(box, np.concatenate([first[at : at + 1], second[at : at + 1]])) for box in cut[at]]
            for at in range(20)
        ]
        assert found.chance["cIoU"] == pytest.approx((np.array(every) >= 0.5).mean())


def test_hidden_sources_ask_for_recognition(world: Folders) -> None:
    write_regions(world, hidden=15)
    found = measure(world)
    assert set(found.index) == {"LocAcc", "AUC", "AP", "max-F1"}
    assert found.n["LocAcc"] == 20 and found.n["AP"] == 35
    assert found.chance.notna()["LocAcc"] and found.chance.isna()["AP"]
    assert ((found.ci_low <= found.value) & (found.value <= found.ci_high)).all()
    published = measure(world, protocol="slavc")
    assert set(published.index) == {"LocAcc", "AUC", "AP-slavc", "max-F1-slavc"}  # never taken for the textbook's


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("regions.csv", "heldout-0001,nowhere,0,0,1,1", "nowhere"),
        ("regions.csv", "silence,picture-01,0,0,1,1", "silence"),
        ("regions.csv", "heldout-0001,picture-01,left,0,1,1", "not four numbers"),
        ("regions.csv", "heldout-0001,picture-01,,,,", "has no boxes"),
        ("crops.csv", "0,0,1,1,picture-00-0", "picture-00-1.* has no box"),
    ],
)
def test_what_does_not_fit_is_named(world: Folders, table: str, row: str, message: str) -> None:
    write_regions(world, hidden=0)
    path = world.annotations / table
    path.write_text(path.read_text().splitlines()[0] + "\n" + row + "\n")
    with pytest.raises(UserError, match=message) as caught:
        measure(world)
    assert caught.value.hint


PICTURES = ["my photo", "sub/deep", "img.v1", "über b", "a b/c-1 d"]
SOUNDS = ["dog barks", "day 1/take 2", "s.1", "plain", "ü"]


@pytest.mark.parametrize("spelling", ["keys", "names", "files", "prepared"])
def test_crops_pictures_and_sounds_are_found_by_the_names_of_their_files(world: Folders, spelling: str) -> None:
    """Crops may be somebody's own files, or those that `mcr prepare` cuts: `<key of the picture>-<n>`."""
    crops = [f"{name}-{number}" for name in PICTURES for number in range(CROPS)]
    if spelling in ("keys", "prepared"):
        crops = [f"{key_of_name(name)}-{number}" for name in PICTURES for number in range(CROPS)]
    rows = random_rows(9, len(crops), 10)
    for modality, corpus, names in (("image", "odd-crops", crops), ("audio", "odd", SOUNDS)):
        keys = [key_of_name(name) for name in names]
        order = np.argsort(keys)
        vectors = rows[: len(names)][order]
        write_store(world, "clap", corpus, modality, [keys[at] for at in order], vectors)
        (world.embeddings / "clap" / corpus).rename(world.embeddings / "both" / corpus)
    written = {
        "keys": lambda name, ending: key_of_name(name),
        "names": lambda name, ending: name,
        "files": lambda name, ending: f"{name}.{ending}",
        "prepared": lambda name, ending: name if name in crops else f"{name}.{ending}",
    }[spelling]
    places, truth = boxes(1, len(crops)), boxes(2, len(PICTURES))
    table = pd.DataFrame(places, columns=BOX).assign(key=[written(name, "png") for name in crops])
    table.to_csv(world.annotations / "odd-crops.csv", index=False)
    regions = pd.DataFrame(truth, columns=BOX)
    regions["audio"], regions["image"] = (
        [written(name, "WAV") for name in SOUNDS],
        [written(n, "jpg") for n in PICTURES],
    )
    regions.to_csv(world.annotations / "regions.csv", index=False)
    found = measure(world, corpus="odd", crops="odd-crops", proposals="odd-crops.csv")
    best = (rows.reshape(len(PICTURES), CROPS, 10) @ rows[: len(SOUNDS), :, None]).argmax(1).ravel()
    chosen = places.reshape(len(PICTURES), CROPS, 4)[np.arange(len(PICTURES)), best]
    ciou = np.array([box_ciou(box, region[None]) for box, region in zip(chosen, truth, strict=True)])
    assert found.value["AUC"] == pytest.approx(success_area(ciou).mean())
    assert found.value["cIoU"] == pytest.approx((ciou >= 0.5).mean()) and (found.n == len(PICTURES)).all()


def test_boxes_of_other_crops_change_nothing(world: Folders, caplog: pytest.LogCaptureFixture) -> None:
    write_regions(world, hidden=0)
    before = measure(world)
    with (world.annotations / "crops.csv").open("a") as table:
        table.write("0,0,1,1,picture-99-0\n")
    pd.testing.assert_frame_equal(measure(world), before)
    assert not caplog.records
