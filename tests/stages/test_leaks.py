"""Evaluation samples in the training data are said once, before training, and stand in the report."""

import pytest
import yaml
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
    said = "1 samples of photos are also in the evaluation set heldout, 1 with the same bytes (such as p007 = h1)"
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
