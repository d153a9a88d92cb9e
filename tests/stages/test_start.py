"""How a command starts: without libraries that it does not need, with threads that leave a busy machine its cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stages.tools.tools_project import make_project

ROOT = Path(__file__).parents[2]
ASKED = """
import sys
import stages.cli as cli
cli.end_at_once = lambda status: print("torch" in sys.modules, status, file=sys.stderr)
cli.main()
"""


@pytest.mark.parametrize(("command", "status"), {"check": 0, "shard photos": 0, "metrics": 2}.items())
def test_a_command_that_computes_no_vector_does_not_load_torch(command: str, status: int, tmp_path: Path) -> None:
    """Loading it takes longer than their work. Nothing was measured, so `mcr metrics` has nothing to show."""
    with (make_project(tmp_path) / "params.yaml").open("a") as params:
        params.write("limits: {}\nreport: {}\nseed: 0\nthreads: 1\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = [sys.executable, "-c", ASKED, *command.split()]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines()[-1] == f"False {status}", done.stderr


@pytest.mark.parametrize(
    ("users", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")]
)
def test_threads_of_a_stage_do_not_spin_long_unless_the_user_says_how_long(
    users: dict[str, str], expected: str, tmp_path: Path
) -> None:
    """As libgomp itself says it when torch loads it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "VERBOSE", **users}
    command = [sys.executable, "-m", "stages.cli", "train", "nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch has another OpenMP than libgomp")
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr, done.stderr
