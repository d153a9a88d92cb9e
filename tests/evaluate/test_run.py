"""The whole stage on a tiny world: what it writes is complete, right, repeatable, and missing inputs are named."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pipeline.connect import ConnectedSpace
from pipeline.errors import CorruptError, UserError
from pipeline.evaluate.baselines import BASELINES
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_file
from pipeline.store.integrity.made_from import MADE_FROM_NAME, read_made_from
from tests.evaluate.world import CONNECTIONS, CORPORA, build_world, embedded, write_model, write_pairs, write_store

BRIDGED = {
    "task": "retrieval",
    "corpus": "heldout",
    "modalities": ["audio", "image"],
    "connections": ["audio_image", "oracle"],
    "baselines": "audio_image",
}
KEPT = {
    "task": "retrieval",
    "corpus": "heldout",
    "modalities": ["text", "audio"],
    "connections": ["audio_image"],
    "through": {"text": "clap"},
    "space": "clap",
}


@pytest.fixture
def world(tmp_path: Path) -> Folders:
    return build_world(tmp_path)


def settings(**tasks: dict[str, object]) -> EvaluateSettings:
    return EvaluateSettings.model_validate({"bootstrap": 50, "examples": 4, "tasks": tasks})


def test_curves_for_dvc_plots_hold_what_the_table_holds(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED, kept=KEPT), world, CONNECTIONS, 3)
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    curves = {path.stem: pd.read_csv(path) for path in (world.metrics / "plots").iterdir()}
    assert curves.keys() == {"bridged-audio_image", "bridged-oracle"}, "the task that is gone left nothing"
    metrics = pd.read_parquet(world.metrics / "metrics.parquet").set_index(
        ["connection", "method", "direction", "metric"]
    )
    curve = curves["bridged-audio_image"].set_index("candidates").recall
    assert list(curve.index) == [1, 2, 5, 10, 20]
    for k in (1, 5, 10):
        assert curve[k] == pytest.approx(metrics.value["audio_image", "cmcr", "mean", f"R@{k}"], abs=1e-6)


def test_every_method_is_in_every_table(world: Folders) -> None:
    summary = evaluate(settings(bridged=BRIDGED, kept=KEPT), world, CONNECTIONS, 3)
    metrics = pd.read_parquet(world.metrics / "metrics.parquet")
    assert summary.rows["metrics"] == len(metrics)
    bridged = metrics[metrics.task == "bridged"]
    # The spaces of this world differ in width, so there is no unprojected comparison.
    assert set(bridged.method) == {"cmcr", "oracle", *BASELINES} - {"unprojected"}
    assert set(bridged.direction) == {"audio->image", "image->audio", "mean"}
    assert set(metrics[metrics.task == "kept"].method) == {"cmcr", "frozen"}
    assert set(metrics.metric) == {"R@1", "R@5", "R@10", "mAP", "median_rank"}
    assert (metrics.dataset == "heldout").all()
    assert (metrics.n == CORPORA["heldout"]).all()
    assert ((metrics.ci_low <= metrics.value) & (metrics.value <= metrics.ci_high)).mean() > 0.95
    chance = metrics.groupby("metric").chance.unique()
    np.testing.assert_allclose([*chance["R@5"], *chance["median_rank"]], [5 / 40, 20.5])
    values = metrics[metrics.direction == "mean"].set_index(["task", "connection", "method", "metric"]).value
    shown = json.loads((world.metrics / "metrics.json").read_text())
    assert shown == {
        f"{connection} R@10": pytest.approx(values["bridged", connection, method, "R@10"], abs=1e-4)
        for connection, method in (("audio_image", "cmcr"), ("oracle", "oracle"))
    }


def test_headlines_are_what_was_chosen(world: Folders, caplog: pytest.LogCaptureFixture) -> None:
    chosen = {
        "CLAP": "kept/frozen_clap/mAP",
        "hops": "bridged/two_hop_softmax/R@5/audio->image",
        "typo": "kept/frozen_clop/mAP",
    }
    evaluate(settings(bridged=BRIDGED, kept=KEPT).model_copy(update={"headlines": chosen}), world, CONNECTIONS, 3)
    metrics = pd.read_parquet(world.metrics / "metrics.parquet")
    values = metrics[metrics.connection != "oracle"].set_index(["method", "direction", "metric"]).value.sort_index()
    assert json.loads((world.metrics / "metrics.json").read_text()) == {
        "CLAP": pytest.approx(values["frozen", "mean", "mAP"], abs=1e-4),
        "hops": pytest.approx(values["two_hop_softmax", "audio->image", "R@5"], abs=1e-4),
    }
    assert "evaluate.headlines.typo: nothing was measured as kept/frozen_clop/mAP" in caplog.text


def test_curves_of_earlier_tasks_go_and_files_of_others_stay(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED, kept=KEPT), world, CONNECTIONS, 3)
    plots = world.metrics / "plots"
    for name in ("mine.csv", "notes.txt"):
        (plots / name).write_text("x,y\n1,2\n")
    evaluate(settings(kept=KEPT), world, CONNECTIONS, 3)
    assert {path.name for path in plots.iterdir()} == {"kept-audio_image.csv", "mine.csv", "notes.txt"}


def test_numbers_equal_those_of_a_full_sort(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    space = ConnectedSpace.load(world.models / "audio_image")
    audio = space.project("clap", embedded("clap", "heldout", "audio", 40)).numpy().astype(np.float64)
    image = space.project("clip", embedded("clip", "heldout", "image", 40)).numpy().astype(np.float64)
    ranks = [1 + (scores > np.diag(scores)[:, None]).sum(1) for scores in (audio @ image.T, image @ audio.T)]
    written = pd.read_parquet(world.metrics / "ranks.parquet")
    written = written[written.connection.eq("audio_image") & written.method.eq("cmcr")]
    for direction, expected in zip(("audio->image", "image->audio"), ranks, strict=True):
        np.testing.assert_array_equal(written[written.direction == direction]["rank"], expected)
    metrics = pd.read_parquet(world.metrics / "metrics.parquet").set_index(["method", "direction", "metric"]).value
    assert metrics["cmcr", "mean", "R@10"] == pytest.approx(np.mean([(rank <= 10).mean() for rank in ranks]))
    assert metrics["cmcr", "mean", "mAP"] == pytest.approx(np.mean([(1 / rank).mean() for rank in ranks]))
    assert metrics["cmcr", "mean", "median_rank"] == pytest.approx(np.mean([np.median(rank) for rank in ranks]))


def test_linear_baselines_find_what_is_linear(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    metrics = pd.read_parquet(world.metrics / "metrics.parquet").set_index(["method", "direction", "metric"]).value
    assert metrics["ridge", "mean", "R@5"] > 0.6
    assert metrics["bridge", "mean", "R@5"] > 0.4
    assert metrics["untrained", "mean", "R@5"] < 0.4


def test_a_rerun_gives_the_same_bytes(world: Folders) -> None:
    hashes = []
    for seed in (3, 3, 4):
        evaluate(settings(bridged=BRIDGED, kept=KEPT), world, CONNECTIONS, seed)
        hashes.append({path.name: sha256_file(path) for path in world.metrics.rglob("*") if path.is_file()})
    assert hashes[0] == hashes[1]
    assert hashes[0]["metrics.parquet"] != hashes[2]["metrics.parquet"]
    assert set(hashes[0]) == {
        f"{name}.parquet" for name in ("metrics", "ranks", "differences", "examples", "similarities")
    } | {"metrics.json", "_made_from.json", "bridged-audio_image.csv", "bridged-oracle.csv", "kept-audio_image.csv"}


def test_examples_and_similarities(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    examples = pd.read_parquet(world.metrics / "examples.parquet")
    assert set(examples.connection) == {"audio_image", "oracle"}
    assert len(examples) == 2 * 2 * 4 * 5
    first = examples[examples["rank"] == 1]
    assert (first.relevant == (first.true_rank == 1)).all()
    assert (examples.relevant == (examples.query_key == examples.neighbour_key)).all()
    similarities = pd.read_parquet(world.metrics / "similarities.parquet")
    counts = similarities.groupby(["connection", "method", "stage", "pairs"])["count"].sum()
    assert (counts == 40).all()
    assert set(similarities[similarities.stage == "before"].method) == {"procrustes"}


def test_a_missing_counterpart_is_left_out_for_every_method(world: Folders, caplog: pytest.LogCaptureFixture) -> None:
    keys = [f"heldout-{i:04d}" for i in range(30)]
    shutil.rmtree(world.store("clap", "heldout", "audio"))
    write_store(world, "clap", "heldout", "audio", keys)
    with caplog.at_level(logging.INFO):
        evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    assert (pd.read_parquet(world.metrics / "metrics.parquet").n == 30).all()
    assert "30 of 40 image items" in caplog.text


def test_several_captions_of_one_item(world: Folders) -> None:
    keys = [f"heldout-{i:04d}_{caption}" for i in range(40) for caption in range(3)]
    once = embedded("clap", "heldout", "text", 40)
    write_store(world, "clap", "heldout_captions", "text", keys, np.repeat(once, 3, axis=0))
    task = {**KEPT, "connections": [], "corpora": {"text": "heldout_captions"}, "item_separator": "_"}
    # Keys without the separator are items by themselves.
    evaluate(settings(captions=task, single={**KEPT, "connections": []}), world, CONNECTIONS, 3)
    metrics = pd.read_parquet(world.metrics / "metrics.parquet").set_index(["task", "direction", "metric"])
    assert metrics.n["captions", "text->audio", "R@1"] == 120
    assert metrics.n["captions", "audio->text", "R@1"] == 40
    assert metrics.n["captions", "mean", "R@1"] == 40
    # Three equal captions change nothing from text to audio, and triple every rank from audio to text.
    assert metrics.value["captions", "text->audio", "mAP"] == pytest.approx(
        metrics.value["single", "text->audio", "mAP"]
    )
    ranks = pd.read_parquet(world.metrics / "ranks.parquet").query("direction == 'audio->text'")
    captions, single = (ranks[ranks.task == task]["rank"].to_numpy() for task in ("captions", "single"))
    np.testing.assert_array_equal(captions, 3 * single - 2)


def test_no_resamples_no_interval(world: Folders) -> None:
    evaluate(settings(kept=KEPT).model_copy(update={"bootstrap": 0}), world, CONNECTIONS, 3)
    assert pd.read_parquet(world.metrics / "metrics.parquet").ci_low.isna().all()


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"corpus": "nowhere"}, "nowhere", "dvc repro"),
        ({"connections": ["audio_imag"]}, "audio_imag", "Did you mean 'audio_image'"),
        ({"baselines": "oracle"}, "cannot give baselines", "leave `baselines` empty"),
        ({"modalities": ["text", "image"]}, "cannot give baselines", "two memories"),
        ({"modalities": ["point", "image"], "baselines": ""}, "no modality 'point'", "Choose one of"),
        ({"through": {"image": "ulip"}, "baselines": ""}, "no space 'ulip'", "clip"),
    ],
)
def test_what_does_not_fit_is_named(world: Folders, change: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        evaluate(settings(bridged={**BRIDGED, **change}), world, CONNECTIONS, 3)
    assert hint in caught.value.hint
    assert not (world.metrics / "metrics.parquet").exists()


@pytest.mark.parametrize("missing", ["models/audio_image/config.json", "pairs/audio_image", "embeddings/clip/captions"])
def test_missing_inputs_are_named(world: Folders, missing: str) -> None:
    path = world.models.parent / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=missing.split("/")[-2]) as caught:
        evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    assert caught.value.hint


def test_embeddings_of_another_checkpoint_are_refused(world: Folders) -> None:
    path = world.models / "audio_image" / "config.json"
    write_sealed(path, json.loads(json.dumps(read_sealed(path)).replace("clip.pt", "other.pt")))
    with pytest.raises(UserError, match=r"checkpoint: other.pt -> clip.pt"):
        evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)


@pytest.mark.parametrize("change", [{"connections": [], "baselines": ""}, {"modalities": ["audio", "audio"]}])
def test_a_task_that_measures_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="a task needs"):
        settings(bridged={**BRIDGED, **change})


def test_rows_are_joined_by_key_not_by_position(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    before = pd.read_parquet(world.metrics / "metrics.parquet")
    for corpus, space, modality in (("heldout", "clap", "audio"), ("captions", "clap", "text")):
        count = CORPORA[corpus]
        shutil.rmtree(world.store(space, corpus, modality))
        keys, vectors = [f"{corpus}-{i:04d}" for i in range(count)], embedded(space, corpus, modality, count)
        order = np.random.default_rng(0).permutation(count)
        write_store(world, space, corpus, modality, [keys[row] for row in order], vectors[order])
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    pd.testing.assert_frame_equal(pd.read_parquet(world.metrics / "metrics.parquet"), before)


def test_strangers_are_less_similar_than_true_pairs(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    found = pd.read_parquet(world.metrics / "similarities.parquet").query("stage == 'before'")
    found = found.assign(total=found["count"] * (found.low + found.high) / 2)
    means = found.groupby("pairs").total.sum() / 40
    assert means["true"] > means["random"] + 0.3
    assert abs(means["random"]) < 0.2


def test_the_seed_draws_the_intervals_and_nothing_else(world: Folders) -> None:
    tables = []
    for seed in (3, 4):
        evaluate(settings(kept=KEPT), world, CONNECTIONS, seed)
        tables.append(pd.read_parquet(world.metrics / "metrics.parquet"))
    assert (tables[0].value == tables[1].value).all()
    assert (tables[0].ci_low != tables[1].ci_low).any()


def test_a_connection_that_was_trained_on_other_pairs_is_refused(world: Folders) -> None:
    shutil.rmtree(world.pairs / "audio_image")
    evaluate(settings(kept=KEPT), world, CONNECTIONS, 3)
    write_pairs(world, 0.7)
    with pytest.raises(UserError, match="was trained on other pairs") as caught:
        evaluate(settings(kept=KEPT), world, CONNECTIONS, 3)
    for named in (world.models / "audio_image", world.pairs / "audio_image" / "clip-clap" / "overlap"):
        assert str(named) in caught.value.message
    assert "mcr train audio_image" in caught.value.hint


def test_metrics_are_bound_to_what_they_were_measured_on(world: Folders) -> None:
    evaluate(settings(bridged=BRIDGED, kept=KEPT), world, CONNECTIONS, 3)
    record = read_made_from(world.metrics)
    assert record and not record.changes(world.roots) and not record.damaged(world.metrics)
    assert set(record.sources["models"]) == {"audio_image", "oracle"}
    assert set(record.sources["pairs"]) == {"audio_image/clip-clap/overlap", "oracle/clip-clap/true"}
    assert {"clip/heldout/image", "clap/heldout/audio", "clap/sounds/audio"} <= set(record.sources["embeddings"])
    assert set(record.files) == {
        str(path.relative_to(world.metrics)) for path in world.metrics.rglob("*.*") if path.name != MADE_FROM_NAME
    }
    write_model(world, "oracle", 7)
    shutil.rmtree(world.store("clap", "sounds", "audio"))
    curve = world.metrics / "plots" / "kept-audio_image.csv"
    curve.write_text(curve.read_text().replace("1", "2", 1))
    assert record.changes(world.roots) == [
        f"{world.store('clap', 'sounds', 'audio')} is missing",
        f"{world.models / 'oracle'} was changed",
    ]
    assert record.damaged(world.metrics) == ["plots/kept-audio_image.csv is damaged or was changed"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"sources": {}}', b"\xff"])
def test_a_damaged_record_is_written_again(world: Folders, content: bytes) -> None:
    evaluate(settings(kept=KEPT), world, CONNECTIONS, 3)
    path = world.metrics / MADE_FROM_NAME
    before = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(CorruptError, match="_made_from.json is damaged"):
        read_made_from(world.metrics)
    evaluate(settings(kept=KEPT), world, CONNECTIONS, 3)
    assert path.read_bytes() == before


def test_a_file_that_looks_like_a_curve_stays(world: Folders, caplog: pytest.LogCaptureFixture) -> None:
    evaluate(settings(bridged=BRIDGED), world, CONNECTIONS, 3)
    own = world.metrics / "plots" / "own.csv"
    own.write_text("candidates,recall\n1,0.5\n")
    evaluate(settings(kept=KEPT), world, CONNECTIONS, 3)
    assert {path.name for path in own.parent.iterdir()} == {"kept-audio_image.csv", "own.csv"}
    assert "left alone: own.csv" in caplog.text
