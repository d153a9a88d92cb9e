"""From a published set through the command to shards, tables, and entries of params.yaml that are valid."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from pydantic import TypeAdapter
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.evaluate.sets.annotations import read_labels
from pipeline.evaluate.settings import Labels, Task
from pipeline.prepare import SETS
from pipeline.prepare.crops import cut_crops
from pipeline.prepare.prepared import Prepared, write_prepared
from pipeline.progress import Silent
from pipeline.shard.build import build_shards, settings_of
from pipeline.shard.settings import CorpusSettings
from pipeline.store.shards import shard_keys
from stages.cli import app
from tests.makers.miniatures import write


def prepare(name: str, *arguments: str) -> dict:
    done = CliRunner().invoke(app, ["prepare", name, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return yaml.safe_load(done.output)


@pytest.mark.parametrize("name", SETS)
def test_a_prepared_set_can_be_sharded_and_evaluated(tmp_path, monkeypatch, name):
    write(tmp_path / "downloads", name)
    monkeypatch.chdir(tmp_path)
    found = prepare(name, f"downloads/{name}")
    held: dict[str, list[str]] = {}
    for corpus, entry in found["corpora"].items():
        settings, options = settings_of(CorpusSettings.model_validate(entry), 0.0)
        manifest, _ = build_shards(entry["source"], Path("shards", corpus), settings, Silent(), options)
        held[corpus] = [key for part in manifest.parts for key in shard_keys(Path("shards", corpus, part.name))]
        assert held[corpus]
    for task in found["evaluate"]["tasks"].values():
        parsed = TypeAdapter(Task).validate_python({**task, "connections": ["any"]})
        for modality in parsed.pair:
            corpus = parsed.corpus_of(modality)
            assert corpus in found["corpora"] or corpus.endswith("-crops")
        if task["task"] in ("classification", "tagging"):
            labels = read_labels(Path("data/annotations"), Labels(**task["labels"]))
            assert set(labels) == set(held[task["corpus"]])
            named = {key.rsplit("-", 1)[0] for key in held[task["prompts"]]}
            assert {label for classes in labels.values() for label in classes} <= named
        if task["task"] == "localisation":
            regions = pd.read_parquet(f"data/annotations/{task['regions']}")
            assert set(regions.audio) <= set(held[task["corpus"]]) and list(regions) == [
                "audio",
                "image",
                "x0",
                "y0",
                "x1",
                "y1",
            ]
    about = json.loads(Path("data/raw", name, "set.json").read_text())
    assert about["split"] and about["rows"] and about["listed"]


def test_prompts_are_classes_times_templates(tmp_path, monkeypatch):
    write(tmp_path, "esc50")
    monkeypatch.chdir(tmp_path)
    prepare("esc50", "esc50", "--template", "the sound of {}", "--template", "{}!")
    lines = [json.loads(line) for line in Path("data/raw/esc50/prompts.jsonl").read_text().splitlines()]
    assert {row["key"]: row["text"] for row in lines} == {
        "dog-0": "the sound of dog",
        "dog-1": "dog!",
        "brushing_teeth-0": "the sound of brushing teeth",
        "brushing_teeth-1": "brushing teeth!",
    }
    assert json.loads(Path("data/raw/esc50/set.json").read_text())["templates"] == ["the sound of {}", "{}!"]


def test_preparing_again_leaves_only_the_shapes_of_the_set(tmp_path, monkeypatch):
    """A shape that the list no longer has stayed in the corpus, without a class."""
    write(tmp_path, "modelnet40")
    monkeypatch.chdir(tmp_path)
    prepare("modelnet40", "modelnet40")
    Path("data/raw/modelnet40/point/mine.npy").write_bytes(b"of somebody else")
    Path("modelnet40/modelnet40_test.txt").write_text("airplane_0627\n")
    prepare("modelnet40", "modelnet40")
    assert sorted(path.name for path in Path("data/raw/modelnet40/point").iterdir()) == [
        "airplane_0627.npy",
        "mine.npy",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["esc5"], "no evaluation set 'esc5'"),
        (["esc50"], "Where are the files of esc50"),
        (["esc50", "nowhere"], "nowhere is not a folder"),
        (["esc50", ".", "--template", "a sound"], "no place for the class"),
    ],
)
def test_a_users_mistake_is_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        CliRunner().invoke(app, ["prepare", *arguments], catch_exceptions=False)
    assert caught.value.hint
    assert not Path("data").exists()


def test_without_a_name_the_sets_are_listed():
    done = CliRunner().invoke(app, ["prepare"])
    assert [line.split(":")[0] for line in done.output.splitlines()] == list(SETS)


def test_two_files_with_one_key_are_refused(tmp_path):
    prepared = Prepared("all", 2, {"audio": [("a_b", "a b.wav"), ("a_b", "a_b.wav")]})
    with pytest.raises(UserError, match="Two audio files of small would get the key 'a_b'"):
        write_prepared("small", prepared, tmp_path / "raw", tmp_path / "annotations")


def test_crops_show_what_the_box_holds(tmp_path):
    pixels = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3).astype(np.uint8)
    (tmp_path / "frames").mkdir()
    Image.fromarray(pixels).save(tmp_path / "frames" / "b 2.png")
    boxes = pd.DataFrame(
        {"image": ["b 2.png"] * 3, "x0": [0.1, 0, 0.99], "y0": [0.25, 0, 0.99], "x1": [0.5, 1, 1], "y1": [1, 1, 1]}
    )
    boxes.to_csv(tmp_path / "boxes.csv", index=False)
    assert (
        cut_crops(tmp_path / "boxes.csv", tmp_path / "frames", tmp_path / "crops", tmp_path / "crops.parquet", Silent())
        == 3
    )
    table = pd.read_parquet(tmp_path / "crops.parquet").set_index("key")
    assert list(table.index) == ["b_2-0", "b_2-1", "b_2-2"]
    np.testing.assert_allclose(table.loc["b_2-0"], [0.1, 0.25, 0.5, 1])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "crops" / "b_2-0.png")), pixels[5:20, 3:15])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "crops" / "b_2-1.png")), pixels)
    assert Image.open(tmp_path / "crops" / "b_2-2.png").size == (1, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("image,x0,y0,x1\na.png,0,0,1\n", "no y1"),
        ("image,x0,y0,x1,y1\na.png,0,0,1,1\na.png,3,0,120,40\n", "Row 2 of .* is not a box"),
        ("image,x0,y0,x1,y1\na.png,0.5,0,0.5,1\n", "Row 1 of .* is not a box"),
        ("image,x0,y0,x1,y1\na.png,0,0,1,1\n", "a.png cannot be read"),
        ("image,x0,y0,x1,y1\na.png,0.5,0,0.1,1\n", "Row 1 of .* is not a box: 0.5, 0, 0.1, 1"),
        ("image,x0,y0,x1,y1\na.png,nan,0,1,1\n", "Row 1 of .* is not a box: nan, 0, 1, 1"),
        ("image,x0,y0,x1,y1\na.png,0,0,1,inf\n", "Row 1 of .* is not a box"),
        ("image,x0,y0,x1,y1\na.png,-0.001,0,1,1\n", "Row 1 of .* is not a box"),
        ("image,x0,y0,x1,y1\n", "has no rows"),
        ("image,x0,y0,x1,y1\na.png,0,0,1,1\n,0,0,1,1\n", "Row 2 of .* names no image"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("<!DOCTYPE html><html>", "is an HTML page"),
    ],
)
def test_what_is_no_proposal_is_named(tmp_path, rows, message):
    (tmp_path / "boxes.csv").write_text(rows)
    with pytest.raises(UserError, match=message):
        cut_crops(tmp_path / "boxes.csv", tmp_path, tmp_path / "crops", tmp_path / "crops.parquet", Silent())
    assert not (tmp_path / "crops.parquet").exists()


def test_cropping_again_leaves_only_the_crops_of_the_table(tmp_path):
    """Those of an earlier detector stayed in the corpus, where no box was theirs: the evaluation stopped."""
    (tmp_path / "frames").mkdir()
    for name in ("007", "nan"):  # names, though pandas takes them for numbers
        Image.new("RGB", (10, 10)).save(tmp_path / "frames" / name, "PNG")
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "mine.png").write_bytes(b"of somebody else")

    def crop(*rows: str) -> list[str]:
        (tmp_path / "boxes.csv").write_text("\n".join(["image,x0,y0,x1,y1", *rows]))
        places = tmp_path / "frames", tmp_path / "crops", tmp_path / "crops.parquet"
        cut_crops(tmp_path / "boxes.csv", *places, Silent())
        return sorted(path.name for path in (tmp_path / "crops").iterdir())

    # An edge of the picture in float32 is an edge.
    assert crop("007,0,0,1,1", "007,-1e-7,0,1.0000001,1", "nan,0,0,1,1") == [
        "007-0.png", "007-1.png", "mine.png", "nan-0.png",
    ]  # fmt: skip
    boxes = pd.read_parquet(tmp_path / "crops.parquet")[["x0", "y0", "x1", "y1"]].to_numpy()
    np.testing.assert_array_equal(boxes, [[0, 0, 1, 1]] * 3)
    assert crop("007,0,0,1,1") == ["007-0.png", "mine.png"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("image,x0,y0,x1,y1\n../b.png,0,0,1,1\n", r"names \.\./b\.png"),
        ("image,x0,y0,x1,y1\n/etc/b.png,0,0,1,1\n", "names /etc/b.png"),
        ("image,x0,y0,x1,y1\nb 2.png,0,0,1,1\nb_2.png,0,0,1,1\n", "would have the same keys"),
        ("image,x0,y0,x1,y1\nb 2.png,0,0,1,1\nb 2.jpg,0,0,1,1\n", "would have the same keys"),
        (b'image,x0,y0,x1,y1\n"b,0,0,1,1\n', "cannot be read"),
        (b"image,x0,y0,x1,y1\n\xff\xfe,0,0,1,1\n", "cannot be read"),
        (b"", "cannot be read"),
        ("image,x0,y0,x1,y1\nharmful.png,0,0,1,1\n", r"harmful\.png cannot be read"),
    ],
)
def test_a_table_of_crops_reaches_no_other_files_and_ends_with_a_sentence(tmp_path, table, said):
    pictures = tmp_path / "frames"
    pictures.mkdir()
    for name in ("frames/b 2.png", "frames/b_2.png", "frames/b 2.jpg", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (pictures / "harmful.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (tmp_path / "boxes.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(UserError, match=said):
        cut_crops(tmp_path / "boxes.csv", pictures, tmp_path / "crops", tmp_path / "crops.parquet", Silent())
    assert not list(tmp_path.glob("crops/*")) and not (tmp_path / "crops.parquet").exists()
