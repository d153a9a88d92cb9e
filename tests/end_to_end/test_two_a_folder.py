"""Real stages whose folders take two parts each; see `tests.end_to_end.two_a_folder`. Run by `make test-slow`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = os.environ.get("MCR_KILLS", "3")  # and as many power cuts, of each of five stages


@pytest.mark.slow
def test_stages_make_the_same_bytes_whatever_a_folder_takes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.end_to_end.two_a_folder", str(tmp_path), KILLS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 25 + 10 * int(KILLS)
    assert not [check for check in found if check["problems"]]
