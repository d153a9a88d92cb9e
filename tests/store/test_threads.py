"""Parts that are read in threads: the same rows in the same order, the same errors, no more memory."""

import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import CorruptError, UserError
from pipeline.store import Rows, read_embeddings
from pipeline.store import threads as reading
from pipeline.store.threads import map_ahead, readers
from tests.store.test_store import make_store, rows


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """As many readers, however small the parts and however few the cores."""
    monkeypatch.setattr("pipeline.store.reader.readers", lambda size, held=0: request.param)
    return request.param


def test_results_come_in_order_however_long_each_takes():
    third = threading.Event()

    def read(number):
        if number == 2:
            third.set()
        assert number or third.wait(30), "nothing is read ahead"
        return number * number

    assert list(map_ahead(read, range(20), 3)) == [number * number for number in range(20)]


def test_with_one_thread_nothing_is_read_before_it_is_asked_for():
    begun = []
    results = map_ahead(lambda number: begun.append(number) or number, range(5), 1)
    assert begun == [] and next(results) == 0 and begun == [0]


def test_the_first_failure_is_raised_and_nothing_begins_long_after_it():
    begun = []

    def read(number):
        begun.append(number)
        if number in (4, 5):
            raise ValueError(number)
        return number

    found = []
    with pytest.raises(ValueError, match="4"):
        found.extend(map_ahead(read, range(1000), 2))
    assert found == [0, 1, 2, 3] and max(begun) <= 4 + 1


def test_whoever_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    results = map_ahead(lambda number: number, range(1000), 4)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_as_many_readers_as_are_of_use(monkeypatch):
    monkeypatch.setattr(reading, "available_cores", lambda: 4)
    assert [readers(size) for size in (0, 1000, 1 << 20, 1 << 40)] == [1, 1, 4, 4]
    assert [readers(size, 2 * size) for size in (1 << 20, 1 << 25, 1 << 30)] == [4, 2, 1]
    monkeypatch.setattr(reading, "available_cores", lambda: 128)
    assert readers(1 << 21) == reading.MOST_THREADS


def test_all_parts_in_their_order(tmp_path, threads):
    parts = [
        rows(count, seed, prefix) for count, seed, prefix in ((5, 0, "b"), (1, 1, "a"), (0, 2, "x"), (700, 3, "c"))
    ]
    store = make_store(tmp_path, parts)
    found = store.read()
    assert found.keys == [key for part in parts for key in part.keys]
    for table in ("vectors", "numbers"):
        assert getattr(found, table).keys() == getattr(parts[0], table).keys()
        for name, values in getattr(found, table).items():
            assert np.array_equal(values, np.concatenate([getattr(part, table)[name] for part in parts]))
    assert [part.keys for _, part in store.parts()] == [part.keys for part in parts]
    assert list(store.read(columns=[]).vectors) == []


def test_stores_are_read_to_one_array(tmp_path, threads):
    first, second, third = rows(5, 0, "b"), rows(9, 1, "a"), rows(4, 2, "c")
    folders = [tmp_path / "one", tmp_path / "two"]
    make_store(folders[0], [first, second])
    make_store(folders[1], [third])
    keys, embeddings = read_embeddings(folders)
    assert keys == first.keys + second.keys + third.keys
    assert np.array_equal(embeddings, np.concatenate([part.vectors["embedding"] for part in (first, second, third)]))
    make_store(tmp_path / "three", [rows(3, 5, "a")])
    with pytest.raises(UserError, match="share keys"):
        read_embeddings([*folders, tmp_path / "three"])
    make_store(tmp_path / "four", [rows(3, 5, "d"), rows(3, 6, "d")])
    with pytest.raises(CorruptError, match="four holds a key twice"):
        read_embeddings([*folders, tmp_path / "four"])


def test_of_several_damaged_parts_the_first_is_named(tmp_path, threads):
    store = make_store(tmp_path, [rows(50, number, f"p{number}") for number in range(6)])
    for number in (2, 3):
        path = tmp_path / f"part-{number}.parquet"
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptError, match="part-2"):
        store.read()
    found = store.parts()
    assert [next(found)[1].keys[0] for _ in range(2)] == ["p00", "p10"]
    with pytest.raises(CorruptError, match="part-2"):
        next(found)


def test_a_part_of_another_width_is_named(tmp_path, threads):
    narrow, wide = rows(4, 0, "a"), rows(4, 1, "b")
    narrow.vectors["embedding"] = narrow.vectors["embedding"][:, :1] ** 0  # would spread over any width
    store = make_store(tmp_path, [wide, narrow], {})
    with pytest.raises(CorruptError, match=r"part-1.parquet holds embedding of width 1, other parts of 12\."):
        store.read()


def test_a_part_that_lacks_a_column_is_damaged(tmp_path, threads):
    parts = [rows(4, number, f"p{number}") for number in range(2)]
    parts[1] = Rows(parts[1].keys, {"other": parts[1].vectors["embedding"]}, parts[1].numbers)
    with pytest.raises(CorruptError, match="part-1.*no column embedding"):
        make_store(tmp_path, parts).read()


def test_halves_are_converted_by_the_thread_that_reads_them(tmp_path):
    script = """
import sys, threading, numpy as np
from pathlib import Path
from pipeline.store.parquet import Rows, read_rows, write_rows
vectors = np.random.default_rng(0).standard_normal((5000, 512)).astype(np.float16)
write_rows(Path(sys.argv[1]), Rows([str(row) for row in range(5000)], {"embedding": vectors}, {}), {})
import torch
torch.set_num_threads(4)
def threads(): return len(list(Path("/proc/self/task").iterdir()))
before, found = threads(), []
reader = threading.Thread(target=lambda: found.append((read_rows(Path(sys.argv[1])), threads())))
reader.start(); reader.join()
[(rows, during)] = found
assert np.array_equal(rows.vectors["embedding"], vectors.astype(np.float32))
print(during - before)
"""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("only Linux tells the threads of a process")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 1


def test_a_store_is_held_once_while_it_is_read(tmp_path, threads):
    vectors = np.full((2000, 512), 512**-0.5, np.float32)
    parts = [Rows([f"{number}-{row}" for row in range(2000)], {"embedding": vectors}, {}) for number in range(8)]
    store = make_store(tmp_path, parts)
    store.read()
    tracemalloc.start()
    found = store.read()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = found.vectors["embedding"].nbytes
    assert most < 1.25 * size, f"{most / size:.2f} times the vectors"
