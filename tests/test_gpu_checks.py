"""The runner of the GPU checks: what a step that fails, hangs or writes too much does to the rest. `.ci/run` rehearses the steps."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import pytest_step, run
from benchmarks.gpu.run import Task

GIVEN = argparse.Namespace(device="cpu", small=False)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose steps are the files that a test writes."""
    folder = tmp_path / "benchmarks" / "gpu"
    folder.mkdir(parents=True)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "SITE", tmp_path / ".gpu")
    run.SITE.mkdir()
    return folder


ROW = """
import sys, time, json
rows = sys.argv[sys.argv.index("--rows") + 1]
open(rows, "a").write(json.dumps({"check": "one", "figure": "1", "limit": "", "verdict": "ok"}) + "\\n")
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [("raise ValueError('of the card')", "ValueError: of the card"), ("time.sleep(60)", "stopped after 6 s"),
     ("sys.exit(3)", "ended with 3"), ("import os; os.abort()", "ended with -6")],
)  # fmt: skip
def test_a_step_that_does_not_end_well_is_red_and_keeps_what_it_had(steps: Path, code: str, says: str) -> None:
    (steps / "bad.py").write_text(ROW + code)
    started = time.monotonic()
    found = run.run(Task("bad", "bad", 6), GIVEN, started + 100)
    assert [row["verdict"] for row in found] == ["ok", "RED"] and says in found[1]["figure"]
    assert time.monotonic() - started < 20


def test_a_step_for_which_no_time_is_left_is_skipped(steps: Path) -> None:
    (found,) = run.run(Task("late", "late", 60), GIVEN, time.monotonic() + 2)
    assert found["verdict"] == "skipped"


def test_the_commit_that_is_given_goes_before_what_git_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMMIT", raising=False)
    assert len(run.commit()) == 40
    monkeypatch.setenv("COMMIT", "of-the-copy")
    assert run.commit() == "of-the-copy"
    monkeypatch.delenv("COMMIT")
    monkeypatch.setenv("PATH", "")
    assert run.commit() == "unknown"


def test_missing_wheels_are_a_row_that_says_what_to_run(steps: Path) -> None:
    (row,) = run.install()
    assert row["verdict"] == "RED" and "make gpu-wheels" in row["figure"]


def test_the_table_has_at_most_60_lines_and_red_rows_are_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    rows = [{"check": f"c{number}", "figure": "1", "limit": "", "verdict": "ok"} for number in range(90)]
    rows[80]["verdict"] = "RED"
    about = {"card": "NVIDIA H100 80GB HBM3", "versions": {}, "seconds": 1, "commit": "x", "small": False}
    path = run.write(about, rows)
    assert path == tmp_path / "out" / "h100-80gb-hbm3.json"
    assert len(json.loads(path.read_text())["rows"]) == 90
    run.show(about, rows, path)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) <= run.LINES and any(line.startswith("c80 ") for line in lines)
    assert "1 RED" in lines[-1] and "34 more" in lines[-1]


def test_steps_that_were_not_run_stay_in_the_table_with_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(step: str, figure: str) -> dict[str, str]:
        return {"check": f"{step} check", "figure": figure, "limit": "", "verdict": "ok", "step": step}

    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "TASKS", tuple(Task(name, name, 9) for name in ("first", "second", "third")))
    monkeypatch.delenv("OUT", raising=False)
    about = {"card": "NVIDIA H100 80GB HBM3", "versions": {}, "seconds": 1, "commit": "old", "small": False}
    run.write(about, [row("first", "1"), row("second", "2"), row("third", "3"), row("third", "4")])
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    late = row("second", run.LATE) | {"verdict": "skipped"}
    path = run.write(about | {"commit": "new"}, [row("third", "5"), late], merge=True)
    assert path.parent == tmp_path / "out"
    found = [(each["figure"], each["commit"]) for each in json.loads(path.read_text())["rows"]]
    assert found == [("1", "old"), ("2", "old"), ("5", "new")]
    whole = run.write(about | {"commit": "new"}, [row("third", "5")])
    assert len(json.loads(whole.read_text())["rows"]) == 1


def test_each_failure_is_shown_with_what_was_raised(tmp_path: Path) -> None:
    raising = "def test_one():\n    assert 1 == 2, 'of one'\ndef test_two():\n    raise ValueError('of two')\n"
    (tmp_path / "test_bad.py").write_text(raising + "def test_good():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "test_bad.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    one, two = pytest_step.failures(said)
    assert "test_one" in one and "of one" in one and "of two" not in one
    assert "test_two" in two and "ValueError: of two" in two
