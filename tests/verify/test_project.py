"""`mcr verify` over a whole project: each kind of damage, of change and of absence is one line, and only damage ends with 1."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_file
from pipeline.store import Store, load_manifest, read_rows, write_rows
from pipeline.store.content.hashes import CONTENTS_NAME, read_contents, write_contents
from stages.cli import app

GOLDEN = Path(__file__).parents[1] / "golden"
PAIRS = Path("data/pairs/audio_image/clip-clap/overlap")
MODEL = Path("data/models/audio_image")
TABLE = Path("data/annotations/classes.csv")


def mcr(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def lines() -> dict[str, str]:
    """By place what is said of it, apart from what is sound; the exit code is that of damage alone."""
    done = mcr("verify")
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith("data/"))
    wrong = {place: words for place, words in said.items() if not words.startswith("sound")}
    damaged = any(words.startswith("DAMAGED") for words in wrong.values())
    assert (getattr(done.exception, "exit_code", 0) == 1) is damaged, done.output
    return wrong


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project of the first version, brought to its end."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(GOLDEN, root, dirs_exist_ok=True)
    before = Path.cwd()
    os.chdir(root)
    params = yaml.safe_load(Path("params.yaml").read_text())
    task = {
        "task": "retrieval",
        "corpus": "captions",
        "modalities": ["text", "image"],
        "corpora": {"image": "photos"},
        "labels": {"table": TABLE.name},
        "connections": ["audio_image"],
    }
    params["evaluate"] = {"bootstrap": 20, "tasks": {"own": task}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    keys = [
        key
        for place in ("captions/text", "photos/image")
        for _, rows in Store.open(Path("data/embeddings/clip", place)).parts()
        for key in rows.keys
    ]
    TABLE.parent.mkdir()
    pd.DataFrame({"key": keys, "label": [("a", "b")[at % 2] for at in range(len(keys))]}).to_csv(TABLE, index=False)
    shutil.rmtree("data/pairs")
    for command in ("shard captions photos sounds", "retrieve audio_image", "train audio_image", "evaluate", "report"):
        done = mcr(*command.split())
        assert done.exit_code == 0, (command, done.output, done.exception)
    os.chdir(before)
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def flip(name: str) -> Callable[[], None]:
    def damage() -> None:
        path = Path(name)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return damage


def remove(name: str) -> Callable[[], None]:
    return lambda: Path(name).unlink()


def other_contents() -> None:
    """A table that a manifest vouches for, about other samples than those in the shards."""
    folder = Path("data/shards/photos")
    rows = list(read_contents(folder))
    write_contents(folder / CONTENTS_NAME, [("stranger", *rows[0][1:]), *rows[1:]])
    manifest = load_manifest(folder)
    replace(manifest, files={**manifest.files, CONTENTS_NAME: sha256_file(folder / CONTENTS_NAME)}).save(folder)


def other_config() -> None:
    path = MODEL / "clip-clap" / "config.json"
    content = read_sealed(path)
    content["links"][0]["train"]["epochs"] = 3
    write_sealed(path, content)


def no_parquet() -> None:
    """An annotation that a task reads and nobody can."""
    TABLE.write_bytes(b"key,label\n\xff\xfe\x00")


def test_a_finished_project_is_sound(project: Path) -> None:
    assert lines() == {}
    said = mcr("verify").stdout
    for kind in ("shards/photos", "embeddings/clap/sounds/audio", PAIRS, MODEL, "metrics", "reports", TABLE):
        assert f"{kind}: sound" in said
    assert "verify: 12 sound" in said


@pytest.mark.parametrize(
    ("damage", "place", "said"),
    [
        (flip("data/shards/photos/00001.tar"), "data/shards/photos", "00001.tar is damaged"),
        (remove("data/shards/sounds/00000.tar"), "data/shards/sounds", "00000.tar is missing"),
        (flip("data/shards/photos/_duplicates.parquet"), "data/shards/photos", "_duplicates.parquet is damaged"),
        (other_contents, "data/shards/photos", "_contents.parquet lists stranger, which no shard holds"),
        (flip("data/shards/photos/_manifest.json"), "data/shards/photos", ""),
        (flip("data/embeddings/clip/photos/image/part-00000.parquet"), "data/embeddings/clip/photos/image", "hash"),
        (flip(f"{PAIRS}/part-00001.parquet"), f"{PAIRS}", "part-00001.parquet is damaged"),
        (flip(f"{PAIRS}/_examples.parquet"), f"{PAIRS}", "_examples.parquet is damaged"),
        (flip(f"{MODEL}/clip-clap/projector.safetensors"), f"{MODEL}", "clip-clap/projector.safetensors is damaged"),
        (remove(f"{MODEL}/clip-clap/history.parquet"), f"{MODEL}", "clip-clap/history.parquet is missing"),
        (other_config, f"{MODEL}", "clip-clap/config.json is not the one"),
        (flip("data/metrics/ranks.parquet"), "data/metrics", "ranks.parquet is damaged or was changed"),
        (remove("data/metrics/plots/own-audio_image.csv"), "data/metrics", "plots/own-audio_image.csv is missing"),
        (flip("data/reports/index.html"), "data/reports", "index.html is damaged or was changed"),
        (no_parquet, f"{TABLE}", "cannot be read"),
    ],
)
def test_each_kind_of_damage(project: Path, damage: Callable[[], None], place: str, said: str) -> None:
    damage()
    wrong = lines()
    assert wrong[place].startswith("DAMAGED") and said in wrong[place]
    assert [other for other, words in wrong.items() if words.startswith("DAMAGED")] == [place]


def test_what_is_made_from_something_else_has_changed(project: Path) -> None:
    TABLE.write_text(TABLE.read_text() + "other,a\n")
    assert lines() == {
        f"{TABLE}": "changed: it was changed since the metrics were measured",
        "data/metrics": f"changed: {TABLE} was changed since it was made",
    }
    for command in ("evaluate", "report"):
        assert mcr(command).exit_code == 0
    assert lines() == {}
    # A store of other embeddings: the pairs, and the metrics through it.
    folder = Path("data/embeddings/clip/photos/image")
    manifest = load_manifest(folder)
    part = folder / manifest.parts[0].name
    rows = read_rows(part)
    write_rows(part, replace(rows, vectors={name: -matrix for name, matrix in rows.vectors.items()}), {})
    replace(manifest, parts=(replace(manifest.parts[0], sha256=sha256_file(part)), *manifest.parts[1:])).save(folder)
    wrong = lines()
    assert wrong.keys() == {f"{PAIRS}", "data/metrics"} and all(words.startswith("changed") for words in wrong.values())
    assert str(folder) in wrong[f"{PAIRS}"] and str(folder) in wrong["data/metrics"]
    assert mcr("retrieve", "audio_image").exit_code == 0
    assert "holds other pairs than it was trained on" in lines()[f"{MODEL}"]
    assert isinstance(mcr("evaluate").exception, UserError), "a model of other pairs is not measured"
    for command in ("train audio_image", "evaluate"):
        assert mcr(*command.split()).exit_code == 0
    assert lines().keys() == {"data/reports"}
    assert mcr("report").exit_code == 0 and lines() == {}


def test_the_report_says_that_its_metrics_are_of_something_else(project: Path) -> None:
    assert "run `mcr evaluate` again" not in Path("data/reports/index.html").read_text()
    path = MODEL / "config.json"
    path.write_text(path.read_text() + " ")
    assert mcr("report").exit_code == 0
    assert f"{MODEL} was changed since the metrics were measured" in Path("data/reports/index.html").read_text()


@pytest.mark.parametrize(
    ("gone", "place"),
    [
        ("data/shards/sounds", "data/shards/sounds"),
        ("data/embeddings/clap/sounds", "data/embeddings/clap/sounds"),
        (f"{PAIRS}", f"{PAIRS}"),
        (f"{MODEL}", f"{MODEL}"),
        ("data/metrics", "data/metrics"),
        (f"{TABLE}", f"{TABLE}"),
    ],
)
def test_what_is_not_there_is_missing(project: Path, gone: str, place: str) -> None:
    shutil.rmtree(gone) if Path(gone).is_dir() else Path(gone).unlink()
    assert lines()[place].startswith("missing")


def test_an_unfinished_folder_is_missing(project: Path) -> None:
    for folder in (Path("data/shards/photos"), Path("data/embeddings/clip/photos/image"), PAIRS):
        replace(load_manifest(folder), complete=False).save(folder)
        assert lines()[str(folder)] == "missing: it is unfinished: 2 parts are committed"
