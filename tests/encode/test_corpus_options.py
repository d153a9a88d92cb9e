"""One space, two corpora whose files are prepared in two ways: said per job, recorded, and still one space."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.spaces import SpaceSpec, load_space, prepared_for
from pipeline.store import load_manifest, open_placed, read_embeddings, read_placed
from pipeline.store.integrity.agreement import space_of
from stages.cli import app
from tests.makers.devices import NEEDS_DVC
from tests.spaces.open_clip.test_open_clip import save_folder, tiny


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == code, (arguments, done.output, done.exception)
    return done.output


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Two corpora of pictures with transparent pixels; the first job has nothing of its own."""
    monkeypatch.chdir(tmp_path)
    Path("clip").mkdir()
    save_folder(Path("clip"), tiny())
    for corpus, offset in (("plain", 0), ("drawn", 10)):
        Path("raw", corpus).mkdir(parents=True)
        for number in range(offset, offset + 3):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 4), np.uint8)
            Image.fromarray(pixels, "RGBA").save(f"raw/{corpus}/p{number}.png")
    write({"clip-plain": {"space": "clip", "corpus": "plain"}, "clip-drawn": {"space": "clip", "corpus": "drawn"}})
    run("shard", "plain", "drawn")
    return tmp_path


def write(jobs: dict[str, dict[str, object]]) -> None:
    corpora = {name: {"modalities": ["image"], "source": f"raw/{name}"} for name in ("plain", "drawn")}
    content = {"seed": 0, "threads": 1, "corpora": corpora, "limits": {"max_rejected": 0.0}, "encode": jobs}
    content |= {"spaces": {"clip": {"encoder": "open_clip", "checkpoint": "clip"}}, "connections": {}}
    Path("params.yaml").write_text(yaml.safe_dump({**content, "evaluate": {"tasks": {}}, "report": {}}))


@NEEDS_DVC
def test_a_job_has_its_own_preparation_of_one_and_the_same_space(project):
    plain, drawn = (Path("data/embeddings/clip", name, "image") for name in ("plain", "drawn"))
    run("encode", "--space", "clip")
    before = load_manifest(plain).fingerprint
    on_black = read_embeddings([drawn])[1]
    jobs = {"clip-plain": {"space": "clip", "corpus": "plain"}, "clip-drawn": {"space": "clip", "corpus": "drawn"}}
    jobs["clip-drawn"]["options"] = {"background": "white"}
    write(jobs)
    assert "encode clip-drawn image: 3 of 3" in run("plan")
    run("encode", "--space", "clip")
    assert load_manifest(plain).fingerprint == before and "corpus_options" not in before
    assert load_manifest(drawn).fingerprint["corpus_options"] == {"background": "white"}
    assert load_manifest(drawn).fingerprint["spec"] == before["spec"], "it is the same space"

    keys, rows = read_embeddings([drawn])
    white = load_space(SpaceSpec("open_clip", "clip", options={"background": "white"}))
    for key, row, other in zip(keys, rows, on_black, strict=True):
        alone = white.encode("image", white.preprocess("image", Path("raw/drawn", f"{key}.png").read_bytes())[None])
        np.testing.assert_allclose(row, alone[0], atol=1e-5)
        assert np.abs(row - other).max() > 1e-3
    assert len(read_placed([plain, drawn])[0]) == 6, "both are one memory"
    record = space_of("clip", [open_placed(plain), open_placed(drawn)])
    assert record["corpus_options"] == {"image": {"background": "white"}}

    assert "encode clip-drawn" not in run("plan")
    parts = [path.stat().st_mtime_ns for path in sorted(Path("data/embeddings").rglob("*.parquet"))]
    run("encode", "--space", "clip")
    assert [path.stat().st_mtime_ns for path in sorted(Path("data/embeddings").rglob("*.parquet"))] == parts
    assert "agrees" in run("verify", "--recompute", "3", "data/embeddings/clip/drawn")


def test_what_changes_the_model_is_the_spaces_own(project):
    write({"a": {"space": "clip", "corpus": "plain", "options": {"force_quick_gelu": True}}})
    for command in (["check"], ["encode", "a"]):
        done = CliRunner().invoke(app, command)
        assert isinstance(done.exception, UserError)
        assert "force_quick_gelu of open_clip cannot be set for a single corpus" in done.exception.message


@pytest.mark.parametrize(
    ("encoder", "allowed", "refused"),
    [
        ("open_clip", {"background": "white"}, "force_quick_gelu"),
        ("laion_clap", {"crop": "start"}, "fusion"),
        ("transformers", {"crop": "start", "background": "white"}, "attention"),
        ("compact", {"background": "white"}, "width"),
        ("ulip2", {"points": 10_000, "sampling": "first", "normalisation": "none", "background": "white"}, "depth"),
    ],
)
def test_of_every_family(encoder, allowed, refused):
    spec = SpaceSpec(encoder, "weights", options={"background": "black", "own": 1})
    assert prepared_for(spec, {}) is spec
    assert prepared_for(spec, allowed).options == {**spec.options, **allowed}
    with pytest.raises(UserError, match=f"option {refused} of {encoder} cannot be set for a single corpus"):
        prepared_for(spec, {refused: 1})
