"""Two spaces' samples joined by key, against a dictionary; what is held in memory does not grow with them."""

import pickle
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.hashing import sha256_json
from pipeline.retrieve.joined import JoinedStores, SingleStores
from pipeline.store import EMBEDDINGS, PartFolder, Rows, Store, write_rows


def unit(number: int) -> list[float]:
    angle = number / 1000
    return [np.cos(angle), np.sin(angle)]


def store(folder: Path, parts: list[list[int]]) -> Path:
    """A store whose keys and embeddings are numbers."""
    space, corpus, modality = folder.parts[-3:]
    fingerprint = {"space": space, "modality": modality, "dimension": 2}
    with PartFolder(folder, EMBEDDINGS, fingerprint, corpus=corpus) as made:
        for place, numbers in enumerate(parts):
            rows = Rows([f"k{n:06d}" for n in numbers], {"embedding": np.array([unit(n) for n in numbers])}, {})
            made.commit(
                f"part-{place:05d}.parquet", "s", rows.keys, [], lambda path, rows=rows: write_rows(path, rows, {})
            )
        made.finish(1.0)
    return folder


def cut(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


@pytest.mark.parametrize("seed", range(4))
def test_joins_are_those_of_a_dictionary(tmp_path, seed):
    draw = random.Random(seed)
    everything = list(range(400))
    first, second = (draw.sample(everything, 300) for _ in range(2))
    halves = first[:130], first[130:]
    folders = [store(tmp_path / f"clip/c{n}/text", cut(half, 37)) for n, half in enumerate(halves)]
    others = [store(tmp_path / "clap/c0/text", cut(second, 41))]
    joined = JoinedStores(("clip", "clap"), folders, others)
    keys = [f"k{n:06d}" for n in first if n in set(second)]
    assert joined.keys() == keys and joined.rows == len(keys)
    rejected = sorted(failure.key for part in joined.parts for failure in part.rejected)
    assert rejected == sorted(f"k{n:06d}" for n in set(first) ^ set(second))
    assert np.array_equal(joined.second(keys), np.array([unit(int(key[1:])) for key in keys], np.float32))
    shuffled = draw.sample(keys, len(keys))
    assert np.array_equal(joined.second(shuffled), np.array([unit(int(key[1:])) for key in shuffled], np.float32))
    row = 0
    for number, part in enumerate(joined.parts):
        assert part.name == f"part-{number:05d}.parquet" and part.first_row == row
        assert np.array_equal(
            joined.first(part), np.array([unit(int(key[1:])) for key in part.keys], np.float32).reshape(-1, 2)
        )
        assert part.keys[: len(part.keys)] == list(part.keys) == pickle.loads(pickle.dumps(part)).keys  # noqa: S301
        row += len(part.keys)


def test_a_part_depends_on_the_parts_that_it_reads_and_no_others(tmp_path):
    first = store(tmp_path / "clip/c/text", [[0, 1, 2], [3, 4, 5]])
    second = store(tmp_path / "clap/c/text", [[0, 1], [2, 3], [9], [4, 5]])
    one, two = JoinedStores(("clip", "clap"), [first], [second]).parts
    here, there = ([part.sha256 for part in Store.open(folder).manifest.parts] for folder in (first, second))
    assert one.source == sha256_json([here[0], [there[0], there[1]]])
    assert two.source == sha256_json([here[1], [there[1], there[2], there[3]]]), "9 counts in the last part"
    assert [(failure.key, failure.message) for failure in two.rejected] == [("k000009", "it has no embedding in clip")]


def test_a_key_of_two_corpora_is_refused(tmp_path):
    folders = [store(tmp_path / f"clip/c{n}/text", [[n * 5 + 1, n * 5 + 2], [7]]) for n in range(2)]
    with pytest.raises(UserError, match=r"c1/text/part-00001.parquet holds a key that occurs before it"):
        SingleStores(folders)


def test_nothing_in_common_is_an_error(tmp_path):
    first, second = store(tmp_path / "clip/c/text", [[1]]), store(tmp_path / "clap/c/text", [[2]])
    with pytest.raises(UserError, match="clip and clap have no key in common"):
        JoinedStores(("clip", "clap"), [first], [second])


def test_keys_are_not_held_in_memory(tmp_path):
    peaks = []
    for size in (4, 24):
        numbers = list(range(size * 500))
        folders = [[store(tmp_path / f"{size}/{space}/c/text", cut(numbers, 500))] for space in ("clip", "clap")]
        tracemalloc.start()
        joined = JoinedStores(("clip", "clap"), *folders)
        assert joined.rows == len(numbers)
        tracemalloc.reset_peak()
        assert sum(1 for part in joined.parts for _ in part.keys) == len(numbers)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 10_000 < 20, "bytes for each further key, which alone takes 56"
