"""`mcr compare` on a small project: with held-out pairs, without them, and where there is nothing to compare."""

import re
import shutil
from pathlib import Path

import yaml
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.store.manifest import MANIFEST_NAME
from stages.cli import app
from tests.makers.walk import CORPORA, ROWS, WIDTHS, build, keys, walk


def compare(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["compare", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_methods_are_compared_with_pairs_and_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walk("coupling")
    said = compare()
    assert f"held_out: audio and image, {ROWS} held-out items, R@1 in" in said
    assert "neighbours that are mutual" in said and "captions cover" in said and "of photos, as clip sees them" in said
    assert "held_out: Take main: the best on" in said and "warning" not in said
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["evaluate"]["bootstrap"] = 0
    raw["evaluate"]["tasks"]["by_class"] = {**raw["evaluate"]["tasks"]["held_out"], "labels": {"table": "classes.csv"}}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    said = compare()
    assert "held_out: Take main: the best on" in said, "its own intervals, where the metrics have none"
    assert "by_class: Start with main. Right answers of this task are classes" in said
    other = CliRunner().invoke(app, ["metrics", "--file", "data/metrics/ranks.parquet"])
    assert isinstance(other.exception, UserError) and "is not a table of metrics: it has no metric" in str(
        other.exception
    )
    config = Path("data/models/main/config.json")
    config.write_bytes(config.read_bytes() + b"\n")
    assert "warning: data/models/main was changed since the metrics were measured" in compare()
    shown = CliRunner().invoke(app, ["metrics", "--format", "csv"])
    assert "warning: data/models/main was changed" in shown.stderr and shown.stdout.startswith("connection,method,")
    shutil.copytree("data", "whole")
    for manifest in Path("data/embeddings").rglob(MANIFEST_NAME):
        manifest.write_text("{")
    shown = CliRunner().invoke(app, ["metrics", "--file", str(Path("data/metrics/metrics.parquet").absolute())])
    assert shown.exit_code == 0 and shown.stderr.count("was damaged") == 3 and re.search(r"and \d+ more", shown.stderr)
    shutil.rmtree("data/models")
    shutil.rmtree("data/embeddings")
    assert not CliRunner().invoke(app, ["metrics"]).stderr, "the metrics alone, of a colleague, are not outdated"
    shutil.rmtree("data")
    shutil.move("whole", "data")
    with Path("data/metrics/ranks.parquet").open("ab") as file:
        file.write(b"x")
    done = CliRunner().invoke(app, ["compare"])
    assert done.exit_code == 1 and "ranks.parquet is damaged" in str(done.exception)
    assert "ranks.parquet is damaged" in str(CliRunner().invoke(app, ["metrics"]).exception), "nor are they printed"
    Path("data/metrics/ranks.parquet").unlink()
    done = CliRunner().invoke(app, ["compare"])
    assert done.exit_code == 1 and "ranks.parquet is missing" in str(done.exception), (
        "which is not: nothing was measured"
    )
    shutil.rmtree("data/metrics")
    said = compare("held_out")
    assert "Start with main. No held-out pair has been measured" in said and "held-out items" not in said


def make_alike(space: str, corpus: str, modality: str) -> None:
    """Make every row of a store its first one."""
    import numpy as np

    from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PartFolder, Rows, Store, write_rows

    folder = Path("data/embeddings") / space / corpus / modality
    store = Store.open(folder)
    same = np.repeat(store.read().vectors[EMBEDDING_COLUMN][:1], ROWS, 0)
    made = dict(store.manifest.fingerprint)
    shutil.rmtree(folder)
    fresh = PartFolder(folder, EMBEDDINGS, made)
    content = Rows(keys(corpus), {EMBEDDING_COLUMN: same}, {})
    fresh.commit("part-00000.parquet", "x", keys(corpus), [], lambda path: write_rows(path, content, {}))
    fresh.finish(0.0)


def test_texts_about_something_else_are_warned_of(tmp_path, monkeypatch):
    """The first captions alone, all of them near to one picture."""
    monkeypatch.chdir(tmp_path)
    walk("coupling")
    for space in WIDTHS:
        make_alike(space, "captions", "text")
    assert "warning: they do not speak of the rest. More of captions about what photos show" in compare()
    assert "captions" in CORPORA


def test_a_memory_of_equal_samples_has_no_neighbours_and_the_rest_is_compared(tmp_path, monkeypatch):
    """The bridge takes the mean of the memory away, which leaves nothing: an error about it hid the measured pairs."""
    monkeypatch.chdir(tmp_path)
    build("bridge")
    make_alike("clip", "photos", "image")
    for arguments in (["retrieve", "main"], ["train", "main"], ["evaluate"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{done.output} {done.exception}"
    said = compare()
    assert "held_out: Take main: the best on" in said and "neighbours that are mutual" not in said


def test_connections_are_compared_without_a_task(tmp_path, monkeypatch):
    """Who has no pairs at all need not make up a task, which `mcr evaluate` could not measure."""
    monkeypatch.chdir(tmp_path)
    walk("coupling")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["connections"]["rival"] = raw["connections"]["main"]
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    shutil.copytree("data/models/main", "data/models/rival")
    said = compare("rival", "main")
    assert "audio-image: audio and image that were never paired" in said and "captions cover" in said
    assert "audio-image: Start with" in said and "held-out items" not in said
    assert all(f"  {name:24}" in said for name in ("main", "rival"))
    raw["evaluate"]["tasks"]["main"] = raw["evaluate"]["tasks"]["held_out"]
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert "audio-image: Start with" in compare("rival", "main"), "a task is called like a connection"
    assert "audio-image" not in compare("main")
    del raw["evaluate"]["tasks"]["main"]
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    both = compare("held_out", "main")
    assert "held_out: Take main" in both and "audio-image: Start with main" in both
    done = CliRunner().invoke(app, ["compare", "rivall"])
    assert done.exit_code != 0 and "no task or connection 'rivall'" in str(done.exception)
    raw["evaluate"]["tasks"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert "audio-image: Start with" in compare()
    raw["connections"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(app, ["compare"])
    assert done.exit_code != 0 and "nothing to compare" in str(done.exception)


def test_a_task_with_nothing_to_compare_yet_is_not_passed_over_in_silence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walk("coupling")
    shutil.rmtree("data/models")
    shutil.rmtree("data/metrics")
    said = compare()
    assert "captions cover" in said
    assert "held_out: there is nothing to compare yet" in said and "dvc repro" in said
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["connections"]["main"]["retrieve"] = {"control": "random_partners"}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert "held_out: all of its connections are controls or bounds" in compare()


def test_a_task_that_cannot_be_compared_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = build("coupling")
    raw["evaluate"]["tasks"]["spaces_alone"] = {
        **raw["evaluate"]["tasks"]["held_out"],
        "connections": [],
        "space": "clip",
    }
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(app, ["compare", "held_out", "spaces_alone"])
    assert done.exit_code != 0 and "'spaces_alone'" in str(done.exception) and "held_out" not in str(done.exception)


def test_published_projectors_name_no_data_and_are_compared_without_signs(tmp_path, monkeypatch):
    """Beside a connection with data, and alone; the model is there, as after `mcr train`."""
    monkeypatch.chdir(tmp_path)
    walk("coupling")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    memories = {"clip": {"modality": "image"}, "clap": {"modality": "audio"}}
    raw["connections"]["published"] = {
        "method": "imported",
        "join": {"spaces": ["clip", "clap"], "overlap": "text", "memories": memories},
        "retrieve": {},
        "train": {"file": "clap_clip.pt"},
    }
    task = raw["evaluate"]["tasks"]["held_out"]
    task["connections"] = ["main", "published"]
    raw["evaluate"]["tasks"]["alone"] = {**task, "connections": ["published"]}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    shutil.copytree("data/models/main", "data/models/published")
    said = compare()
    assert "not measured yet, and so not compared: published; run `mcr evaluate`" in said
    assert "held_out: Take main" in said and "alone: there is nothing to compare yet" in said
