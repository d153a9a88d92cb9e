"""Equal samples within a corpus."""

import pytest

from pipeline.shard.duplicates import DUPLICATES_NAME
from pipeline.shard.findings import Findings
from pipeline.shard.samples import Checked
from pipeline.store.parquet import read_table
from pipeline.store.scratch import scratch_database
from tests.conftest import png
from tests.shard.makers import shards


def read_duplicates(folder):
    return [(row["key"], row["first_key"]) for row in read_table(folder / DUPLICATES_NAME).to_pylist()]


@pytest.fixture
def repeated(photos):
    """Of 27 pictures p010 and p020 have the bytes of p003, zz those of p001."""
    for name, value in (("p010", 3), ("p020", 3), ("zz", 1)):
        (photos / f"{name}.png").write_bytes(png(value))
    return photos


def test_duplicates_are_listed_and_kept(repeated, tmp_path):
    samples, _, manifest = shards(repeated, tmp_path / "out", "image", samples_per_shard=6)
    assert read_duplicates(tmp_path / "out") == [("p010", "p003"), ("p020", "p003"), ("zz", "p001")]
    assert len(samples) == manifest.rows == 26
    shards(repeated, tmp_path / "out", "image", samples_per_shard=6)  # nothing to do: still listed
    assert len(read_duplicates(tmp_path / "out")) == 3


def test_duplicates_are_left_out_on_demand(repeated, tmp_path, tree_bytes):
    options = {"samples_per_shard": 6, "drop_duplicates": True, "max_rejected": 0.0}
    samples, rejected, manifest = shards(repeated, tmp_path / "out", "image", **options)
    assert set(samples) == {f"p{number:03d}" for number in range(25)} - {"p010", "p020"}
    assert not rejected and manifest.rows == 23
    assert len(read_duplicates(tmp_path / "out")) == 3
    before = tree_bytes(tmp_path / "out")
    shards(repeated, tmp_path / "out", "image", **options)
    assert tree_bytes(tmp_path / "out") == before


def test_the_first_key_does_not_depend_on_the_order(tmp_path):
    with scratch_database(tmp_path) as database:
        for number, order in enumerate((["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"])):
            findings = Findings(database, f"order {number}")
            for key in order:
                findings.add(f"{order.index(key)}.tar", [Checked(key, [["png", "0" * 64]], [])])
            findings.add("3.tar", [Checked("other", [["png", "1" * 64]], []), Checked("unusable", [], [])])
            assert list(findings.copies()) == [("b", "a"), ("c", "a")] and len(findings.copies()) == 2


def test_no_duplicates_is_an_empty_table(photos, tmp_path):
    shards(photos, tmp_path / "out", "image")
    assert read_duplicates(tmp_path / "out") == []
