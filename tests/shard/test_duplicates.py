"""Equal samples within a corpus, and between an evaluation set and a corpus."""

import json

import pytest

from pipeline.errors import CorruptError, UserError
from pipeline.shard.duplicates import Duplicates, read_duplicates
from pipeline.shard.members import Conversion
from pipeline.store.content.hashes import CONTENTS_NAME, read_contents
from pipeline.store.content.leaks import Leak, described, find_leaks
from tests.conftest import png
from tests.shard.makers import picture, shards


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


def test_a_picture_that_was_made_smaller_in_one_of_them_is_found(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").write_bytes(picture(1, side=(40, 30)))
    shards(tmp_path / "a", tmp_path / "x", "image")
    shards(tmp_path / "b", tmp_path / "y", "image", conversion=Conversion(max_side=16))
    assert find_leaks(tmp_path / "x", {"b": tmp_path / "y"}) == [Leak("b", "b", "a", "image", "bytes")]


def test_leaks_in_words():
    leaks = [
        Leak("photos", "p5", "x", "image", "bytes"),
        Leak("photos", "p7", "p7", "", "key"),
        Leak("c", "7", "7", "", "key"),
    ]
    assert described("heldout", leaks) == [
        "2 samples of photos are also in the evaluation set heldout, 1 with the same bytes (such as p5 = x)",
        "1 samples of c are also in the evaluation set heldout by their keys (such as 7); "
        "row numbers as keys may agree by chance",
    ]
    assert described("heldout", []) == []


def test_contents_that_are_missing_or_damaged(photos, tmp_path):
    shards(photos, tmp_path / "a", "image")
    assert [key for key, _, _ in read_contents(tmp_path / "a")] == sorted(path.stem for path in photos.iterdir())
    table = tmp_path / "a" / CONTENTS_NAME
    content = bytearray(table.read_bytes())
    content[len(content) // 4] ^= 1
    table.write_bytes(content)
    with pytest.raises(CorruptError):
        find_leaks(tmp_path / "a", {})
    table.unlink()
    with pytest.raises(UserError, match="has no _contents"):
        find_leaks(tmp_path / "a", {})
