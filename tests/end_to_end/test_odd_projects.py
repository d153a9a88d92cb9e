"""`mcr check` and `mcr doctor` green means that `dvc repro` finds what it needs, wherever it lies, and sees it change."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.errors import McrError
from stages.cli import app
from tests.conftest import png
from tests.makers.odd_projects import FOUND, ROOT, TOLD, Odd, make, served, tars, weights

QUICK = ("braces behind an address", "a manifest of files elsewhere", "a linked space")


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Odd]:
    with served(tmp_path / "disk") as address:
        project = make(tmp_path / "project", tmp_path / "disk", address)
        monkeypatch.chdir(project.root)
        yield project


def complaints() -> str:
    """What `mcr check` and `mcr doctor` say against the project in the current folder; nothing if both are content."""
    said = ""
    for command in ("check", "doctor"):
        done = CliRunner().invoke(app, [command])
        if done.exit_code:
            assert isinstance(done.exception, McrError), done.exception
            said += f"{done.stdout}\n{done.exception.message}\n{done.exception.hint}\n"
    return said


def repro(root: Path, *targets: str) -> list[str]:
    """Stages that `dvc repro` ran."""
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["dvc", "repro", *targets], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage '")]


def replace(file: Path) -> None:
    """Another content of the same kind."""
    if file.suffix == ".tar":
        tars(file.parent, 100)
        os.utime(file, (2e9, 2e9))  # HTTP tells whole seconds
    elif file.suffix == ".safetensors":
        content = bytearray(file.read_bytes())
        content[-2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(png(200))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in FOUND]
)
def test_what_check_and_doctor_accept_is_found_and_a_change_is_seen(odd: Odd, kind: str) -> None:
    file = FOUND[kind](odd)
    odd.write()
    assert complaints() == ""
    space = file is not None and file.suffix == ".safetensors"
    target = "encode@clip" if space or kind not in QUICK else "shard@c"
    assert set(repro(odd.root, target)) >= {"inputs", target}
    if kind not in QUICK:
        assert repro(odd.root, target) == ["inputs"], "the second time nothing but the look"
    assert file is not None
    replace(file)
    ran = repro(odd.root, target)
    assert (any(name.startswith("shard@") for name in ran), "encode@clip" in ran) == (
        not space,
        target == "encode@clip",
    )


@pytest.mark.parametrize("kind", TOLD)
def test_what_dvc_repro_would_not_find_is_told_before(odd: Odd, kind: str) -> None:
    change, message = TOLD[kind]
    change(odd)
    odd.write()
    assert message in complaints()


def test_results_below_a_link_are_refused_before_any_work(odd: Odd) -> None:
    odd.write()
    odd.move("data/shards")
    with pytest.raises(AssertionError, match="is a link to"):
        repro(odd.root)
    assert not any((odd.disk / "data-shards").iterdir())


def test_raw_data_that_are_gone_leave_what_was_made_from_them(odd: Odd) -> None:
    odd.write()
    for command in (["inputs"], ["shard", "c"]):
        assert CliRunner().invoke(app, command).exit_code == 0
    before = Path("data/inputs/corpora/c.json").read_bytes()
    Path("data/raw/c").rename("data/raw/away")
    done = CliRunner().invoke(app, ["inputs"])
    assert done.exit_code == 0 and "data/shards/c, made from it before, stays in use" in done.stdout
    assert Path("data/inputs/corpora/c.json").read_bytes() == before
    weights(odd.disk / "spare")  # a space that was never encoded has nothing that could stay
    Path("data/spaces/clip").rename("data/spaces/away")
    done = CliRunner().invoke(app, ["inputs"])
    assert isinstance(done.exception, McrError) and "data/spaces/clip" in done.exception.message


@pytest.mark.parametrize("section", ["corpora", "spaces", "connections"])
def test_dvc_repro_runs_no_name(odd: Odd, section: str) -> None:
    """Names are checked before any command is given one, also where nobody ran `mcr check`."""
    odd.params["encode"] = {}
    odd.params["connections"] = {"a": {"method": "cmcr", "join": {}, "retrieve": {}, "train": {}}}
    table = odd.params[section]
    table["x'; touch FILE; echo '"] = next(iter(table.values()))
    odd.write()
    for name in ("embeddings", "shards", "pairs"):
        (odd.root / "data" / name).mkdir(exist_ok=True)
    with pytest.raises(AssertionError, match="is not a name"):
        repro(odd.root)
    assert not (odd.root / "FILE").exists()
