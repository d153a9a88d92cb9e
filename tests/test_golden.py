"""A project folder of the first version (tests/golden, made by its make.py): what it holds is used, not made again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.connect import ConnectedSpace
from pipeline.spaces import SpaceSpec, load_space
from pipeline.store import Store
from stages.cli import app

GOLDEN = Path(__file__).parent / "golden"


def mcr(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [line for line in done.stdout.splitlines() if " parts computed" in line]


def parts(root: Path, *kinds: str) -> dict[str, bytes]:
    return {
        path.name if kind == "pairs" else str(path.relative_to(root)): path.read_bytes()
        for kind in kinds
        for path in sorted((root / "data" / kind).rglob("*"))
        if path.suffix in (".tar", ".parquet") and not path.name.startswith("_")
    }


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A copy whose stores were made by the packages of today: another torch makes embeddings stale, and rightly so."""
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for path in tmp_path.glob("data/embeddings/*/*/*/_manifest.json"):
        manifest = json.loads(path.read_text())
        made = manifest["fingerprint"]
        encoder = load_space(SpaceSpec(**made["spec"])).fingerprint(made["modality"])
        made["encoder"]["packages"] = encoder["packages"]
        path.write_text(json.dumps(manifest))
    return tmp_path


def test_it_is_small():
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 150_000


def test_shards_and_embeddings_are_reused(project):
    lines = mcr("shard", "photos", "sounds", "captions")
    lines += mcr("encode", "--space", "clip") + mcr("encode", "--space", "clap")
    assert len(lines) == 7 and all("; 0 of 2 parts computed" in line for line in lines), lines
    assert parts(project, "shards", "embeddings") == parts(GOLDEN, "shards", "embeddings")
    for path in project.glob("data/embeddings/*/*/*/_manifest.json"):
        assert Store.open(path.parent).manifest.corpus == path.parents[1].name, "the manifest is one of today"


def test_stores_are_read_as_they_are_and_give_the_same_pairs(project):
    # As a process of its own, which fixes how the matrix library adds up before it is loaded.
    environment = {**os.environ, "PYTHONPATH": str(GOLDEN.parents[1])}
    command = [sys.executable, "-m", "stages.cli", "retrieve", "audio_image"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert "2 of 2 parts computed" in done.stdout
    assert parts(project, "pairs") == parts(GOLDEN, "pairs")


def test_the_model_is_loaded(project):
    space = ConnectedSpace.load(project / "data/models/audio_image")
    assert space.embed("text", [b"a photo of w1"]).shape == (1, 4)
