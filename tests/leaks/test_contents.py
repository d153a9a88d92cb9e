"""Samples that an evaluation set and a corpus have in common, by the bytes that they were made from and by key."""

import json

import pytest

from pipeline.errors import CorruptError, UserError
from pipeline.leaks.find import Leak, described, find_leaks
from pipeline.shard.members import Conversion
from pipeline.store.content.hashes import CONTENTS_NAME, read_contents
from tests.conftest import png
from tests.shard.makers import picture, shards


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
    assert find_leaks(tmp_path / "a", {"photos": tmp_path / "b", "captions": tmp_path / "c"}, tmp_path / "kept") == [
        Leak("photos", "p005", "x", "image", "bytes"),
        Leak("photos", "p007", "p007", "", "key"),
        Leak("captions", "cx", "x", "text", "bytes"),
    ]
    assert find_leaks(tmp_path / "c", {"photos": tmp_path / "b"}, tmp_path / "kept") == []


def test_a_picture_that_was_made_smaller_in_one_of_them_is_found(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").write_bytes(picture(1, side=(40, 30)))
    shards(tmp_path / "a", tmp_path / "x", "image")
    shards(tmp_path / "b", tmp_path / "y", "image", conversion=Conversion(max_side=16))
    assert find_leaks(tmp_path / "x", {"b": tmp_path / "y"}, tmp_path / "kept") == [
        Leak("b", "b", "a", "image", "bytes")
    ]


def test_leaks_in_words():
    leaks = [
        Leak("photos", "p5", "x", "image", "bytes"),
        Leak("photos", "p7", "p7", "", "key"),
        Leak("c", "7", "7", "", "key"),
    ]
    assert described("heldout", leaks) == [
        "2 samples of photos are also in the evaluation set heldout, 1 with the same bytes (such as p5 = x)",
        "1 sample of c is also in the evaluation set heldout by their keys (such as 7); "
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
        find_leaks(tmp_path / "a", {}, tmp_path / "kept")
    table.unlink()
    with pytest.raises(UserError, match="has no _contents"):
        find_leaks(tmp_path / "a", {}, tmp_path / "kept")
