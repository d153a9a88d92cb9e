"""`mcr train` by several ranks: one result, one lock, one voice; and a rank that dies ends all, with exit code 75."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline.files.sealed import read_sealed
from pipeline.store.lock import LOCK_NAME, FolderLock
from tests.makers.python_path import ROOT, python_path
from tests.train.ranks.run_ranks import SHIFTS

GOLDEN = ROOT / "tests" / "golden"
MODEL = Path("data/models/audio_image/clip-clap")
LONG = 60
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "stages.train", "audio_image")
MCR = (sys.executable, "-m", "stages.cli", "train", "audio_image")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with pairs and no model."""
    root = tmp_path_factory.mktemp("ranks") / "project"
    shutil.copytree(GOLDEN, root)
    shutil.rmtree(root / "data" / "models")
    shutil.rmtree(root / "data" / "pairs")
    write_params(root, ranks=1, epochs=4)
    ended = run(root, sys.executable, "-m", "stages.cli", "retrieve", "audio_image")
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def write_params(root: Path, ranks: int, epochs: int) -> None:
    params = yaml.safe_load((GOLDEN / "params.yaml").read_text())
    params["threads"], params["run"] = 1, {"device": "cpu", "ranks": ranks}
    params["connections"]["audio_image"]["train"]["epochs"] = epochs
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(root: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, timeout=300)


def files(root: Path) -> dict[str, bytes]:
    models = root / "data" / "models"
    return {str(path.relative_to(models)): path.read_bytes() for path in models.rglob("*") if path.is_file()}


def lines(error: str) -> list[str]:
    """What we said, without what torchrun says by itself."""
    return [line for line in error.splitlines() if line.startswith(("error:", "hint:", "Stopped"))]


def ranks_of(root: Path, process: "subprocess.Popen[str]") -> list[int]:
    """Process ids of the two ranks, in their order."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found: dict[int, int] = {}
    for each in children.read_text().split():
        said = dict(line.partition("=")[::2] for line in Path(f"/proc/{each}/environ").read_text().split("\0"))
        if "RANK" in said:
            found[int(said["RANK"])] = int(each)
    return [found[rank] for rank in sorted(found)]


def checkpointed(root: Path, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 200
    while not (root / MODEL / "checkpoint" / "state.json").is_file():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)


def test_a_rank_that_is_killed_ends_all_and_the_next_run_goes_on_with_any_number(project: Path) -> None:
    """With `run.ranks`, so that `mcr train` starts them itself: below DVC as anywhere."""
    write_params(project, ranks=2, epochs=LONG)
    # Coverage, where it is measured, would keep the other rank alive long enough for a traceback of gloo.
    plain = {name: value for name, value in environment().items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(MCR, cwd=project, env=plain, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    checkpointed(project, process)
    os.kill(ranks_of(project, process)[1], signal.SIGKILL)
    output, error = process.communicate(timeout=100)
    assert process.returncode == 75, error
    assert lines(error) == [
        "error: Rank 1 of 2 was ended by SIGKILL; the others have ended too.",
        "hint: Run the same command again: it continues at the last checkpoint.",
    ]
    assert "Traceback" not in error and not any(
        line.startswith("train audio_image: in") for line in output.splitlines()
    )
    assert read_sealed(project / MODEL / "checkpoint" / "state.json")["epoch"] >= 1
    # The rest with another number of ranks: it goes on, and nothing is stale.
    write_params(project, ranks=1, epochs=LONG)
    alone = run(project, *MCR)
    assert alone.returncode == 0 and f"{LONG} of {LONG} epochs" not in alone.stdout, alone.stderr
    assert not list((project / "data").rglob(LOCK_NAME))


@pytest.mark.slow
def test_torchrun_trains_what_one_process_trains_and_a_kill_leaves_no_trace(project: Path, tmp_path: Path) -> None:
    alone, whole, killed = (Path(shutil.copytree(project, tmp_path / name)) for name in ("alone", "whole", "killed"))
    assert run(alone, *MCR).returncode == 0
    ended = run(project, *TORCHRUN)
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"^train audio_image/clip-clap: in .* 4 of 4 epochs", ended.stdout, re.M)) == 1
    assert sorted(files(project)) == sorted(files(alone))
    one, two = (load_file(root / MODEL / "projector.safetensors") for root in (alone, project))
    for name, weights in one.items():
        if not SHIFTS.search(name):
            torch.testing.assert_close(two[name], weights, rtol=0, atol=1e-5, msg=name)
    # Nothing is stale with another number, whichever trained it.
    for root, ranks in ((alone, 2), (project, 1)):
        before = files(root)
        write_params(root, ranks=ranks, epochs=4)
        again = run(root, *MCR)
        assert "0 of 4 epochs computed" in again.stdout and files(root) == before
    for root in (whole, killed):
        write_params(root, ranks=1, epochs=LONG)
    assert run(whole, *TORCHRUN).returncode == 0
    process = subprocess.Popen(
        TORCHRUN, cwd=killed, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    checkpointed(killed, process)
    os.kill(ranks_of(killed, process)[0], signal.SIGKILL)  # the one that writes
    _, error = process.communicate(timeout=100)
    assert process.returncode != 0 and lines(error) == [
        "error: Another rank of this training has ended.",
        "hint: Run the same command again: it continues at the last checkpoint.",
    ]
    assert run(killed, *TORCHRUN).returncode == 0
    assert files(killed) == files(whole)


@pytest.mark.slow
@pytest.mark.parametrize("command", [MCR, TORCHRUN], ids=["run.ranks", "torchrun"])
def test_what_ends_a_training_is_said_once(project: Path, command: tuple[str, ...]) -> None:
    write_params(project, ranks=2, epochs=4)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["connections"]["audio_image"]["train"]["batch_size"] = 4000
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    few = run(project, *command)
    assert few.returncode == (2 if command == MCR else 1)  # torchrun has a code of its own
    assert len(lines(few.stderr)) == 2 and "less than one batch of 4000" in few.stderr
    write_params(project, ranks=2, epochs=4)
    folder = project / "data" / "models" / "audio_image"
    folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder):
        held = run(project, *command)
    assert held.returncode == (75 if command == MCR else 1)
    assert len(lines(held.stderr)) == 2 and f"is being written by process {os.getpid()}" in held.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_launcher_and_its_ranks(project: Path, number: int) -> None:
    write_params(project, ranks=2, epochs=LONG)
    process = subprocess.Popen(
        MCR, cwd=project, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    checkpointed(project, process)
    ranks = ranks_of(project, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 128 + number, error
    assert lines(error) == [f"Stopped by {signal.Signals(number).name}. Run the same command again to continue."]
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert not list((project / "data").rglob(LOCK_NAME)) and not list((project / "data").rglob("*.tmp*"))


@pytest.mark.slow
def test_ranks_do_not_outlive_a_launcher_that_is_killed(project: Path) -> None:
    write_params(project, ranks=2, epochs=100 * LONG)
    process = subprocess.Popen(
        MCR, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpointed(project, process)
    ranks = ranks_of(project, process)
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{rank}").exists() for rank in ranks) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
