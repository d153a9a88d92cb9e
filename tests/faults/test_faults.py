"""Each row of the fault loops turns red under the mistake that it names; without one it is green."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.__main__ import ROWS
from tests.faults.table import RESULTS, table

ROOT = Path(__file__).parents[2]


def faults(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.faults", "quick", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_a_row_turns_red_under_its_mistake(row):
    done = faults("--row", row, "--broken", "--until-red", "--lanes", "2")
    assert done.returncode == 1 and " trials in " in done.stdout, done.stdout + done.stderr


def test_the_quickest_row_is_green():
    done = faults("--row", "injection", "--lanes", "1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_in_the_docs_is_printed_from_the_counts():
    assert table(json.loads(RESULTS.read_text())) in (ROOT / "docs/promises.md").read_text()
