"""Equal samples within a corpus, and between an evaluation set and a corpus."""

import json

import pytest

from pipeline.errors import CorruptError
from pipeline.shard.duplicates import Duplicates, read_duplicates
from pipeline.shard.leaks import Leak, find_leaks
from tests.conftest import png
from tests.shard.makers import shards


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


def test_the_first_key_does_not_depend_on_the_order():
    for order in (["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]):
        found = Duplicates()
        for key in order:
            found.add(key, ["0" * 64])
        found.add("other", ["1" * 64])
        assert found.rows() == [("b", "a"), ("c", "a")]


def test_no_duplicates_is_an_empty_table(photos, tmp_path):
    shards(photos, tmp_path / "out", "image")
    assert read_duplicates(tmp_path / "out") == []


def test_evaluation_samples_in_a_corpus_are_found(photos, tmp_path):
    heldout, captions = tmp_path / "heldout", tmp_path / "captions.jsonl"
    heldout.mkdir()
    for key, value in (("x", 5), ("p007", 900), ("new", 901)):
        (heldout / f"{key}.png").write_bytes(png(value))
        (heldout / f"{key}.txt").write_text(f"caption of {key}")
    captions.write_text("\n".join(json.dumps({"key": f"c{n}", "text": f"caption of {n}"}) for n in ("x", "y")))
    shards(heldout, tmp_path / "a", "image", "text")
    shards(photos, tmp_path / "b", "image", samples_per_shard=4)
    shards(captions, tmp_path / "c", "text")
    assert find_leaks(tmp_path / "a", {"photos": tmp_path / "b", "captions": tmp_path / "c"}) == [
        Leak("photos", "p005", "x", "image", "bytes"),
        Leak("photos", "p007", "p007", "", "key"),
        Leak("captions", "cx", "x", "text", "bytes"),
    ]
    assert find_leaks(tmp_path / "c", {"photos": tmp_path / "b"}) == []


def test_leaks_are_not_looked_for_in_damaged_shards(photos, tmp_path):
    shards(photos, tmp_path / "a", "image")
    tar = tmp_path / "a" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(CorruptError):
        find_leaks(tmp_path / "a", {})
