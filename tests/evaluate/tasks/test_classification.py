"""Zero-shot classification against scikit-learn and a loop over prompts; what does not fit is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.connect import ConnectedSpace
from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.sets.classes import ClassSet
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.store.integrity.made_from import read_made_from
from tests.evaluate.world import CONNECTIONS, CORPORA, build_world, embedded, write_store

CLASSES = ["big dog", "cat", "crow", "whale", "bee"]
TASK = {
    "task": "classification",
    "corpus": "heldout",
    "modality": "audio",
    "labels": {"table": "labels.csv"},
    "prompts": "prompts",
    "connections": ["audio_image"],
    "space": "clap",
}
TEMPLATES = 3


@pytest.fixture
def world(tmp_path: Path) -> Folders:
    folders = build_world(tmp_path)
    keys = [f"{name.replace(' ', '_')}-{at}" for name in CLASSES for at in range(TEMPLATES)]
    for space in ("clip", "clap"):
        write_store(folders, space, "prompts", "text", keys)
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    rows = {"key": [f"heldout-{i:04d}" for i in range(40)], "label": labels()}
    # A row that no sample has is not a fault, and the order of the table says nothing.
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(annotations / "labels.csv", index=False)
    return Folders(folders.embeddings, folders.models, folders.pairs, folders.metrics, annotations)


def labels() -> list[str]:
    return [CLASSES[at] for at in np.random.default_rng(4).integers(len(CLASSES), size=CORPORA["heldout"])]


def measure(world: Folders, **changes: object) -> pd.DataFrame:
    settings = EvaluateSettings.model_validate({"bootstrap": 200, "tasks": {"zero_shot": {**TASK, **changes}}})
    evaluate(settings, world, CONNECTIONS, 3)
    return pd.read_parquet(world.metrics / "metrics.parquet")


def class_rows(prompts: np.ndarray) -> np.ndarray:
    rows = []
    for at in range(len(CLASSES)):
        mean = np.zeros(prompts.shape[1])
        for prompt in prompts[at * TEMPLATES : (at + 1) * TEMPLATES].astype(np.float64):
            mean += prompt / np.linalg.norm(prompt)
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


@pytest.mark.parametrize("method", ["frozen", "cmcr"])
def test_accuracy_is_that_of_scikit_learn(world: Folders, method: str) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    metrics = measure(world, through={"text": "clip"}).set_index(["method", "metric"])
    audio = embedded("clap", "heldout", "audio", 40)
    prompts = embedded("clap" if method == "frozen" else "clip", "prompts", "text", len(CLASSES) * TEMPLATES)
    if method == "cmcr":
        space = ConnectedSpace.load(world.models / "audio_image")
        audio, prompts = space.project("clap", audio).numpy(), space.project("clip", prompts).numpy()
    # The keys are read in ascending order, classes as well as samples.
    order = np.argsort(np.array([name.replace(" ", "_") for name in CLASSES]))
    scores = (audio.astype(np.float64) @ class_rows(prompts).T)[:, order]
    truth = [sorted(CLASSES).index(name) for name in labels()]
    for k in (1, 3):
        row = metrics.loc[(method, f"top-{k}")]
        expected = sklearn.top_k_accuracy_score(truth, scores, k=k, labels=range(5))
        assert row.value == pytest.approx(expected)
        assert row.chance == pytest.approx(k / 5)
        assert row.ci_low <= row.value <= row.ci_high
        assert (row.n, row.direction, row.dataset, row.task) == (40, "audio->text", "heldout", "zero_shot")
    assert metrics.loc[(method, "top-5")].value == 1


def test_a_class_is_the_mean_of_its_prompts_directions_not_of_their_lengths() -> None:
    prompts = np.array([[9.0, 0], [0, 1], [0, 2]])
    found = ClassSet({}, {}, np.array([0, 0, 1]), ["a", "b"], []).class_embeddings(prompts)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0, 1]], atol=1e-6)


def test_equal_classes_are_a_matter_of_luck(world: Folders) -> None:
    keys = [f"{name.replace(' ', '_')}-0" for name in CLASSES]
    write_store(world, "clap", "same", "text", keys, np.repeat(embedded("clap", "same", "text", 1), 5, 0))
    found = measure(world, prompts="same", connections=[])
    np.testing.assert_allclose(found.value, found.chance)


def test_samples_without_a_class_are_left_out(world: Folders) -> None:
    table = pd.read_csv(world.annotations / "labels.csv").sort_values("key")
    table.iloc[:30].to_csv(world.annotations / "labels.csv", index=False)
    assert (measure(world).n == 30).all()


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet"])
def test_every_kind_of_table(world: Folders, kind: str) -> None:
    expected = measure(world)
    table = pd.read_csv(world.annotations / "labels.csv")
    path = world.annotations / f"labels.{kind}"
    if kind == "tsv":
        table.to_csv(path, index=False, sep="\t")
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    pd.testing.assert_frame_equal(measure(world, labels={"table": path.name}), expected)


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"labels": {"table": "nothing.csv"}}, "nothing.csv do not exist", "mcr prepare"),
        ({"labels": {"table": "labels.csv", "column": "shape"}}, "columns key, label, but no shape", "Correct"),
        ({"labels": {"table": "labels.txt"}}, "labels.txt is not a supported kind of table", "parquet"),
        ({"labels": {"table": "foreign.csv"}}, "No sample of heldout has a class", "keys of the labels"),
        ({"labels": {"table": "unknown.csv"}}, "class 'wolf' has no prompt in prompts", "wolf-0"),
        ({"labels": {"table": "several.csv"}}, "several classes", "tagging"),
        ({"labels": {"table": "alike.csv"}}, "'big dog' and 'big.dog' have the same prompts", "Rename"),
        ({"prompts": "elsewhere"}, "elsewhere", "dvc repro"),
    ],
)
def test_what_does_not_fit_is_named(world: Folders, change: dict, message: str, hint: str) -> None:
    (world.annotations / "labels.txt").write_text("key label")
    for name, rows in {
        "foreign": "other-1,cat",
        "unknown": "heldout-0001,wolf",
        "several": "heldout-0001,cat\nheldout-0001,crow",
        "alike": "heldout-0001,big dog\nheldout-0002,big.dog",
    }.items():
        (world.annotations / f"{name}.csv").write_text(f"key,label\n{rows}\n")
    with pytest.raises(UserError, match=message) as caught:
        measure(world, **change)
    assert hint in caught.value.hint
    assert not (world.metrics / "metrics.parquet").exists()


def test_without_annotations_the_error_says_so(world: Folders) -> None:
    with pytest.raises(UserError, match="reads annotations, but there are none"):
        measure(Folders(world.embeddings, world.models, world.pairs, world.metrics))


def test_annotations_are_bound_to_the_corpus_and_to_the_metrics(
    world: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    table = world.annotations / "labels.csv"
    rows = pd.read_csv(table).sort_values("key")
    rows["key"] = [*rows.key[:-1], "stranger-1"]
    rows.to_csv(table, index=False)
    measure(world)
    assert "39 of 40 samples have a class and are used; labels.csv has none for heldout-0039" in caplog.text
    assert "1 of 40 names are not samples of heldout, such as 'stranger-1'" in caplog.text
    record = read_made_from(world.metrics)
    assert record and not record.changes(world.roots)
    rows[:-1].to_csv(table, index=False)
    assert record.changes(world.roots) == [f"{table} was changed"]
