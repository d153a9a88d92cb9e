"""`mcr verify`: sound stores are described, damaged ones end it with 1 and what to do."""

import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipeline.errors import CorruptError, UserError
from pipeline.explore.index import Found
from pipeline.explore.samples import Samples
from pipeline.spaces.compact.space import CompactModel, load_compact, save_compact
from stages.cli import app
from stages.tools.search import _save
from tests.stages.tools.tools_project import make_project


def mcr(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    assert mcr("shard", "photos").exit_code == mcr("encode", "clip-photos").exit_code == 0
    return tmp_path


def test_all_stores_or_those_that_are_named(project):
    done = mcr("verify", "--recompute", "7")
    assert done.exit_code == 0, done.exception
    assert "verify: 3 sound, 1 missing" in done.stdout and done.stdout.count("recomputed 7") == 2
    assert "data/metrics: missing: params.yaml asks for it" in done.stdout
    assert "25 rows in 3 parts" in mcr("verify", "clip/photos/image").stdout
    assert "verify: 1 sound" in mcr("verify", "data/embeddings/clip/photos/text").stdout
    assert isinstance(mcr("verify", "clop").exception, UserError)


def test_damage_is_an_error_with_a_hint(project):
    part = project / "data/embeddings/clip/photos/image/part-00001.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-9])
    done = mcr("verify")
    assert isinstance(done.exception, CorruptError) and done.exception.exit_code == 1
    assert "1 of 4 results" in done.exception.message and "mcr encode" in done.exception.hint
    assert "clip/photos/image: DAMAGED: part-00001.parquet is damaged" in done.stdout
    assert mcr("encode", "clip-photos").exit_code == 0, "what the hint says must help"
    assert part.read_bytes() == content and mcr("verify").exit_code == 0


def test_what_may_not_be_read_is_not_called_damaged(project, monkeypatch):
    access = os.access
    shut = project / "data/embeddings/clip/photos/image/part-00001.parquet"
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != shut.name and access(path, mode))
    done = mcr("verify")
    assert isinstance(done.exception, UserError) and "of 4 results may not be read" in done.exception.message
    assert f"clip/photos/image: UNREADABLE: {shut.relative_to(project)}: permission is denied" in done.stdout
    assert "DAMAGED" not in done.stdout


def test_a_link_that_leads_nowhere_is_no_matter_of_modes(project):
    """An editor leaves such links; and of a part it is damage."""
    folder = project / "data/embeddings/clip/photos/image"
    (folder / ".#lock").symlink_to("nobody@nowhere:1")
    assert mcr("verify").exit_code == 0
    (folder / "part-00001.parquet").unlink()
    (folder / "part-00001.parquet").symlink_to("gone")
    done = mcr("verify")
    assert isinstance(done.exception, CorruptError) and "UNREADABLE" not in done.stdout


def test_nothing_is_saved_from_a_damaged_shard(project):
    found = [Found("photos", "image", "p012", 1.0, "00001.tar")]
    _save(project / "found", "", found, Samples(project / "data/shards"))
    assert (project / "found/01-p012.png").read_bytes() == (project / "data/raw/photos/p012.png").read_bytes()
    tar = project / "data/shards/photos/00001.tar"
    tar.write_bytes(tar.read_bytes().replace(b"IEND", b"IENT"))
    with pytest.raises(CorruptError, match="00001.tar is damaged"):
        _save(project / "again", "", found, Samples(project / "data/shards"))
    assert not (project / "again").exists()


def test_another_checkpoint_is_found_by_recomputing_alone(project):
    folder = project / "data/spaces/clip"
    torch.manual_seed(1)
    save_compact(folder, CompactModel(12, load_compact(folder).settings))
    assert mcr("verify").exit_code == 0
    done = mcr("verify", "clip/photos/image", "--recompute", "3")
    assert isinstance(done.exception, CorruptError) and "DIFFERS" in done.stdout
    assert "since it was made, sha256.weights.safetensors:" in done.stdout
