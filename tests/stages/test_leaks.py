"""Evaluation samples in the training data are said once, before training, and stand in the report."""

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from pipeline.params.load import load_params
from stages.cli import app
from stages.leaks import leaks_of, warn_of_leaks
from tests.stages.tools.tools_project import make_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two connections over the same photos and captions, and an evaluation set of pictures of its own."""
    monkeypatch.chdir(make_project(tmp_path))
    raw = tmp_path / "data/raw"
    (raw / "heldout").mkdir()
    for number in range(3):
        (raw / f"heldout/h{number}.png").write_bytes(b"another picture %d" % number)
        (raw / f"heldout/h{number}.txt").write_text(f"another caption {number}")
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["corpora"]["heldout"] = {"modalities": ["image", "text"], "source": "data/raw/heldout"}
    params["spaces"]["clap"] = params["spaces"]["clip"]
    params["encode"]["clap-photos"] = {"space": "clap", "corpus": "photos"}
    memory = {"modality": "image", "corpora": ["photos"]}
    train = {"projector": {"kind": "mlp", "hidden": 4, "dimension": 4}, "epochs": 1, "batch_size": 4}
    join = {"spaces": ["clip", "clap"], "memories": {"clip": memory, "clap": memory}}
    for name in ("first", "second"):
        params["connections"][name] = {"method": "oracle", "join": join, "retrieve": {}, "train": train}
    params["evaluate"]["tasks"]["own"]["corpus"] = "heldout"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def shard_all(project) -> None:
    from pipeline.progress import Silent
    from pipeline.shard.build import ShardSettings, build_shards

    for name in ("photos", "heldout"):
        settings = ShardSettings(("text",), 10, "error", 0.0)
        build_shards(project / "data/raw" / name, project / "data/shards" / name, settings, Silent())


def test_before_training_and_once(project, capsys):
    (project / "data/raw/heldout/h1.txt").write_text("a photo number 7")
    shard_all(project)
    params = load_params(project / "params.yaml")
    said = "1 sample of photos is also in the evaluation set heldout, 1 with the same bytes (such as p007 = h1)"
    for name, expected in (("first", f"LEAK: {said}: numbers on that set will be too good\n"), ("second", "")):
        warn_of_leaks(params, name)
        assert capsys.readouterr().out == expected
    assert leaks_of(params, params.connections) == [said]


def test_the_train_command_says_it_before_anything_else(project):
    shard_all(project)
    done = CliRunner().invoke(app, ["train", "first"])
    assert done.exit_code, "there are no pairs"
    assert done.stdout == "train first: no sample of photos is in heldout, by key, by bytes or by content\n"


def test_what_was_not_sharded_was_not_compared(project, capsys):
    params = load_params(project / "params.yaml")
    assert leaks_of(params, params.connections) is None
    warn_of_leaks(params, "first")
    assert "were not compared" in capsys.readouterr().out


def resaved(project, kind, **options):
    """Picture h1 of the evaluation set, and a copy of it in another file among the photos."""
    pixels = np.random.default_rng(1).integers(0, 255, (6, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)
    image.save(project / "data/raw/heldout/h1.png")
    (project / "data/raw/photos/copy.txt").write_text("words of its own")
    size = options.pop("size", image.size)
    image.resize(size, Image.Resampling.LANCZOS).save(project / f"data/raw/photos/copy.{kind}", **options)


@pytest.mark.parametrize(
    ("kind", "options", "how"),
    [
        ("png", {"compress_level": 0}, "1 with the same content in another file (such as copy = h1)"),
        ("webp", {"lossless": True}, "1 with the same content in another file (such as copy = h1)"),
        ("jpg", {"quality": 70}, "looks like one of the evaluation set heldout (such as copy and h1)"),
        ("png", {"size": (48, 48)}, "looks like one of the evaluation set heldout (such as copy and h1)"),
    ],
)
def test_pictures_that_were_saved_anew(project, capsys, kind, options, how):
    from pipeline.progress import Silent
    from pipeline.shard.build import ShardSettings, build_shards

    resaved(project, kind, **options)
    for name in ("photos", "heldout"):
        settings = ShardSettings(("image", "text"), 10, "error", 0.9)  # the others are no pictures
        build_shards(project / "data/raw" / name, project / "data/shards" / name, settings, Silent())
    params = load_params(project / "params.yaml")
    warn_of_leaks(params, "first")
    assert how in capsys.readouterr().out
    assert [said for said in leaks_of(params, params.connections) or () if how in said]


def test_shards_that_are_damaged_are_named_and_stop_nobody(project, capsys):
    shard_all(project)
    (project / "data/shards/photos/00000.tar").write_bytes(b"no tar")
    warn_of_leaks(load_params(project / "params.yaml"), "first")
    said = capsys.readouterr().out
    assert "no sample of photos is in heldout" in said
    assert "were not looked for in photos: data/shards/photos/00000.tar is damaged" in said
