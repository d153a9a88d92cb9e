"""One driver per output: the next one learns who holds it; what is left of a dead one is taken over."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.store.lock import LOCK_NAME, FolderLock, HeldError, Holder, break_lock, locked

# For each folder that it reads it tries to be the driver, says how that went, and goes on at the next line.
DRIVER = """
import sys
from pathlib import Path
from pipeline.errors import McrError
from pipeline.store.lock import locked
print("ready", flush=True)
for line in sys.stdin:
    try:
        with locked(Path(line.strip())):
            print("works", flush=True)
            sys.stdin.readline()
    except McrError as error:
        print(error.exit_code, error.message, flush=True)
"""


class Driver:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, line: object = "") -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@pytest.fixture
def two():
    drivers = (Driver(), Driver())
    assert [driver.said() for driver in drivers] == ["ready"] * 2
    yield drivers
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


def test_of_twenty_racing_pairs_one_works_and_the_other_names_the_holder(tmp_path, two):
    """Every second time with a lock that a kill left, of which both see that its holder is dead."""
    killed = replace(Holder.here(), started="1")
    for number in range(20):
        folder = tmp_path / str(number)
        if number % 2:
            folder.mkdir()
            (folder / LOCK_NAME).write_text(json.dumps(asdict(killed)))
        for driver in two[:: 1 if number % 4 < 2 else -1]:
            driver.send(folder)
        said = [driver.said() for driver in two]
        assert sorted(line[:2] for line in said) == ["75", "wo"], said
        winner = said.index("works")
        assert f"{folder} is being written by process {two[winner].process.pid} on " in said[1 - winner]
        two[winner].send()
        two[1 - winner].send(tmp_path / "other")
        assert two[1 - winner].said() == "works"
        two[1 - winner].send()
        two[winner].send(folder)
        assert two[winner].said() == "works", "it is free again"
        two[winner].send()


def test_threads_of_one_process_are_kept_apart_too(tmp_path):
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def attempt() -> None:
        together.wait()
        try:
            FolderLock(tmp_path)
            outcomes.append("works")
        except HeldError:
            outcomes.append("held")

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] * 7 + ["works"]


def test_a_killed_holder_is_followed_and_its_half_written_files_go(tmp_path, two):
    two[0].send(tmp_path)
    assert two[0].said() == "works"
    (tmp_path / "below").mkdir()
    for name in ("model.bin.0123abcd.tmp", "below/state.json.89abcdef.tmp", "notes.tmp"):
        (tmp_path / name).write_text("half")
    with pytest.raises(HeldError):
        FolderLock(tmp_path)
    two[0].process.kill()  # and not waited for: a zombie holds nothing
    os.waitid(os.P_PID, two[0].process.pid, os.WEXITED | os.WNOWAIT)
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [LOCK_NAME, "notes.tmp"]


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({}, False),
        ({"pid": 2**22 + 1, "started": "5"}, True),
        ({"started": "1"}, True),  # The number was used again by another process.
        ({"boot": "another"}, True),  # The machine has booted since.
        ({"host": "elsewhere"}, False),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),
        ({"machine": "clone"}, False),
        ({"namespace": "pid:[1]", "pid": 2**22 + 1}, False),  # A container that counts its own processes.
        ({"pid": 2**22 + 1, "started": ""}, True),
        ({"pid": 1, "started": ""}, False),
    ],
)
def test_proof_of_death(change, dead):
    assert replace(Holder.here(), **change).dead() is dead


def test_a_lock_that_says_nothing_is_broken_on_demand_only(tmp_path):
    (tmp_path / LOCK_NAME).write_text("")
    with pytest.raises(HeldError, match="does not say who") as error:
        FolderLock(tmp_path)
    assert "--break-lock" in error.value.hint
    assert break_lock(tmp_path) is None
    FolderLock(tmp_path).release()


def test_a_broken_lock_stops_the_one_who_held_it(tmp_path):
    first = FolderLock(tmp_path)
    assert break_lock(tmp_path) == Holder.here()
    (tmp_path / LOCK_NAME).write_text(json.dumps(asdict(replace(Holder.here(), host="elsewhere"))))
    with pytest.raises(HeldError, match="taken over by another run"):
        first.check()
    first.release()
    assert (tmp_path / LOCK_NAME).exists(), "that of the other one"


def test_where_there_are_no_links(tmp_path, monkeypatch):
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    lock = FolderLock(tmp_path)
    with pytest.raises(HeldError, match="is being written by process"):
        FolderLock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "dead"), [(ProcessLookupError, True), (PermissionError, False), (None, False)])
def test_processes_of_systems_without_proc_are_asked_for_with_a_signal(monkeypatch, error, dead):
    """Where nothing says when a process began (macOS), only one that is not there at all is dead."""
    living = replace(Holder.here(), started="")

    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (living.pid, 0), "a signal that does nothing"
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert living.dead() is dead


def test_a_system_that_tells_no_namespace(monkeypatch):
    def unknown(path: str) -> str:
        raise OSError(path)

    monkeypatch.setattr(os, "readlink", unknown)
    assert Holder.here().namespace == "" and not Holder.here().dead()


def test_released_after_somebody_broke_it_the_other_ones_stays(tmp_path):
    lock = FolderLock(tmp_path)
    (tmp_path / LOCK_NAME).write_text("another one's")
    lock.release()
    assert (tmp_path / LOCK_NAME).read_text() == "another one's"
    (tmp_path / LOCK_NAME).unlink()
    lock.release()


@pytest.mark.parametrize("removed", ["a/b", "a"])
def test_a_folder_that_another_run_removes_in_the_moment_in_which_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    """A slice starts while another one ends that had nothing to do, or while the run after all of them adopts."""
    mkdir, left = os.mkdir, [1]

    def made(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        if Path(path) == tmp_path / removed and left[0]:
            left[0] = 0
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", made)
    with FolderLock(tmp_path / "a/b"):
        assert (tmp_path / "a/b" / LOCK_NAME).is_file() and not left[0]


def test_a_folder_that_is_removed_each_time_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir, made = os.mkdir, []

    def vanishing(path: str, mode: int = 0o777) -> None:
        made.append(path)
        mkdir(path, mode)
        os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", vanishing)
    with pytest.raises(FileNotFoundError), FolderLock(tmp_path / "a"):
        pass
    assert 1 < len(made) < 100
