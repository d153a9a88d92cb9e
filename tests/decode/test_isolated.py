"""Crashes, hangs and hunger for memory in child processes: the argument that causes them is named, the others answered."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode.isolated import POSSIBLE, Isolated, Limits, answers, pool
from pipeline.decode.isolated.child import Child
from pipeline.errors import SampleError

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")


def null_pointer() -> None:
    ctypes.string_at(0)


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(1000)


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def swell() -> None:
    held = []
    while True:
        held.append(np.empty(1 << 21))  # never written to: address space is quick to take


CRASHES: dict[str, Callable[[], object]] = {
    "null pointer": null_pointer,
    "abort": os.abort,
    "bus error": lambda: os.kill(os.getpid(), signal.SIGBUS),
    "exit": lambda: os._exit(3),
}
HANGS: dict[str, Callable[[], object]] = {"spin": spin, "sleep": sleep, "deadlock": deadlock}
HUNGER: dict[str, Callable[[], object]] = {
    "at once": lambda: bytearray(1 << 45),
    "array": lambda: np.ones(1 << 31),
    "bit by bit": swell,
}
BAD = CRASHES | HANGS | HUNGER


def act(what: str) -> str:
    if what == "refused":
        raise SampleError("read", "no good")
    if what == "bug":
        raise KeyError("ours")
    if what in BAD:
        BAD[what]()
    return what.upper()


def quick() -> Isolated[str, str]:
    return Isolated(act, 1, Limits(1.0, 1 << 27))


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_only_the_argument_that_is_to_blame_is_lost(what, place):
    if place != 3 and what not in ("null pointer", "spin", "bit by bit"):
        pytest.skip("one place is enough")
    arguments = ["a", "b", "c", "d", "e", "f"]
    arguments.insert(place, what)
    with quick() as call:
        results = call(arguments)
        assert [r for r in results if isinstance(r, str)] == list("ABCDEF")
        failure = results[place]
        assert isinstance(failure, SampleError) and failure.step == "decode"
        word = "crashed|ended" if what in CRASHES else "busy after 1 s" if what in HANGS else "more than 128 MB"
        assert re.search(word, failure.message)
        assert call(["again"]) == ["AGAIN"]


def test_many_in_a_row_and_by_several_threads():
    arguments = ["x", "null pointer", "abort", "y", "spin", "at once", "z", "refused", "null pointer"]
    with Isolated(act, 3, Limits(1.0, 1 << 27)) as call:
        found: dict[int, list] = {}
        threads = [threading.Thread(target=lambda n=n: found.update({n: call(arguments)})) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for results in found.values():
        assert [str(r) if isinstance(r, str) else "" for r in results] == ["X", "", "", "Y", "", "", "Z", "", ""]
        assert results[7].message == "no good"


def test_a_bug_of_ours_is_no_reject():
    with quick() as call, pytest.raises(KeyError, match="ours"):
        call(["a", "bug", "b"])


def test_a_process_that_somebody_else_killed_costs_nothing():
    with Isolated(lambda seconds: time.sleep(seconds) or os.getpid(), 1, Limits(20)) as call:
        (pid,) = call([0])
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        results = call([0, 0.6, 0])
    assert all(isinstance(result, int) for result in results) and results[0] == pid != results[2]


STOPPED = """
import time
from pipeline.decode.isolated import Isolated, Limits
def slow(number):
    for _ in range(20):
        time.sleep(0.05)
    return number
with Isolated(slow, 1, Limits(2.0)) as call:
    call.start()
    print("begins", flush=True)
    print(call([7, 8]), flush=True)
"""


def test_time_in_which_all_were_stopped_does_not_count():
    """Ctrl-Z stops the whole group, as here."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "begins\n"
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == "[7, 8]\n"


def test_an_answer_in_the_last_moment_leaves_the_next_call_its_time(monkeypatch):
    def slow(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    kill = Child.kill

    def late(child: Child) -> None:
        time.sleep(0.5)  # in which the first call ends and the second one begins
        kill(child)

    with Isolated(slow, 1, Limits(1.0)) as call:
        call.start()
        monkeypatch.setattr(Child, "kill", late)
        assert call([1.2, 0.6]) == [1.2, 0.6]


def test_large_arrays_travel():
    with Isolated(lambda seed: np.random.default_rng(seed).random(500_000), 2) as call:
        for seed, array in enumerate(call(range(4))):
            np.testing.assert_array_equal(array, np.random.default_rng(seed).random(500_000))


ORPHANS = """
import os, sys, threading, time
from pipeline.decode.isolated import Isolated, Limits
def busy(what):
    os.write(1, b"%d " % os.getpid())
    while what != "idle":
        time.sleep(1000 if what == "asleep" else 0)
call = Isolated(busy, 2, Limits(seconds=float("inf")))
call.start()
for _ in range(2):
    threading.Thread(target=call, args=([sys.argv[1]],), daemon=True).start()
time.sleep(0.5)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("what", ["idle", "asleep", "at work"])
def test_processes_end_with_the_one_that_forked_them(what):
    root = Path(__file__).parents[2]
    # Whoever reads the output waits for all that may write to it.
    done = subprocess.run([sys.executable, "-c", ORPHANS, what], cwd=root, capture_output=True, text=True, timeout=20)
    assert done.returncode == -9 and done.stdout
    time.sleep(1.5)
    for pid in done.stdout.split():
        status = Path(f"/proc/{pid}/stat")
        # Who inherits orphans may be slow to bury them.
        assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def squares(number: int) -> np.ndarray | None:
    return np.full(number, number, np.int32) if number else None


def test_answers_of_every_size_come_back_and_are_ones_own(monkeypatch):
    # Some fit the shared memory, some do not, and there are more calls than its table has places for.
    monkeypatch.setattr(answers, "SIZE", 40_000)
    sizes = [3, 20_000, 0, 5, 1, *range(answers.CALLS)]
    with Isolated(squares) as isolated:
        first = isolated(sizes)
        again = isolated([7] * 50)
    for size, found in zip(sizes, first, strict=True):
        assert found is None if not size else (found == size).all() and len(found) == size
    first[0][:] = 1  # nobody else's
    assert all((found == 7).all() for found in again)


def test_what_was_answered_before_a_crash_counts():
    def crash_at_seven(number: int) -> np.ndarray:
        if number == 7:
            os.abort()
        return np.full(5, number)

    with Isolated(crash_at_seven) as isolated:
        found = isolated(range(12))
    assert [isinstance(each, SampleError) for each in found] == [number == 7 for number in range(12)]
    assert all((each == number).all() for number, each in enumerate(found) if number != 7)


def test_one_call_returns_or_raises(monkeypatch):
    for possible in (True, False):
        monkeypatch.setattr(pool, "POSSIBLE", possible)
        with Isolated(half) as isolated:
            isolated.start()
            assert isolated.one(4) == 2 and isolated([4, 3])[0] == 2
            assert isinstance(isolated([3])[0], SampleError)
            with pytest.raises(SampleError, match="odd"):
                isolated.one(3)


def half(number: int) -> int:
    if number % 2:
        raise SampleError("decode", "odd")
    return number // 2
