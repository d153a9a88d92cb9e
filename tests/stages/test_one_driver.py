"""Every stage: while a living process writes to its output it changes nothing there, and says who; a dead one stops nobody."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.store.lock import LOCK_NAME, HeldError, Holder
from stages.cli import app

GOLDEN = Path(__file__).parents[1] / "golden"
STAGES = {
    "shard": (["shard", "photos"], "shards/photos"),
    "encode": (["encode", "clip-photos"], "embeddings/clip/photos/image"),
    "retrieve": (["retrieve", "audio_image"], "pairs/audio_image/clip-clap/overlap"),
    "train": (["train", "audio_image"], "models/audio_image"),
    "evaluate": (["evaluate"], "metrics"),
    "report": (["report"], "reports"),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(GOLDEN, root)
    monkeypatch.chdir(root)
    return root / "data"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives on."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stage", STAGES)
def test_who_comes_second_changes_nothing_and_is_told_who_is_there(project, other, stage):
    arguments, place = STAGES[stage]
    (project / place).mkdir(parents=True, exist_ok=True)
    # A half-written file of the other: it is no leftover.
    for name, content in ((LOCK_NAME, json.dumps(asdict(Holder.here(other.pid)))), ("a.tar.0a1b2c3d.tmp", "half")):
        (project / place / name).write_text(content)
    before = files(project / place)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, HeldError) and done.exception.exit_code == 75
    assert str(Path("data") / place) in done.exception.message and f"process {other.pid} on " in done.exception.message
    assert files(project / place) == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_holder_that_has_died_stops_nobody(project, other, stage):
    arguments, place = STAGES[stage]
    (project / place).mkdir(parents=True, exist_ok=True)
    (project / place / LOCK_NAME).write_text(json.dumps(asdict(Holder.here(other.pid))))
    other.kill()
    other.wait()
    done = CliRunner().invoke(app, arguments)
    assert not isinstance(done.exception, HeldError), done.output
    assert not (project / place / LOCK_NAME).exists()
