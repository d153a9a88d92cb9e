"""The catalogue of a corpus: what is in memory does not grow with it, and the work no faster than it."""

import pickle
import sqlite3
import tracemalloc

import pytest

from benchmarks.scale.many_samples import samples
from pipeline.errors import TryAgainError
from pipeline.shard.catalogue import BATCH, Catalogue
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawMember, RawSample
from pipeline.store.scratch import scratch_database


class Places:
    """A container whose places are what a plug-in may think of."""

    def read(self, place: object, limit: int) -> bytes:
        return repr(place).encode()

    def origin(self, place: object) -> str:
        return repr(place)


def planned(folder, count: int) -> int:
    """Steps of SQLite's machine for `count` samples, in hundreds."""
    steps = [0]

    def step() -> None:
        steps[0] += 1

    with scratch_database(folder) as database:
        database.set_progress_handler(step, 100)
        catalogue = Catalogue(database)
        catalogue.hold("00000.tar", [f"{number:012d}" for number in range(0, count, 7)])
        for sample in samples(count):
            catalogue.add(sample)
        catalogue.sort()
        assert catalogue.repeated()
        assert sum(1 for name, _ in catalogue.cut(64) for _ in catalogue.read(name)) == count
    return steps[0]


def test_the_work_is_hardly_more_than_linear(tmp_path):
    assert planned(tmp_path, 20_000) / planned(tmp_path, 2_000) < 10**1.15, "sorting has a logarithm"


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    peaks = []
    for count in (2 * BATCH, 10 * BATCH):
        tracemalloc.start()
        planned(tmp_path, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_samples_come_back_as_they_were(tmp_path):
    places = Places()
    own = [3, "a/b\udcff.png", ("x", 2), (1, (2, 3)), frozenset({4}), None, 2.5, b"\xff", {"at": 1}, True]
    found = [RawSample(f"k{n}", {"image": RawMember("png", places, place)}) for n, place in enumerate(own)]
    found += [RawSample("odd é.", fault="a fault with \udcff in it"), RawSample("w", wanted=("image", "text"))]
    with scratch_database(tmp_path) as database:
        catalogue = Catalogue(database)
        for sample in found:
            catalogue.add(sample)
        catalogue.sort()
        back = {sample.key: sample for sample, _ in catalogue.all()}
    assert back["odd \\xe9."].fault == found[-2].fault and back["w"] == found[-1]
    for number, place in enumerate(own):
        assert back[f"k{number}"].members["image"].place == place
        assert type(back[f"k{number}"].members["image"].place) is type(place)


def test_the_first_of_a_key_is_kept_and_shards_of_before_keep_theirs(tmp_path):
    places = Places()
    with scratch_database(tmp_path) as database:
        catalogue = Catalogue(database)
        catalogue.hold("00003.tar", ["b", "gone", "e"])
        catalogue.hold("00005.tar", ["e", "z"])
        for key, place in [("z", 0), ("b", 1), ("a", 2), ("b", 3), ("e", 4), ("c", 5), ("b", 6), ("d", 7)]:
            catalogue.add(RawSample(key, {"image": RawMember("png", places, place)}))
        catalogue.sort()
        count, first, second = catalogue.repeated()
        assert (count, first.key, first.origin, second.origin) == (1, "b", "1", "3")
        catalogue.drop(["c"])
        assert catalogue.cut(1) == [("00003.tar", 2), ("00005.tar", 1), ("00006.tar", 1), ("00007.tar", 1)]
        read = {name: [(s.key, s.origin, again) for s, again in catalogue.read(name)] for name, _ in [("00003.tar", 0)]}
        assert read == {"00003.tar": [("b", "1", 2), ("e", "4", 0)]}
        assert [s.key for name in ("00006.tar", "00007.tar") for s, _ in catalogue.read(name)] == ["a", "d"]


def test_pickled_samples_take_their_captions_along_and_leave_the_catalogue_behind(tmp_path):
    texts = Texts()
    texts.begin("captions.txt")
    with scratch_database(tmp_path) as database:
        catalogue = Catalogue(database)
        for number in range(5):
            catalogue.add(texts.sample(f"k{number}", f"caption {number}", number + 1))
        catalogue.sort()
        catalogue.cut(2)
        content = pickle.dumps(catalogue.samples("00001.tar"))
    [(third, _), (fourth, _)] = pickle.loads(content)  # noqa: S301  # our own
    assert [third.key, fourth.key] == ["k2", "k3"]
    assert fourth.members["text"].read(7) == b"caption" and fourth.origin == "captions.txt:4"


def fill(folder) -> None:
    with scratch_database(folder) as database:
        database.execute("PRAGMA max_page_count = 1")
        database.execute("CREATE TABLE a (b)")
        database.executemany("INSERT INTO a VALUES (?)", [("x" * 10_000,)] * 10)


def test_a_full_disk_is_said_as_such(tmp_path):
    with pytest.raises(TryAgainError, match="no space is left on the disk"):
        fill(tmp_path)


def test_what_is_no_error_of_the_system_stays_what_it_is(tmp_path):
    with pytest.raises(sqlite3.OperationalError, match="no such table"), scratch_database(tmp_path) as database:
        database.execute("SELECT * FROM missing")


def test_the_guess_of_a_shard_without_an_earlier_run_is_what_it_gets(tmp_path):
    with scratch_database(tmp_path) as database:
        catalogue = Catalogue(database)
        for number in (3, 1, 4, 1, 5, 9, 2):
            catalogue.add(RawSample(f"k{number}", {"image": RawMember("png", Places(), number)}))
        catalogue.sort()
        guessed = [catalogue.uncut(number, 4) for number in range(3)]
        cut = [[sample.key for sample, _ in catalogue.read(name)] for name, _ in catalogue.cut(4)]
    assert guessed == [*cut, []] == [["k1", "k2", "k3", "k4"], ["k5", "k9"], []]
