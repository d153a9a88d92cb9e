"""The extras in fresh environments: they resolve to the pinned versions, and the FAISS that is asked for is the one there."""

import json
import re
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.extras

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FAISS = {"cpu": "faiss-cpu", "gpu": "faiss-gpu"}
SEARCH = """
import faiss, numpy
index = faiss.IndexFlatIP(4)
index.add(numpy.eye(4, dtype="float32"))
scores, rows = index.search(numpy.eye(4, dtype="float32")[2:3], 1)
assert rows.tolist() == [[2]] and scores.tolist() == [[1.0]]
"""


def name_of(requirement: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", requirement).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {name_of(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def pip(folder: Path, *arguments: str) -> str:
    # -I: what lies in this folder, or on PYTHONPATH, is not installed there.
    command = [str(folder / "bin/python"), "-I", "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    venv.create(tmp_path / "fresh", with_pip=True)
    return tmp_path / "fresh"


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_resolves_to_the_pinned_versions(fresh: Path, tmp_path: Path, extra: str) -> None:
    """All of it, torch and CUDA's libraries included, is resolved; it is not installed, which would take 7 GB for each."""
    report = tmp_path / "report.json"
    pip(fresh, "install", "--quiet", "--dry-run", "--report", str(report), "-c", "constraints.txt", f".[{extra}]")
    found = {
        name_of(one["metadata"]["name"]): one["metadata"]["version"]
        for one in json.loads(report.read_text())["install"]
    }
    pinned, ours = pins(), "mcr-connect"
    assert not {name for name in found if name != ours and found[name].split("+")[0] != pinned.get(name)}, (
        "not as pinned"
    )
    assert {name for name in found if name.startswith("faiss")} == ({FAISS[extra]} if extra in FAISS else set())


@pytest.mark.parametrize("extra", FAISS)
def test_the_faiss_of_an_extra_is_whole_and_searches_on_a_cpu(fresh: Path, extra: str) -> None:
    """With what it needs, on a host that may have no GPU; `pip check` finds nothing missing."""
    pip(fresh, "install", "--quiet", "-c", "constraints.txt", FAISS[extra], "numpy")
    pip(fresh, "check")
    listed = {name_of(one["name"]) for one in json.loads(pip(fresh, "list", "--format", "json"))}
    assert {name for name in listed if name.startswith("faiss")} == {FAISS[extra]}
    subprocess.run([fresh / "bin/python", "-I", "-c", SEARCH], check=True)
