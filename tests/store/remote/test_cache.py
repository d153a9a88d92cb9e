"""The cache of remote parts: bounded, checked, and never taken away under a reader."""

import errno
import fcntl
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import CorruptError, TryAgainError, UserError
from pipeline.hashing import sha256_bytes
from pipeline.store.manifest import Part
from pipeline.store.remote import cache
from pipeline.store.remote.cache import cached, make_room
from pipeline.store.remote.objects import put
from tests.store.remote.places import Place, place

__all__ = ["place"]


@pytest.fixture(autouse=True)
def nothing_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "MOST_HELD", 2)
    cache._held.clear()


def part(place: Place, number: int, size: int = 1000) -> Part:
    content = bytes([number]) * size
    source = place.folder.parent / "source"
    source.write_bytes(content)
    return Part(
        f"{number:05d}.tar", 1, sha256_bytes(content), "", "", location=put(source, f"{place.address}/{number:05d}.tar")
    )


def held(tmp_path: Path) -> list[str]:
    return sorted(path.name[65:] for path in (tmp_path / "cache").glob("*"))


@pytest.fixture
def memory(tmp_path: Path) -> Place:
    return Place("memory", tmp_path, None)


def test_it_stays_within_its_bound_and_what_was_handed_out_is_readable(
    tmp_path: Path, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCR_CACHE_GB", "0.0000035")  # three parts and a half
    for number in range(8):
        assert cached(part(memory, number), "").read_bytes() == bytes([number]) * 1000
        assert len(held(tmp_path)) <= 3
    assert held(tmp_path) == ["00005.tar", "00006.tar", "00007.tar"]


def test_a_part_that_is_there_is_not_fetched_again_and_a_damaged_copy_is(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = part(memory, 1)
    path = cached(one, "")
    fetched: list[str] = []
    real = cache.fetch
    monkeypatch.setattr(cache, "fetch", lambda address, to: fetched.append(address) or real(address, to))
    assert cached(one, "") == path and not fetched
    path.write_bytes(b"x" * 1000)
    assert cached(one, "").read_bytes() == bytes([1]) * 1000 and len(fetched) == 1


@pytest.mark.parametrize("harm", ["gone", "other", "cut"])
def test_an_object_that_is_not_the_recorded_one_is_handed_to_nobody(tmp_path: Path, place: Place, harm: str) -> None:
    if place.kind == "file":
        pytest.skip("a local file is read where it lies, see test_elsewhere")
    one = part(place, 1)
    if harm == "gone":
        place.remove("00001.tar")
    else:
        place.write("00001.tar", b"x" * 1000 if harm == "other" else bytes([1]) * 400)
    with pytest.raises(CorruptError, match=rf"{place.address}/00001\.tar is (missing|damaged)") as caught:
        cached(one, "Do that.")
    assert caught.value.hint == "Do that." and not held(tmp_path)


def test_looking_anew_does_not_trust_a_copy(memory: Place) -> None:
    one = part(memory, 1)
    cached(one, "")
    memory.write("00001.tar", b"x" * 1000)
    with pytest.raises(CorruptError):
        cached(one, "", anew=True)


def test_two_processes_and_many_threads_share_it(
    tmp_path: Path, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCR_CACHE_GB", "0.000002")
    monkeypatch.setattr(cache, "MOST_HELD", 32)
    parts = [part(memory, number) for number in range(12)]
    wrong: list[object] = []

    def reads(order: list[Part]) -> None:
        for one in order:
            try:
                if cached(one, "").read_bytes() != bytes([int(one.name[:5])]) * 1000:
                    wrong.append(one.name)
            except Exception as error:
                wrong.append(error)

    others = [
        multiprocessing.get_context("fork").Process(target=lambda: (reads(parts[::-1] * 5), os._exit(len(wrong))))
        for _ in range(2)
    ]
    threads = [threading.Thread(target=reads, args=(parts[n:] + parts[:n],)) for n in range(4)]
    for each in (*others, *threads):
        each.start()
    for each in (*others, *threads):
        each.join()
    assert not wrong and [one.exitcode for one in others] == [0, 0]


def test_another_process_keeps_what_it_was_handed_until_it_ends(
    tmp_path: Path, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = part(memory, 1)
    child = os.fork()
    if child == 0:
        cached(one, "")
        time.sleep(60)
        os._exit(0)
    while held(tmp_path) != ["00001.tar"]:
        time.sleep(0.01)
    time.sleep(0.1)
    monkeypatch.setenv("MCR_CACHE_GB", "0.0000005")
    make_room(1000)
    assert held(tmp_path) == ["00001.tar"], "it was taken away under a reader"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    make_room(1000)
    assert held(tmp_path) == []


def test_the_end_of_a_forked_process_leaves_what_its_parent_was_handed(
    tmp_path: Path, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(part(memory, 1), "")
    child = os.fork()
    if child == 0:
        os._exit(len(cache._held))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "it holds nothing itself"
    monkeypatch.setenv("MCR_CACHE_GB", "0.0000005")
    make_room(1000)
    assert held(tmp_path) == ["00001.tar"]


def test_what_a_killed_download_left_goes(tmp_path: Path, memory: Place) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "00009.tar.0123abcd.tmp").write_bytes(b"half")
    cached(part(memory, 1), "")
    assert held(tmp_path) == ["00001.tar"]


def test_a_download_that_another_process_takes_for_a_killed_ones_begins_again(
    tmp_path: Path, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = cache._hold, []

    def late(path: Path) -> bool:
        if path.suffix == ".tmp" and len(removed) < 3:
            make_room(0)
            removed.append(not path.exists())
        return real(path)

    monkeypatch.setattr(cache, "_hold", late)
    assert cached(part(memory, 1), "").read_bytes() == bytes([1]) * 1000
    assert removed == [True] * 3 and held(tmp_path) == ["00001.tar"]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the cache fetched something from."""
    found: list[str] = []
    real = cache.fetch
    monkeypatch.setattr(cache, "fetch", lambda address, to: found.append(address) or real(address, to))
    return found


def test_a_copy_that_another_process_is_removing_is_fetched_anew(memory: Place, fetched: list[str]) -> None:
    one = part(memory, 1)
    path = cached(one, "")
    while cache._held:
        cache._let_go(cache._held.popitem()[1])
    with open(path, "rb") as removed:
        fcntl.flock(removed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert cached(one, "").read_bytes() == bytes([1]) * 1000 and len(fetched) == 2
        assert path.stat().st_ino != os.fstat(removed.fileno()).st_ino, "another file"


def test_where_there_are_no_locks_copies_are_used_and_none_is_removed(
    tmp_path: Path, memory: Place, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network drives."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(cache.fcntl, "flock", refused)
    monkeypatch.setenv("MCR_CACHE_GB", "0.000001")
    parts = [part(memory, number) for number in range(3)]
    for _ in range(2):
        assert [cached(one, "").read_bytes() for one in parts] == [bytes([number]) * 1000 for number in range(3)]
    assert len(fetched) == 3 and len(held(tmp_path)) == 3


def test_room_that_another_process_made_counts(tmp_path: Path, memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        cached(part(memory, number), "")
    assert len(held(tmp_path)) == 3
    real = cache._unheld

    def late(path: Path) -> bool:
        path.unlink()  # by the other process, after this one listed the folder
        return real(path)

    monkeypatch.setattr(cache, "_unheld", late)
    monkeypatch.setenv("MCR_CACHE_GB", "0.000003")
    make_room(1000)
    assert held(tmp_path) == ["00001.tar", "00002.tar"]


def test_a_part_on_another_disk_is_offered_to_the_cache_as_well(
    tmp_path: Path, memory: Place, fetched: list[str]
) -> None:
    other = Path("/dev/shm")  # in memory, and so another file system than that of the tests
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    one = part(memory, 1)
    with tempfile.TemporaryDirectory(dir=other) as folder:
        made = Path(folder, one.name)
        made.write_bytes(bytes([1]) * 1000)
        cache.offer(made, one)
    assert cached(one, "").read_bytes() == bytes([1]) * 1000 and not fetched
    assert held(tmp_path) == [one.name], "and nothing temporary"


def test_a_full_disk_is_said(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(address: str, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    one = part(memory, 1)
    monkeypatch.setattr(cache, "fetch", full)
    with pytest.raises(TryAgainError, match="no space is left"):
        cached(one, "")


def test_a_bound_that_is_no_number_is_refused(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCR_CACHE_GB", "a lot")
    with pytest.raises(UserError, match="MCR_CACHE_GB"):
        cached(part(memory, 1), "")
