"""`mcr plan`: names what `dvc repro` then runs, counts it, and refuses what does not fit."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo  # here: its log handlers keep the stream that they find when it is imported
from typer.testing import CliRunner

from pipeline.errors import McrError
from pipeline.plan.changes import Changes, stage_changes
from stages.cli import app
from stages.tools import plan as module
from tests.stages.tools.tools_project import make_project

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def mcr(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception:
        raise done.exception
    return done.stdout


def test_the_plan_shrinks_as_the_work_is_done(project):
    said = mcr("plan", "--probe", "4")
    assert "shard photos:" in said and "encode clip-photos: unknown until photos is sharded" in said
    mcr("shard", "photos")
    said = mcr("plan", "--probe", "4")
    assert "shard photos" not in said
    assert "encode clip-photos image: 25 of 25 samples, 1 kB" in said and "clip-photos text: 25 of 25" in said
    mcr("encode", "clip-photos")
    said = mcr("plan")
    assert "encode" not in said and "disk: 0 kB" in said


def test_results_that_do_not_fit(project, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(McrError, match="are free") as error:
        mcr("plan", "--probe", "0")
    assert error.value.exit_code == 1


def test_stages_that_dvc_would_run(project):
    stages = {
        "a": {"cmd": "cp in a", "deps": ["in"], "outs": ["a"]},
        "b": {"cmd": "cp a b", "deps": ["a"], "params": ["seed"], "outs": ["b"]},
        "c": {"cmd": "cp other c", "deps": ["other"], "outs": ["c"]},
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    Path("params.yaml").write_text("seed: 0\n")
    for name in ("in", "other"):
        Path(name).write_text("1")
    with Repo.init(no_scm=True):
        assert [change.stage for change in stage_changes(Path(".")).run] == ["a", "b", "c"]
        subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    assert stage_changes(Path(".")) == Changes([], frozenset("abc"))
    Path("in").write_text("2")
    first, second = stage_changes(Path(".")).run
    assert (first.stage, first.reasons) == ("a", ["in: modified"])
    assert (second.stage, second.reasons) == ("b", [])
    assert stage_changes(Path(".")).unchanged == {"c"}
    Path("in").write_text("1")
    Path("params.yaml").write_text("seed: 1\n")
    [only] = stage_changes(Path(".")).run
    assert (only.stage, only.reasons) == ("b", ["params.yaml: seed modified"])


def test_nothing_is_loaded_for_what_does_not_run(project):
    stages = {
        "shard": {"foreach": ["photos"], "do": {"cmd": "echo ${item} > sharded", "outs": ["sharded"]}},
        "encode": {"foreach": ["clip"], "do": {"cmd": "echo ${item} > done", "outs": ["done"]}},
        "report": {"cmd": "cp in r", "deps": ["in"], "outs": ["r"]},
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    Path("in").write_text("1")
    Repo.init(no_scm=True).close()
    mcr("shard", "photos")
    assert "encode clip-photos image: 25 of 25" in mcr("plan", "--probe", "4")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    Path("in").write_text("2")
    said = mcr("plan", "--probe", "4")
    assert "would run 1 stage:\n  report: in: modified" in said and "encode" not in said
    Path("in").write_text("1")
    command = "import sys; from stages.cli import app; app(['plan'], standalone_mode=False); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert done.stdout == "dvc repro would run 0 stages: everything is up to date\n"


def test_stages_of_somebody_else_hide_no_work_of_ours(project):
    work = "encode clip-photos image: 25 of 25"
    mcr("shard", "photos")
    Path("dvc.yaml").write_text("stages: {}\n")
    with Repo.init(no_scm=True):
        said = mcr("plan", "--probe", "4")
        assert "there are no stages" in said and "up to date" not in said and work in said
        # One of their own, and one in a folder that is called as ours is.
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"own": {"cmd": "echo > own", "outs": ["own"]}}}))
        Path("part").mkdir()
        ours = {"encode": {"foreach": ["clip"], "do": {"cmd": "echo ${item} > done", "outs": ["done"]}}}
        Path("part/dvc.yaml").write_text(yaml.safe_dump({"stages": ours}))
        subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "--all-pipelines"], check=True)
        said = mcr("plan", "--probe", "4")
        assert "would run 0 stages" in said and work in said


def test_other_parameters_than_those_that_dvc_reads(project):
    mcr("shard", "photos")
    with Repo.init(no_scm=True):
        Path("params.yaml").rename("other.yaml")
        said = mcr("plan", "--probe", "4", "--params", "other.yaml")
    assert "dvc: its stages read params.yaml, not other.yaml" in said and "encode clip-photos image: 25 of 25" in said
