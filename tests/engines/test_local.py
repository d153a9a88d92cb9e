"""Worker processes on this machine: the same bytes as without them, whatever becomes of the processes."""

import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engines.local import LocalCrew
from pipeline.engines.pool import Pool
from pipeline.engines.supervised import Limits
from pipeline.errors import McrError, UserError
from pipeline.progress import Silent
from pipeline.store import Manifest, PartFolder, Work, run_parts
from pipeline.store.parts import names
from pipeline.store.parts.run import ALONE, Engine, one_by_one
from tests.engines.works import Divisible, two_ahead, works

Bytes = dict[str, bytes]


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = make_pool()
    yield found
    found.close()


def make_pool(processes: int = 2, seconds: float = 60, memory: int = 0) -> Pool:
    return Pool(LocalCrew([{}] * processes, bool, Limits(seconds, memory)))


def build(folder: Path, todo: list[Work], engine: Engine, making=one_by_one, rejects: float = 0.0) -> Manifest:
    with PartFolder(folder / "parts", "shards", {"code": 1}) as parts:
        run_parts(parts, todo, "test", "samples", Silent(), engine, making)
        return parts.finish(rejects)


def content(folder: Path) -> Bytes:
    return {path.name: path.read_bytes() for path in sorted((folder / "parts").rglob("*")) if path.is_file()}


@pytest.mark.parametrize("making", [one_by_one, two_ahead])
def test_processes_make_the_bytes_that_this_process_makes(tmp_path, pool, making):
    build(tmp_path / "here", works(9), ALONE.engine, making)
    build(tmp_path / "there", works(9), pool, making)
    assert content(tmp_path / "here") == content(tmp_path / "there")
    # The same processes go on with the next folder.
    before = [worker.hand.pid for worker in pool._workers]
    build(tmp_path / "next", works(3), pool, making)
    assert [worker.hand.pid for worker in pool._workers] == before


def test_no_process_is_started_for_nothing(tmp_path, pool):
    build(tmp_path, works(3), ALONE.engine)
    build(tmp_path, works(3), pool)
    assert not pool._workers
    build(tmp_path, works(4), pool)
    assert len(pool._workers) == 1


# A limit of time that a busy machine does not reach for other reasons makes a test of minutes.
@pytest.mark.parametrize(
    ("sick", "seconds"),
    [
        ({"p0s1": "crash", "p2s4": "exit", "p3s2": "hog"}, 120),
        pytest.param({"p1s3": "hang", "p2s0": "hang"}, 15, marks=pytest.mark.slow),
    ],
)
def test_sick_samples_are_reported_by_key_and_passed_over(tmp_path, caplog, sick, seconds):
    pool = make_pool(seconds=seconds, memory=200 << 20)
    try:
        with caplog.at_level(logging.WARNING):
            made = build(tmp_path, works(5, kind=Divisible, **sick), pool, two_ahead, 0.5)
    finally:
        pool.close()
    reasons = {failure.key: failure.message for part in made.parts for failure in part.rejected}
    said = {"crash": "SIGSEGV", "exit": "exit code 3", "hog": "more than 200 MB", "hang": "no progress for 15 s"}
    assert set(reasons) == {f"{key} {word}" for key, word in sick.items()}
    assert all(said[key.split()[1]] in reason for key, reason in reasons.items())
    assert all(f"The sample {key} is skipped" in caplog.text for key in reasons)
    assert made.rows == 25 - len(sick)
    held = {
        line
        for name, lines in content(tmp_path).items()
        if name.endswith(".tar")
        for line in lines.decode().split("\n")
    }
    assert held == {f"p{part}s{n} fine" for part in range(5) for n in range(5) if f"p{part}s{n}" not in sick}


def test_a_part_that_always_ends_its_process_stops_the_run_and_the_others_are_kept(tmp_path):
    pool = make_pool()
    try:
        with pytest.raises(McrError, match=r"00003\.tar ended 4 times.*SIGSEGV"):
            build(tmp_path, works(8, p3s0="crash"), pool)
    finally:
        pool.close()
    made = build(tmp_path, works(8), ALONE.engine)
    assert len(made.parts) == 8 and not list(tmp_path.rglob("*.tmp"))


def test_an_error_is_raised_as_it_is_without_processes(tmp_path, pool):
    with pytest.raises(UserError, match=r"p1s2 mistake is a mistake\.") as caught:
        build(tmp_path, works(3, p1s2="mistake"), pool)
    assert caught.value.hint == "Correct it."
    assert not list(tmp_path.rglob("*.tmp"))
    build(tmp_path, works(3), pool)


def test_processes_that_cannot_even_begin_stop_the_run(tmp_path):
    pool = Pool(LocalCrew([{}], os.abort, Limits(60)))
    with pytest.raises(McrError, match="before they make any part"):
        build(tmp_path, works(3), pool)
    pool.close()


class Killing:
    """Ends a process without a word whenever so many more parts are there."""

    def __init__(self, pool: Pool, every: int) -> None:
        self.pool, self.every, self.kills = pool, every, 0

    def make(self, *arguments: object) -> Iterator[object]:
        for number, record in enumerate(self.pool.make(*arguments), 1):
            yield record
            if number % self.every == 0:
                os.kill(random.Random(number).choice(self.pool._workers).hand.pid, signal.SIGKILL)
                self.kills += 1


def test_killed_processes_cost_time_and_nothing_else(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(names, "PER_FOLDER", 4)  # of the drivers; where a part goes is nothing that workers decide
    build(tmp_path / "here", works(16), ALONE.engine)
    engine = Killing(pool, 4)
    build(tmp_path / "there", works(16, seconds=0.01), engine, two_ahead)
    assert engine.kills == 4
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert not list(tmp_path.rglob("*.tmp"))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("there/parts/*/*")) == [
        f"there/parts/{number // 4 * 4:05d}/{number:05d}.tar" for number in range(4, 16)
    ]


def test_processes_end_with_their_driver(tmp_path):
    child = os.fork()
    if not child:
        pool = make_pool(1)
        for _ in pool.make(tmp_path, works(2, seconds=3), one_by_one, Silent()):
            pass
        os._exit(0)
    time.sleep(0.5)
    (worker,) = (int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == child)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(50):
        if not Path(f"/proc/{worker}").exists() or _state(worker) == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it lives on")


def _fields(pid: object) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["", "0"]


def _parent(pid: object) -> int:
    return int(_fields(pid)[1])


def _state(pid: object) -> str:
    return _fields(pid)[0]
