"""Which rows are refused, how far from unit length one may be, and what is said of those that are refused."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import CorruptError
from pipeline.store import EMBEDDINGS, PAIRS, Rows, Store, write_rows
from pipeline.store.manifest import Manifest, Part
from pipeline.store.reader import NORM_TOLERANCE, check_vectors

KEYS = [f"k{number}" for number in range(8)]


def units() -> np.ndarray:
    return np.eye(8, 5, dtype=np.float32) + np.eye(8, 5, -5, dtype=np.float32)


def said(matrix: np.ndarray, unit: bool = True, width: object = None) -> str:
    try:
        check_vectors(Path("part"), KEYS, "embedding", matrix, unit, width)
    except CorruptError as error:
        return error.message
    return ""


@pytest.mark.parametrize("factor", [1 - 0.9 * NORM_TOLERANCE, 1 + 0.9 * NORM_TOLERANCE, 1.0])
def test_lengths_within_the_tolerance_are_right(factor):
    assert not said(units() * np.float32(factor))


@pytest.mark.parametrize("factor", [1 - 1.2 * NORM_TOLERANCE, 1 + 1.2 * NORM_TOLERANCE, 0.0, -2.0, 400.0])
def test_one_row_of_another_length_is_named(factor):
    rows = units()
    rows[6] *= factor
    assert said(rows) == "part holds rows of embedding that are no unit vectors: k6."
    assert not said(rows, unit=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_called_so_whether_or_not_lengths_count(bad):
    rows = units()
    rows[[1, 3], 2] = bad
    for unit in (True, False):
        assert said(rows, unit) == "part holds rows of embedding that are not finite: k1, k3."


@pytest.mark.parametrize(
    ("count", "named"),
    [(3, "k0, k1, k2"), (6, "k0, k1, k2, k3, k4 and 1 more"), (8, "k0, k1, k2, k3, k4 and 3 more")],
)
def test_five_keys_are_named_and_the_others_counted(count, named):
    rows = units()
    rows[:count] *= 2
    assert said(rows) == f"part holds rows of embedding that are no unit vectors: {named}."


def test_width():
    assert not said(units(), width=5)
    assert said(units(), width=6) == "part holds embeddings of width 5, the space has 6."


@pytest.mark.parametrize("kind", [EMBEDDINGS, PAIRS])
@pytest.mark.parametrize("column", ["embedding", "audio", "text"])
def test_only_embeddings_of_stores_have_to_be_units(tmp_path, kind, column):
    from pipeline.hashing import sha256_file, sha256_keys

    path = tmp_path / "part-00000.parquet"
    write_rows(path, Rows(KEYS, {column: units() * 3}, {}), {})
    part = Part(path.name, 8, sha256_file(path), sha256_keys(KEYS), "s")
    Manifest(kind, {"dimension": 5}, (part,), True).save(tmp_path)
    if kind == EMBEDDINGS and column == "embedding":
        with pytest.raises(CorruptError, match="no unit vectors: k0, k1, k2, k3, k4 and 3 more"):
            Store.open(tmp_path, kind).read()
    else:
        assert Store.open(tmp_path, kind).read().keys == KEYS
