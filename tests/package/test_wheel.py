"""What `pip install` gives: the wheel and the sdist are whole, and a project needs no clone."""

import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from packaging.metadata import Metadata

from tests.makers.project import shrink

ROOT = Path(__file__).parents[2]
BUILD = "import sys, setuptools.build_meta as build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git would commit: building writes into its folder."""
    folder = tmp_path_factory.mktemp("source") / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def build(source: Path, what: str, output: Path) -> Path:
    output.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{what}", str(output)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


def check_metadata(content: bytes) -> None:
    found = Metadata.from_email(content, validate=True)
    assert (found.name, str(found.version)) == ("mcr-connect", "0.2.0")
    assert found.description and found.description_content_type == "text/markdown" and found.license_expression
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == str(found.version)
    assert f"## {found.version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_holds_all_that_runs_and_nothing_else(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [info] = [name for name in names if name.endswith(".dist-info/METADATA")]
        check_metadata(archive.read(info))
        commands = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
        assert email.message_from_bytes(archive.read(info))["Requires-Python"]
    assert "mcr = stages.cli:main" in commands
    code = {str(path.relative_to(source)) for kind in ("pipeline", "stages") for path in source.glob(f"{kind}/**/*.*")}
    assert {name for name in code if not name.endswith(".pyc")} <= names
    held = {str(path.relative_to(source)) for path in source.glob("presets/**/*.*")}
    held |= {"dvc.yaml", "gitignore", "dvcignore", "data/demo/dvc.yaml", "data/demo/params.yaml"}
    assert {name.removeprefix("stages/template/") for name in names if name.startswith("stages/template/")} == held
    top = {name.split("/")[0] for name in names}
    assert top == {"pipeline", "stages", "mcr_connect.py", info.split("/")[0]}


def test_a_wheel_of_the_sdist_is_the_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build(source, "sdist", tmp_path / "dist")
    with tarfile.open(sdist) as archive:
        # Python 3.11.2, which Debian 12 has, knows no filters yet.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    check_metadata((unpacked / "PKG-INFO").read_bytes())
    again = build(unpacked, "wheel", tmp_path / "again")

    def contents(path: Path) -> dict[str, str]:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
            return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}

    assert contents(again) == contents(wheel)


class Installed:
    """The wheel, installed without its dependencies, which are those of this interpreter."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder
        arguments = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "install", *arguments, str(wheel)], check=True)

    def run(self, cwd: Path, *command: str) -> str:
        scripts = f"{self.folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PATH": scripts, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def edit(self, path: Path, change: Any) -> None:
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed") / "packages")


def test_an_empty_folder_becomes_a_project(installed: Installed, tmp_path: Path) -> None:
    said = installed.run(tmp_path, "mcr", "init", "demo")
    assert "this folder is a project now" in said
    names = {path.name for path in tmp_path.iterdir()}
    assert {"dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc", "plugins", "data", "presets"} <= names
    assert not names & {"pipeline", "stages"}
    for folder in ("data/annotations", "data/spaces", "data/sweeps/tables"):
        assert (tmp_path / folder / ".gitkeep").exists(), "a clone would lack what a stage depends on"
    installed.run(tmp_path, "mcr", "check")
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    ours = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(ours)
    for name, stage in stages.items():
        deps, before = stage.get("do", stage)["deps"], ours[name].get("do", ours[name])["deps"]
        assert not [dep for dep in deps if dep.startswith(("pipeline/", "stages/"))]
        data = [dep for dep in before if not dep.startswith(("pipeline/", "stages/"))]
        assert deps == [*data, *([f"data/inputs/code/{name}.json"] if len(data) < len(before) else [])]
    # What somebody wrote stays; what we wrote is brought up to date.
    (tmp_path / ".gitignore").write_text("mine\n")
    (tmp_path / "dvc.yaml").write_text((tmp_path / "dvc.yaml").read_text() + "# old\n")
    installed.run(tmp_path, "mcr", "init", "first-light")
    assert (tmp_path / ".gitignore").read_text() == "mine\n" and "# old" not in (tmp_path / "dvc.yaml").read_text()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    installed.run(tmp_path, "mcr", "init", "demo")
    assert (tmp_path / "dvc.yaml").read_text() == "stages: {}\n"


def test_another_version_of_the_code_is_seen_by_the_stages_that_run_it(installed: Installed, tmp_path: Path) -> None:
    installed.run(tmp_path, "mcr", "init", "demo")
    script = "from stages.project import write_code; write_code()"
    installed.run(tmp_path, sys.executable, "-c", script)
    before = {path.stem: path.read_text() for path in (tmp_path / "data/inputs/code").iterdir()}
    assert before.keys() == {"shard", "encode", "retrieve", "train", "evaluate", "report"}
    module = installed.folder / "pipeline/report/write.py"
    content = module.read_text()
    try:
        module.write_text(content + "# changed\n")
        installed.run(tmp_path, sys.executable, "-c", script)
    finally:
        module.write_text(content)
    after = {path.stem: path.read_text() for path in (tmp_path / "data/inputs/code").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["report"]


@pytest.mark.slow
def test_a_second_project_without_a_clone_from_nothing_to_the_same_vectors(
    installed: Installed, tmp_path: Path
) -> None:
    """Init in an empty folder, the demo at reduced size, `dvc repro`, publish, and load it elsewhere."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    installed.run(project, "mcr", "init", "demo")
    small = type("Small", (), {"edit": lambda _, name, change: installed.edit(project / name, change)})()
    shrink(small)
    installed.run(project, "dvc", "repro")
    again = installed.run(project, "dvc", "repro")
    assert re.findall(r"Running stage '([\w:-]+)'", again) == ["inputs"]
    installed.run(project, "mcr", "publish", str(elsewhere / "given"), "--include", "clip", "--include", "clap")
    script = """
import sys, torch
from mcr_connect import ConnectedSpace
torch.set_num_threads(2)
space = getattr(ConnectedSpace, sys.argv[1])(sys.argv[2])
torch.save({"text": space.embed("text", [b"two small metal rings"]), "space": space.dimension}, sys.argv[3])
"""
    installed.run(project, sys.executable, "-c", script, "load", "data/models/audio_image", str(tmp_path / "a.pt"))
    shutil.move(project, tmp_path / "gone")
    installed.run(elsewhere, sys.executable, "-c", script, "from_pretrained", "given", str(tmp_path / "b.pt"))
    one, other = torch.load(tmp_path / "a.pt"), torch.load(tmp_path / "b.pt")
    assert torch.equal(one["text"], other["text"]) and one["space"] == other["space"]
    assert json.loads((elsewhere / "given/metrics.json").read_text())
