"""Encoders and methods of somebody else: named in params.yaml, found in installed packages and in the folder plugins/."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from dvc.repo import Repo

from pipeline import plugins as plugged
from pipeline.errors import UserError
from pipeline.plugins import ENCODERS, plugins
from pipeline.spaces import SpaceSpec, load_space
from pipeline.store import EMBEDDINGS, Store, load_manifest
from tests.stages.tools.tools_project import make_project

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin"
STORE = Path("data/embeddings/letters/photos/text")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose only space is one of the encoder `letters`, which nothing brings yet."""
    make_project(tmp_path)
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    raw["spaces"] = {"letters": {"encoder": "letters", "checkpoint": "data/spaces/letters"}}
    raw["encode"] = {"letters-photos": {"space": "letters", "corpus": "photos"}}
    raw["evaluate"] = {"tasks": {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    (tmp_path / "data/spaces/letters").mkdir()
    letters = torch.randn(256, 12, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"letters": letters}, tmp_path / "data/spaces/letters/w.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("letters", "mine")]:
        del sys.modules[name]


def install(site: Path, version: str = "1.0") -> Path:
    """Put the package with the encoder into a folder of installed packages."""
    shutil.copytree(PLUGIN / "letters", site / "letters", dirs_exist_ok=True)
    for old in site.glob("letters-*"):
        shutil.rmtree(old)
    shutil.copytree(PLUGIN / "letters-1.0.dist-info", site / f"letters-{version}.dist-info")
    (site / f"letters-{version}.dist-info/METADATA").write_text(
        f"Metadata-Version: 2.1\nName: letters\nVersion: {version}\n"
    )
    return site


def put_into_folder(name: str = "mine") -> Path:
    """The same encoder as a file of the project."""
    Path("plugins").mkdir(exist_ok=True)
    shutil.copy(PLUGIN / "letters/space.py", f"plugins/{name}.py")
    Path("plugins/entry_points.txt").write_text(f"[mcr_connect.encoders]\nletters = {name}:Letters\n")
    return Path("plugins", f"{name}.py")


def run(*commands: str, site: Path = ROOT) -> str:
    """Run commands of `mcr` in a new process that finds what is installed in `site`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, site)))}
    script = (
        "import sys; from stages.cli import app\nfor line in sys.argv[1:]: app(line.split(), standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", script, *commands], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def made_by() -> Any:
    encoder = load_manifest(STORE).fingerprint["encoder"]
    assert isinstance(encoder, dict)
    return encoder["plugin"]


def check_rows() -> None:
    """The rows are the letters of each caption, counted by hand and mapped."""
    rows = Store.open(STORE, EMBEDDINGS).read()
    weights = safetensors.torch.load_file("data/spaces/letters/w.safetensors")["letters"].double().numpy()
    for key, row in zip(rows.keys, rows.vectors["embedding"], strict=True):
        text = Path("data/raw/photos", f"{key}.txt").read_bytes()
        expected = np.bincount(np.frombuffer(text, np.uint8), minlength=256) @ weights
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


def test_an_encoder_of_an_installed_package_goes_through_the_stages(project: Path) -> None:
    site = install(project / "site")
    run("inputs", "shard photos", "encode letters-photos", site=site)
    check_rows()
    first = made_by()
    assert {**first, "source": ""} == {
        "package": "letters",
        "version": "1.0",
        "code": "letters.space:Letters",
        "source": "",
    }
    described = Path("data/inputs/spaces/letters.json").read_text()
    assert first["source"] in described
    assert "nothing changed" in run("inputs", site=site)

    # Another version or another source makes everything again, and DVC sees either in data/inputs.
    install(site, "1.1")
    assert "changed: letters" in run("inputs", "encode letters-photos", site=site)
    assert made_by() == {**first, "version": "1.1"}
    with (site / "letters/space.py").open("a") as file:
        file.write("# another one\n")
    assert "changed: letters" in run("inputs", "encode letters-photos", site=site)
    assert made_by()["source"] != first["source"] and made_by()["version"] == "1.1"


def test_an_encoder_in_the_projects_folder_goes_through_the_same(project: Path) -> None:
    path = put_into_folder()
    run("inputs", "shard photos", "encode letters-photos")
    check_rows()
    first = made_by()
    assert {**first, "source": ""} == {"package": "plugins/", "version": "", "code": "mine:Letters", "source": ""}
    path.write_text(path.read_text().replace("Unit rows", "Rows of length one"))
    assert "changed: letters" in run("inputs", "encode letters-photos")
    assert made_by()["source"] != first["source"]


def test_params_only_name_code(project: Path) -> None:
    """Nothing is imported for a name that looks like code, or for one that is not named."""
    path = put_into_folder()
    path.write_text("raise SystemExit('imported')\n")
    assert list(plugins(ENCODERS)) == ["letters"]
    load_space(SpaceSpec("compact", "data/spaces/clip"))
    for name in ("mine:Letters", "mine", "os:system", "plugins/mine.py", "letters = mine:Letters"):
        with pytest.raises(UserError, match="no encoder family"):
            load_space(SpaceSpec(name, "data/spaces/letters"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("letters = mine:Letters", "cannot be read"),
        ("[mcr_connect.encoders]\na = mine:X\na = mine:Y", "cannot be read"),
        ("[mcr_connect.encoder]\nletters = mine:Letters", "has a section"),
        ("[mcr_connect.encoders]\nletters = mine.py/Letters", "says letters = mine.py/Letters"),
        ("[mcr_connect.encoders]\nletters = mine:Nothing", "'letters' of plugins/ cannot be loaded"),
        ("[mcr_connect.encoders]\nletters = gone:Letters", "'letters' of plugins/ cannot be loaded"),
        ("[mcr_connect.encoders]\nletters = json:JSONDecoder", "another module has that name"),
        ("[mcr_connect.encoders]\ncompact = mine:Letters", "'compact' of plugins/ has the name of a built-in one"),
        ("", "no encoder family 'letters'"),
    ],
)
def test_a_mistake_in_the_folder_is_the_users(project: Path, table: str, message: str) -> None:
    put_into_folder()
    Path("plugins/entry_points.txt").write_text(f"{table}\n")
    name = "compact" if "compact" in table else "letters"
    with pytest.raises(UserError, match=message):
        load_space(SpaceSpec(name, "data/spaces/letters"))


def test_the_table_may_come_from_windows_and_is_never_overlooked(project: Path) -> None:
    put_into_folder()
    table = Path("plugins/entry_points.txt")
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert list(plugins(ENCODERS)) == ["letters"]
    table.unlink()
    assert not plugins(ENCODERS)
    table.mkdir()  # as good as a file that may not be read, which root may
    with pytest.raises(OSError, match="entry_points.txt"):
        plugins(ENCODERS)


def test_two_of_the_same_name_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_folder()
    monkeypatch.setattr(
        plugged, "installed", lambda group, path: [EntryPoint("letters", "letters.space:Letters", group)]
    )
    with pytest.raises(UserError, match="name of another one"):
        plugins(ENCODERS)


def test_dvc_runs_what_a_change_in_the_folder_changes(project: Path) -> None:
    """From a project without the folder, which `mcr inputs` makes: DVC refuses a dependency that is not there."""
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, name)
    for name in ("pipeline", "stages"):
        Path(name).symlink_to(ROOT / name)
    for name in ("data/annotations", "data/sweeps/tables"):
        Path(name).mkdir(parents=True)
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw |= {"seed": 0, "threads": 1, "limits": {"max_rejected": 0.0}, "report": {}}
    raw["spaces"]["letters"] = {"encoder": "compact", "checkpoint": "data/spaces/clip"}
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))

    def repro() -> str:
        command = [sys.executable, "-m", "dvc", "repro", "encode@letters"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    with Repo.init(".", no_scm=True):
        pass
    assert "Running stage 'encode@letters'" in (said := repro()) and "'plugins' is empty" not in said
    assert Path("plugins/README.md").read_text() == (ROOT / "plugins/README.md").read_text()
    put_into_folder()
    assert "Running stage 'encode@letters'" in repro()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise ZeroDivisionError('inner')", "failed (ZeroDivisionError: inner)"),
        ("import torch; torch.ones(2) @ torch.ones(3)", "failed (RuntimeError: "),
        ("sys.exit(0)", "failed (it ended the program)"),
        ("sys.exit('text')", "failed (it ended the program)"),
    ],
)
@pytest.mark.parametrize("group", ["methods", "sources"])
def test_what_the_code_of_a_plug_in_raises_is_its_own_fault(tmp_path, group, fault, said):
    """Where a command calls it, for a method; while a source is read, for a source."""
    make_project(tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/entry_points.txt").write_text(f"[mcr_connect.{group}]\nmine = mine:MINE\n")
    if group == "sources":
        raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
        raw["corpora"]["photos"] |= {"kind": "mine"}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        made = f"""
            import sys
            from pipeline.shard.sources.kind import SourceKind
            def read(*_):
                {fault}
                yield
            MINE = SourceKind(read)
        """
    else:
        made = f"""
            import sys
            from dataclasses import replace
            from pipeline.methods import CMCR
            def __getattr__(name):  # of the module: its settings
                {fault}
            MINE = replace(CMCR, name="mine", train_settings="mine:Settings")
        """
    (tmp_path / "plugins/mine.py").write_text(dedent(made))
    command = ["shard", "photos"] if group == "sources" else ["check"]
    done = subprocess.run(
        [sys.executable, "-m", "stages.cli", *command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and f"of plugins/ {said}" in done.stderr, done.stderr
