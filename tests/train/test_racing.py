"""Two `mcr train` of one connection at the same time: one result, no crash, and who comes second is told to wait."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.store.lock import LOCK_NAME
from stages.cli import app
from tests.makers.python_path import python_path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
PAIRS = 4
EPOCHS = 120  # long enough that two that are begun together meet
# Starts `mcr train` as a process of its own in each folder that it reads, without the seconds that imports take.
STARTER = """
import os, sys
import torch
import pipeline.train.link, pipeline.params.load, stages.train
from stages.cli import main
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.chdir(line.strip())
        log = os.open(f"{os.getpid()}.log", os.O_CREAT | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["mcr", "train", "audio_image"]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Starter:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"},
        )

    def start(self, project: Path) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{project}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@pytest.fixture
def two() -> Iterator[tuple[Starter, Starter]]:
    starters = (Starter(), Starter())
    assert [starter.said() for starter in starters] == ["ready"] * 2
    yield starters
    for starter in starters:
        starter.process.kill()
        starter.process.wait()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with pairs and no model."""
    root = tmp_path / "project"
    shutil.copytree(GOLDEN, root)
    for stale in ("pairs", "models"):
        shutil.rmtree(root / "data" / stale)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["threads"] = 1
    params["run"] = {"device": "cpu"}  # whatever card there is: this is about who writes
    params["connections"]["audio_image"]["train"]["epochs"] = EPOCHS
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(root)
    assert CliRunner().invoke(app, ["retrieve", "audio_image"], catch_exceptions=False).exit_code == 0
    return root


def models(project: Path) -> dict[str, bytes]:
    root = project / "data" / "models"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_that_train_the_same(project: Path, two: tuple[Starter, Starter], tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(project, alone)
    two[0].start(alone)
    assert two[0].said() == "0"
    expected = models(alone)
    assert len(expected) == 4, sorted(expected)
    ended: list[str] = []
    for number in range(PAIRS):
        raced = tmp_path / f"raced{number}"
        shutil.copytree(project, raced)
        for starter in two:
            starter.start(raced)
        statuses = sorted(starter.said() for starter in two)
        said = "".join(log.read_text() for log in raced.glob("*.log"))
        assert statuses in (["0", "0"], ["0", "75"]), said
        assert ("is being written by process" in said) is ("75" in statuses) and "bug" not in said
        assert models(raced) == expected, "neither a lock nor a half-written file stays"
        ended += statuses
    assert "75" in ended, f"they never met ({LOCK_NAME} was not tried)"
