"""Everything that keeps parameters from running is a FAIL with a command; what runs is none."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from dvc.repo import Repo  # here: its log handlers keep the stream that they find when it is imported
from safetensors.torch import save_file
from typer.testing import CliRunner

from pipeline.doctor import inputs, packages, storage
from pipeline.doctor.finding import FAIL, NOTE, OK
from pipeline.doctor.links import harmful_links
from pipeline.doctor.owners import not_yours
from pipeline.errors import McrError
from pipeline.hashing import sha256_bytes
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.listing import listed_files
from pipeline.spaces import SpaceSpec
from stages.cli import app
from stages.context import RESULTS
from tests.stages.tools.tools_project import make_project

NOWHERE: set[Path] = set()


@pytest.mark.parametrize(("running", "level"), [((3, 10), FAIL), ((3, 11), OK), ((3, 13), OK), ((3, 14), FAIL)])
def test_python(monkeypatch, running, level):
    assert packages.python().level == OK and sys.prefix in packages.python().said
    monkeypatch.setattr(packages.sys, "version_info", (*running, 5))
    assert packages.python().level == level


def test_packages_that_are_missing_or_of_another_version(tmp_path):
    from importlib.metadata import version

    asked = ['"numpy>=1"', '"pyarrow>=99"', '"no-such-package>=2,<3"', '"pydantic"']
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = [{', '.join(asked)}]\n")
    (tmp_path / "constraints.txt").write_text(f"numpy=={version('numpy')}\nPydantic==0.1  # old\n")
    found = {finding.subject: finding for finding in packages.packages(tmp_path)}
    assert {name: finding.level for name, finding in found.items()} == {
        "pyarrow": FAIL,
        "no-such-package": FAIL,
        "pydantic": NOTE,
    }
    assert found["no-such-package"].hint == "Run `pip install -c constraints.txt 'no-such-package<3,>=2'`."


def test_device_and_threads(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [finding.level for finding in packages.device("auto", 4, 4)] == [OK]
    assert [finding.level for finding in packages.device("cuda", 8, 4)] == [FAIL, NOTE]


@pytest.mark.parametrize(
    ("installed", "gpu", "level"),
    [
        (["faiss-cpu"], True, OK),
        ([], False, FAIL),
        (["faiss-cpu", "faiss-gpu"], True, FAIL),
        (["faiss-gpu"], False, NOTE),
    ],
)
def test_faiss(monkeypatch, installed, gpu, level):
    monkeypatch.setattr(packages, "_installed", installed.__contains__)
    assert packages.faiss(["audio_image"], gpu).level == level
    assert packages.faiss([], gpu).level in (OK, NOTE), "exact search needs none"
    if not installed:
        assert packages.faiss([], True).hint == "Run `pip install -c constraints.txt faiss-gpu`."


def test_checkpoints(tmp_path):
    weights = tmp_path / "clip" / "w.safetensors"
    weights.parent.mkdir()
    spec = SpaceSpec("open_clip", str(weights.parent), model="ViT-B-32")
    assert inputs.checkpoint("clip", spec, NOWHERE).level == FAIL
    save_file({"w": torch.ones(3)}, weights)
    digest = sha256_bytes(weights.read_bytes())
    found = inputs.checkpoint("clip", spec, NOWHERE)
    assert found.level == OK and digest in found.said
    for sha256, level in ((digest, OK), ("0" * 64, FAIL)):
        assert (
            inputs.checkpoint("c", SpaceSpec("open_clip", str(weights), model="ViT-B-32", sha256=sha256), NOWHERE).level
            == level
        )
    gone = SpaceSpec("compact", str(tmp_path / "gone"))
    assert inputs.checkpoint("c", gone, NOWHERE).level == FAIL
    assert inputs.checkpoint("c", gone, {tmp_path / "gone"}).level == NOTE, "a stage makes it"
    for place in ("hf-hub:owner/name", "openai"):
        assert inputs.checkpoint("c", SpaceSpec("open_clip", place), NOWHERE).level == NOTE
    assert inputs.checkpoint("c", SpaceSpec("opne_clip", "openai"), NOWHERE).level == FAIL


@pytest.mark.parametrize(
    ("name", "content", "said", "hint"),
    [
        ("w.safetensors", b"<!DOCTYPE html><html>login</html>", "is an HTML page", "Fetch the file again"),
        ("w.pt", b"<html>", "is an HTML page", "Fetch the file again"),
        ("w.pt", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of git-lfs", "Run `git lfs pull`"),
        ("w.pt", b"\x1f\x8b\x08", "is compressed with gzip", "Unpack it"),
        ("w.safetensors", b"/annex/objects/x\n", "is a git-annex pointer", "Run `git annex get`"),
        ("w.safetensors", None, "is damaged or cut off", "compare its sha256"),
        ("w.pt", None, "is cut off", "compare its sha256"),
        ("w.safetensors", b"", "is damaged or cut off", "compare its sha256"),
        ("w.bin", b"", "is empty", "compare its sha256"),
    ],
)
def test_weights_that_cannot_be_read_are_found_before_they_are_needed(tmp_path, name, content, said, hint):
    path = tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    save({"w": torch.ones(300)}, path)
    spec = SpaceSpec("open_clip", str(path), model="ViT-B-32")
    assert inputs.checkpoint("clip", spec, NOWHERE).level == OK
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    found = inputs.checkpoint("clip", spec, NOWHERE)
    assert found.level == FAIL and said in found.said and hint in found.hint


def test_weights_whose_header_is_as_long_as_the_letters_of_a_zip_say(tmp_path):
    """A file of safetensors begins with the length of its header: PK is 19,280 bytes."""
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(3)}, path)
    content = path.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    path.write_bytes(b"PK".ljust(8, b"\0") + header.ljust(0x4B50) + content[8 + len(header) :])
    assert inputs.checkpoint("clip", SpaceSpec("open_clip", str(path), model="ViT-B-32"), NOWHERE).level == OK


def test_a_project_without_stages_is_told_how_to_get_them(tmp_path):
    with Repo.init(str(tmp_path), no_scm=True):
        pass
    assert [found.level for found in storage.dvc(tmp_path).findings] == [OK, NOTE]
    assert "Move" not in storage.dvc(tmp_path).findings[1].hint
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    assert storage.dvc(tmp_path).findings[1].hint.startswith("Move dvc.yaml away"), "it is not replaced"
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', outs: [data/a]}}")
    assert [found.level for found in storage.dvc(tmp_path).findings] == [OK]


def test_tokenizers(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    [found] = inputs.tokenizer("clap", SpaceSpec("laion_clap", "c"))
    assert found.level == FAIL and "hf download roberta-base config.json vocab.json merges.txt" in found.hint
    [found] = inputs.tokenizer("clip", SpaceSpec("open_clip", "c", model="roberta-ViT-B-32"))
    assert found.level == NOTE and "roberta-base" in found.said
    assert inputs.tokenizer("clip", SpaceSpec("open_clip", "c", model="ViT-B-32")) == []


def test_sources(tmp_path):
    def found(place: str, made: set[Path] = NOWHERE):
        corpus = CorpusSettings(source=place, modalities=("text",))
        return inputs.source("c", place, made, lambda: listed_files(corpus))

    assert found(str(tmp_path)).level == FAIL, "an empty folder"
    (tmp_path / "a.txt").write_text("a")
    assert found(str(tmp_path)).level == found(f"{tmp_path}/*.txt").level == OK
    assert found(f"{tmp_path}/{{00..10}}.tar").level == FAIL, "a pattern that matches nothing"
    for place, package in (("oss://bucket/a", "ossfs"), ("gs://bucket/a", "gcsfs"), ("az://a/b", "adlfs")):
        assert found(place).level == FAIL and package in found(place).said
    for place in ("gone", "gone/*.png", "gone/{0..3}.tar", "gone/below/a.jsonl"):
        assert found(f"{tmp_path}/{place}").level == FAIL
        assert found(f"{tmp_path}/{place}", {tmp_path / "gone"}).level == NOTE, "a stage makes it"


def test_dvc_with_a_cache_that_copies_outputs_at_every_run(tmp_path):
    assert storage.dvc(tmp_path).findings[0].level == FAIL
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        Path(repo.cache.local.path).mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', outs: [data/a]}}")
    found = storage.dvc(tmp_path)
    assert found.findings[0].level == OK and found.made == {tmp_path / "data/a"}
    (tmp_path / "dvc.yaml").write_text(
        "stages: {a: {cmd: 'true', deps: [data/x], params: [p.q], outs: [data/a]}, b: {cmd: 'true', deps: [data]}}"
    )
    (tmp_path / "params.yaml").write_text("p: {}")
    said = [finding.said for finding in storage.dvc(tmp_path).findings if finding.level == FAIL]
    assert any("stage a: data/x is not there" in one for one in said)
    assert any("stage a: Parameters 'p.q' are missing" in one for one in said) and len(said) == 2
    assert len(storage.dvc(tmp_path, [tmp_path / "data/x"]).findings) == 2, "the first stage makes that folder"
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', outs: [data/a]}}")
    with (tmp_path / ".dvc/config").open("a") as config:
        config.write("[cache]\n    type = hardlink\n")
    [finding] = storage.dvc(tmp_path).findings
    assert finding.level == NOTE and "dvc config cache.type reflink,copy" in finding.hint
    for broken in ("stages: [", "stages: {a: {cmd: 'true', outs: [x]}, b: {cmd: 'true', outs: [x]}}"):
        (tmp_path / "dvc.yaml").write_text(broken)
        assert storage.dvc(tmp_path).findings[0].level == FAIL


@pytest.mark.parametrize("left", ["", '{"write": {', "[]", '{"write": 3}', "\x00"])
def test_what_a_killed_dvc_left_of_its_record(tmp_path, left):
    with Repo.init(str(tmp_path), no_scm=True):
        pass
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', outs: [data/a]}}")
    record = tmp_path / ".dvc/tmp/rwlock"
    record.write_text('{"write": {}, "read": {}}')
    assert [finding.level for finding in storage.dvc(tmp_path).findings] == [OK]
    record.write_text(left)
    refused = subprocess.run(["dvc", "repro"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode and "RWLock-file" in refused.stderr, "otherwise there is nothing to say"
    [_, finding] = storage.dvc(tmp_path).findings
    assert finding.level == FAIL and str(record) in finding.said and "remove it" in finding.hint


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_a_killed_dvc_left_of_its_lock_file(tmp_path, share):
    with Repo.init(str(tmp_path), no_scm=True):
        pass
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true'}}")
    lock = "schema: '2.0'\nstages:\n  a:\n    cmd: 'true'\n    deps:\n    - path: a\n      hash: md5\n      md5: c0\n"
    (tmp_path / "dvc.lock").write_text(lock[: int(share * len(lock))])
    [finding] = storage.dvc(tmp_path).findings
    assert finding.level == FAIL and "git checkout dvc.lock" in finding.hint


def test_a_project_whose_git_repository_is_gone(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with Repo.init(str(tmp_path)):
        pass
    shutil.rmtree(tmp_path / ".git")
    [finding] = storage.dvc(tmp_path).findings
    assert finding.level == FAIL and "git init" in finding.hint and "dvc config core.no_scm true" in finding.hint


@pytest.mark.parametrize("link", ["data", "data/shards", "data/models"])
def test_results_below_a_link_to_another_place(tmp_path, link):
    root, elsewhere = tmp_path / "project", tmp_path / "disk"
    elsewhere.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    with Repo.init(str(root)):
        pass
    (root / link).parent.mkdir(exist_ok=True)
    assert harmful_links(root, RESULTS) == []
    (root / link).symlink_to(elsewhere)
    found = harmful_links(root, RESULTS)
    assert found and all(finding.level == FAIL and str(elsewhere) in finding.said for finding in found)
    with Repo(str(root)) as repo, repo.config.edit() as config:
        config["core"]["no_scm"] = True
    assert harmful_links(root, RESULTS) == []


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    with Repo.init(str(tmp_path), no_scm=True):
        pass
    params = yaml.safe_load(Path("params.yaml").read_text()) | {"connections": {}, "threads": 1}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    done = CliRunner().invoke(app, ["doctor", "--load"])
    assert done.exit_code == 0, done.stdout
    assert "space clip: loads: text, image, 12 dimensions" in done.stdout
    shutil.rmtree("data/spaces/clip")
    done = CliRunner().invoke(app, ["doctor"])
    assert isinstance(done.exception, McrError) and done.exception.exit_code == 1
    assert "FAIL  space clip: data/spaces/clip does not exist" in done.stdout
    Path("params.yaml").write_text("seed: x")
    done = CliRunner().invoke(app, ["doctor"])
    assert "FAIL  parameters: params.yaml has" in done.stdout and "Python" in done.stdout


def test_results_of_somebody_else(tmp_path, monkeypatch):
    """Writable by the group is not enough: DVC sets modes, which only the owner of a file may."""
    file = tmp_path / "data/shards/photos/00000.tar"
    file.parent.mkdir(parents=True)
    file.touch()
    assert not not_yours(tmp_path, RESULTS)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    monkeypatch.setattr("pipeline.doctor.owners.os.access", lambda path, mode: True)
    monkeypatch.setattr("pwd.getpwuid", lambda number: SimpleNamespace(pw_name="alice"))
    (found,) = not_yours(tmp_path, RESULTS)
    assert found.level == FAIL and f"{file} belongs to user alice" in found.said and "clone of your own" in found.hint
    cached = tmp_path / "cached"
    file.rename(cached)
    file.hardlink_to(cached)  # of a link, DVC first makes a file of this user
    assert not not_yours(tmp_path, RESULTS)
    file.unlink()
    file.symlink_to(cached)
    assert not not_yours(tmp_path, RESULTS)


def test_a_project_that_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "data/pairs").mkdir(parents=True)
    monkeypatch.setattr("pipeline.doctor.owners.os.access", lambda path, mode: path.name != "pairs")
    (found,) = not_yours(tmp_path, RESULTS)
    assert found.level == FAIL and found.said == f"{tmp_path / 'data/pairs'}: permission is denied"


def test_a_cache_that_may_not_be_written_is_no_error(tmp_path, monkeypatch):
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    cache = tmp_path / ".dvc/cache/files/md5"
    cache.mkdir(parents=True)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(cache))

    monkeypatch.setattr("dvc.fs.generic.test_links", refused)
    monkeypatch.setattr("pipeline.doctor.storage.os.access", lambda path, mode: False)
    assert storage.dvc(tmp_path).findings[0].level != FAIL and storage.cache_link(tmp_path)


def test_git_that_came_after_dvc_is_said(tmp_path):
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    with_git = lambda: any("set up without it" in finding.said for finding in storage.dvc(tmp_path).findings)  # noqa: E731
    assert not with_git()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert with_git()
    subprocess.run(["dvc", "config", "core.no_scm", "false"], cwd=tmp_path, check=True)
    assert not with_git()
