"""How many rejected samples a stage stands, exactly, and what it says of them."""

import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.store.manifest import Failure, Manifest, Part
from pipeline.store.rejects import check_rejects, write_failures


def manifest(rows, *messages):
    failures = tuple(Failure(f"k{number}", "decode", "SampleError", message) for number, message in enumerate(messages))
    return Manifest("shards", {}, (Part("p", rows, "", "", "", failures),))


def test_the_share_itself_is_allowed(tmp_path):
    check_rejects(manifest(9, "x"), 0.1, tmp_path)
    check_rejects(manifest(5), 0.0, tmp_path)
    with pytest.raises(UserError, match=r"1 of 10 samples were rejected, more than limits.max_rejected = 0.09"):
        check_rejects(manifest(9, "x"), 0.09, tmp_path)


def test_nothing_left_is_never_allowed(tmp_path):
    with pytest.raises(UserError, match="2 of 2 samples were rejected"):
        check_rejects(manifest(0, "x", "x"), 1.0, tmp_path)
    with pytest.raises(UserError, match="would be empty: the input has no samples"):
        check_rejects(manifest(0), 1.0, tmp_path)


def test_the_five_most_frequent_reasons_are_named_with_two_keys_each(tmp_path):
    messages = ["a"] * 3 + ["b"] * 4 + [*"cdefg"]
    with pytest.raises(UserError) as error:
        check_rejects(manifest(1, *messages), 0.0, tmp_path)
    said = error.value.message
    assert "4 x decode: b (such as k3, k4); 3 x decode: a (such as k0, k1); 1 x decode: c (such as k7)" in said
    assert said.count(" x decode") == 5 and str(tmp_path / "_failures.parquet") in error.value.hint


def test_the_table_has_a_row_for_each(tmp_path):
    write_failures(tmp_path / "t", manifest(1, "x", "y"))
    found = pq.read_table(tmp_path / "t").to_pylist()
    assert found[1] == {"part": "p", "key": "k1", "step": "decode", "error": "SampleError", "message": "y"}
    write_failures(tmp_path / "t", manifest(1))
    assert pq.read_table(tmp_path / "t").num_rows == 0
