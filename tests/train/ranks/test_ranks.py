"""N ranks train what one trains: losses, weights, what projectors make; and what they say when they cannot.

In float64 everything agrees to 1e-6 after fifty steps. In float32 sums in another order differ in their last bits, and Adam makes
whole steps of what is nothing but rounding: the gradient of a bias that the BatchNorm behind it takes away again. There all else is
compared: losses, the other weights, and what the projectors make.
"""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.makers.python_path import ROOT, python_path

SCRIPT = "tests.train.ranks.run_ranks"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def run_ranks(size: int) -> dict[str, Any]:
    shared = {
        **os.environ,
        "PYTHONPATH": python_path(),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", SCRIPT],
            cwd=ROOT, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]  # fmt: skip
    ended = [process.communicate(timeout=300) for process in started]
    codes = [process.returncode for process in started]
    assert codes == [0] * (size - 1) + [9], "\n".join(error for _, error in ended)
    first, second = ended[0][0].splitlines()
    return {"ranks": json.loads(first), "lost": json.loads(second)["lost"]}


@pytest.fixture(scope="session")
def two() -> dict[str, Any]:
    return run_ranks(2)


def check(found: dict[str, Any]) -> None:
    cases = found["ranks"][0]["cases"]
    assert len(cases) == 15
    for name, case in cases.items():
        assert case["moved"] > 1e-3, name
        if "50" in name:
            assert case["steps"] >= 50
        if "bf16" in name:
            assert case["losses"] < 2e-2 and case["outputs"] < 5e-2, (name, case)
        elif "fp32" in name:
            assert case["losses"] < 2e-6 and case["but shifts"] < 2e-6 and case["outputs"] < 1e-5, (name, case)
        else:
            assert case["losses"] < 1e-9 and case["weights"] < 1e-6 and case["outputs"] < 1e-6, (name, case)


def test_two_ranks_train_what_one_trains(two: dict[str, Any]) -> None:
    check(two)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3])
def test_more_ranks_do_too_though_a_batch_of_two_leaves_some_without_a_row(size: int) -> None:
    found = run_ranks(size)
    check(found)
    assert all(rank["gathered"] == [0, 1, 2, 3, 4] for rank in found["ranks"])


def test_ranks_exchange_what_they_say(two: dict[str, Any]) -> None:
    for rank in two["ranks"]:
        assert rank["gathered"] == [0, 1, 2, 3, 4] and rank["told"] == 7 and rank["same settings"] == ""


def test_ranks_that_do_not_do_the_same_are_told(two: dict[str, Any]) -> None:
    for rank in two["ranks"]:
        assert rank["other settings"].startswith("UserError 2: Rank 1 would train something other than rank 0")
        assert "link.train.epochs: 5 -> 6" in rank["other settings"]
        assert rank["other numbers"] == "McrError 1: Rank 1 and rank 0 have different numbers in clip.bias."


def test_a_rank_that_dies_is_noticed_by_the_others(two: dict[str, Any]) -> None:
    assert two["lost"] == "RankLostError 75: Another rank of this training has ended."
