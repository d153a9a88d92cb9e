"""Files that are not what their names say, and cells that hold no caption: each is said to be what it is."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from tests.shard.makers import picture, shards, sound, tar

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 13709908\n"
TABLE = "key,caption\nk1,a dog\nk2,a cat\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"
S3_ERROR = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>'
EXPECTED = {"k1": {"txt": b"a dog"}, "k2": {"txt": b"a cat"}}


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("inner.csv", content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl", "c.json", "c.txt", "c.parquet"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s1--abc.csv\n", "a git-annex pointer"),
        (PAGE, "an HTML page"),
        (S3_ERROR, "an XML error message"),
        (gzip.compress(TABLE.encode()), "compressed with gzip"),
        (gzip.compress(TABLE.encode())[:20], "compressed with gzip"),
        (bz2.compress(TABLE.encode()), "compressed with bzip2"),
        (lzma.compress(TABLE.encode()), "compressed with xz"),
        (archive(TABLE.encode()), "a ZIP archive"),
    ],
)
def test_what_was_never_fetched_or_unpacked_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        shards(tmp_path / name, tmp_path / "out", "text")
    assert error.value.hint


@pytest.mark.parametrize("name", ["c.csv", "c.jsonl", "c.txt", "c.json"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(TABLE.encode(encoding))
    with pytest.raises(UserError, match="is UTF-(16|32) text") as error:
        shards(tmp_path / name, tmp_path / "out", "text")
    assert "UTF-8" in error.value.hint


@pytest.mark.parametrize("name", ["x.csv.gz", "x.zip", "captions.xlsx"])
def test_a_single_file_of_no_kind_says_what_it_is(tmp_path, name):
    (tmp_path / name).write_bytes(archive(b"x") if name != "x.csv.gz" else gzip.compress(b"x"))
    with pytest.raises(UserError, match="not a supported kind of corpus; it is (a ZIP archive|compressed)"):
        shards(tmp_path / name, tmp_path / "out", "text")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_lines_end_as_they_end(tmp_path, end, last):
    (tmp_path / "c.csv").write_bytes(end.join(["key,caption", "k1,a dog", "k2,a cat", *last[:0]]).encode())
    assert shards(tmp_path / "c.csv", tmp_path / "out", "text")[0] == EXPECTED
    (tmp_path / "c.txt").write_bytes((end.join(["a dog", "", "a cat"]) + (end if last else "")).encode())
    assert [one["txt"] for one in shards(tmp_path / "c.txt", tmp_path / "out2", "text")[0].values()] == [
        b"a dog", b"a cat"
    ]  # fmt: skip
    lines = [json.dumps({"key": key, "text": one["txt"].decode()}) for key, one in EXPECTED.items()]
    (tmp_path / "c.jsonl").write_bytes(end.join(lines).encode())
    assert shards(tmp_path / "c.jsonl", tmp_path / "out3", "text")[0] == EXPECTED


def test_a_return_within_a_line_is_no_caption(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"one\rtwo\nthree\n")
    samples, rejected, _ = shards(tmp_path / "c.txt", tmp_path / "out", "text")
    assert list(samples) == ["00000001"] and "carriage return" in rejected["row.1"]


def test_nul_bytes_are_rejected_by_row(tmp_path):
    (tmp_path / "c.csv").write_bytes(b"key,caption\na,x\0y\nb\0,fine\nc,fine\n")
    samples, rejected, _ = shards(tmp_path / "c.csv", tmp_path / "out", "text")
    assert list(samples) == ["c"] and rejected["a"] == "the text has NUL characters" and len(rejected) == 2


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["image,caption", "a.jpg,cap a 0", "a.jpg,cap a 1"], [b"cap a 0", b"cap a 1"]),
        (["image_name| comment_number| comment", "a.jpg| 0| two dogs"], [b"two dogs"]),
        (["id\tcaption", "7\ta dog, and a cat"], [b"a dog, and a cat"]),
    ],
)
def test_a_table_that_is_named_txt_is_read_as_one(tmp_path, lines, kept):
    (tmp_path / "captions.txt").write_text("\n".join(lines) + "\n")
    options = {"text_column": "comment"} if "comment" in lines[0] else {}
    samples, _, _ = shards(tmp_path / "captions.txt", tmp_path / "out", "text", options=options)
    assert [one["txt"].strip() for one in samples.values()] == kept


def test_captions_with_commas_are_no_table_and_tabs_are_told(tmp_path, caplog):
    (tmp_path / "c.txt").write_text("a dog, a cat\ntext, image\n")
    assert len(shards(tmp_path / "c.txt", tmp_path / "out", "text")[0]) == 2
    (tmp_path / "t.txt").write_text("".join(f"{number}.jpg#0\tcaption {number}\n" for number in range(9)))
    shards(tmp_path / "t.txt", tmp_path / "out2", "text")
    assert "each line has 1 tabs" in caplog.text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["x dog", "y dog"], "holds a list"),
        ({"en": "x", "de": "y"}, "holds a struct"),
        (7, "holds a number"),
        (2.5, "holds a number"),
        (True, "holds a truth value"),
        (None, "the row has no text"),
        ([], "holds a list"),
        ("", "the txt file is empty"),
    ],
)
def test_a_cell_that_is_no_caption_says_what_it_is(tmp_path, value, said):
    rows = [{"key": "good", "caption": "fine"}, {"key": "bad", "caption": value}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    samples, rejected, _ = shards(tmp_path / "c.jsonl", tmp_path / "out", "text")
    assert list(samples) == ["good"] and said in rejected["bad"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([["x"], ["y", "z"]], "the column 'caption' holds a list"),
        ([{"en": "x"}, {"en": "y"}], "the column 'caption' holds a struct"),
        ([b"some bytes", b"more"], "the column 'caption' holds bytes"),
        ([picture(1), picture(2)], "the column 'caption' holds the bytes of a .png file"),
        ([1, 2], "the column 'caption' holds a number"),
        ([{"bytes": picture(1), "path": "1.png"}] * 2, "the column 'caption' holds the bytes of a .png file"),
        ([None, None], "the row has no text"),
        ([np.float64(1), np.float64("nan")], "the column 'caption' holds a number"),
    ],
)
def test_columns_of_parquet_that_hold_no_captions(tmp_path, values, said):
    table = pa.table({"key": ["a", "b"], "caption": pa.array(values)})
    pq.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(UserError, match="2 of 2 samples were rejected") as error:
        shards(tmp_path / "c.parquet", tmp_path / "out", "text")
    assert said in error.value.message


def test_a_list_of_captions_is_what_the_corpus_says(tmp_path):
    rows = [{"key": "a", "caption": ["x dog", "y dog"]}, {"key": "b", "caption": ["z"]}, {"key": "c", "caption": "w"}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, _, manifest = shards(tmp_path / "c.jsonl", tmp_path / "a", "text", options={"captions": "first"})
    assert {key: one["txt"] for key, one in first.items()} == {"a": b"x dog", "b": b"z", "c": b"w"}
    assert manifest.not_read == {"further captions": 1}
    every, _, manifest = shards(tmp_path / "c.jsonl", tmp_path / "b", "text", options={"captions": "all"})
    assert {key: one["txt"] for key, one in every.items()} == {
        "a-0": b"x dog", "a-1": b"y dog", "b-0": b"z", "c-0": b"w"
    }  # fmt: skip
    assert not manifest.not_read


@pytest.mark.parametrize("several", ["first", "all"])
def test_lists_of_captions_that_hold_something_else(tmp_path, several):
    wrong = {
        "none": ([], "holds an empty list"),
        "nulls": ([None, None], "holds an empty list"),
        "number": (["x", 7], "holds a list with a number in it"),
        "zero": (["x", 0], "holds a list with a number in it"),
        "after null": ([None, False], "holds a list with a truth value in it"),
        "empty": (["x", []], "holds a list with a list in it"),
    }
    rows = [
        {"key": "good", "caption": [None, "x"]},
        *({"key": key, "caption": cell} for key, (cell, _) in wrong.items()),
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    samples, rejected, _ = shards(tmp_path / "c.jsonl", tmp_path / "out", "text", options={"captions": several})
    assert [one["txt"] for one in samples.values()] == [b"x"] and rejected.keys() == wrong.keys()
    for key, (_, said) in wrong.items():
        assert said in rejected[key]


def test_lists_in_the_json_of_tars_as_laion_audio_has_them(tmp_path):
    source = tar(
        tmp_path / "x.tar",
        [
            ("0.flac", sound(0)), ("0.json", b'{"text": ["a dog barks", "barking of a dog"]}'),
            ("1.flac", sound(1)), ("1.json", b'{"text": "rain"}'),
        ],
    )  # fmt: skip
    samples, rejected, _ = shards(source, tmp_path / "a", "audio", "text")
    assert list(samples) == ["1"] and "'text' of its .json holds a list" in rejected["0"]
    first = shards(source, tmp_path / "b", "audio", "text", options={"captions": "first"})[0]
    assert first["0"] == {"flac": sound(0), "txt": b"a dog barks"}
    every = shards(source, tmp_path / "c", "audio", "text", options={"captions": "all"})[0]
    assert every == {
        "0": {"flac": sound(0)}, "0-0": {"txt": b"a dog barks"}, "0-1": {"txt": b"barking of a dog"},
        "1": {"flac": sound(1)}, "1-0": {"txt": b"rain"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.json", '[{"image": "a.jpg", "caption": "x"}]', "is a JSON list, expected COCO's object"),
        ("c.jsonl", '[{"image": "a.jpg", "caption": "x"}]', "is one JSON list, expected an object in each line"),
        ("c.jsonl", '[\n {"caption": "x"},\n {"caption": "y"}\n]', "is one JSON list"),
        ("c.json", '{"key": "a"}\n{"key": "b"}\n', "holds several JSON objects"),
        ("c.json", '{"annotations": []} x', "holds several|no sample|damaged"),
        ("c.json", '{"annotations": [{"image_id": 1, "caption": "x"}], "images": [', "cut off"),
    ],
)
def test_json_of_another_shape_says_which(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        shards(tmp_path / name, tmp_path / "out", "text")


def test_entries_of_coco_that_are_none_are_rejected(tmp_path):
    entries = [{"image_id": 1, "caption": "x"}, "words", {"caption": "of nothing"}, {"image_id": 2}, None]
    content = {"annotations": entries, "images": [{"id": 1, "file_name": "1.png"}, 5]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    (tmp_path / "1.png").write_bytes(picture(1))
    samples, rejected, _ = shards(tmp_path / "c.json", tmp_path / "out", "text")
    assert list(samples) == ["1-0"] and len(rejected) == 4
    pictures, rejected, _ = shards(tmp_path / "c.json", tmp_path / "out2", "image")
    assert list(pictures) == ["1"] and list(rejected.values()) == ["it has no id"]


def pictures_in_cells(path, values, row_group_size: int = 1000, **more):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array(values, kind if isinstance(values[0], dict) else pa.binary())
    pq.write_table(pa.table({"image": column, **more}), path, row_group_size=row_group_size)
    return path


@pytest.mark.parametrize("group", [2, 1000])
@pytest.mark.parametrize("named", [True, False])
def test_pictures_in_parquet_as_hugging_face_writes_them(tmp_path, group, named):
    values = [{"bytes": picture(n, "JPEG"), "path": f"{n}.png" if named else None} for n in range(7)]
    captions = [f"picture {n}" for n in range(7)]
    source = pictures_in_cells(tmp_path / "d.parquet", values, group, caption=captions)
    samples, rejected, _ = shards(source, tmp_path / "out", "image", "text", samples_per_shard=3)
    assert not rejected
    assert samples == {
        f"{n:08d}": {"jpg": picture(n, "JPEG"), "txt": captions[n].encode()} for n in range(7)
    }  # fmt: skip


def test_cells_of_plain_bytes_of_paths_and_of_nothing(tmp_path):
    (tmp_path / "side.png").write_bytes(picture(50))
    plain = pictures_in_cells(tmp_path / "p.parquet", [picture(1), b"GARBAGE", picture(2)])
    samples, rejected, _ = shards(plain, tmp_path / "a", "image")
    assert [one["png"] for one in samples.values()] == [picture(1), picture(2)]
    assert "no format that is read" in rejected["00000001"]
    values = [
        {"bytes": None, "path": "side.png"},
        {"bytes": None, "path": None},
        {"bytes": POINTER, "path": "a.png"},
        None,
    ]
    mixed = pictures_in_cells(tmp_path / "m.parquet", values)
    samples, rejected, _ = shards(mixed, tmp_path / "b", "image")
    assert [one["png"] for one in samples.values()] == [picture(50)]
    assert "a Git LFS pointer" in rejected["00000002"] and len(rejected) == 3


@pytest.mark.parametrize("modality", ["image", "audio", "text", "point"])
@pytest.mark.parametrize("content", [POINTER, PAGE])
def test_a_pointer_or_a_page_in_place_of_a_sample(tmp_path, modality, content):
    ending = {"image": "png", "audio": "wav", "text": "txt", "point": "npy"}[modality]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"k.{ending}").write_bytes(content)
    with pytest.raises(UserError, match="Git LFS pointer|an HTML page"):
        shards(tmp_path / "in", tmp_path / "out", modality)


def test_a_file_without_content_among_others_is_rejected(tmp_path):
    for ending, line in (("csv", "key,caption\na,x"), ("jsonl", '{"key": "a", "caption": "x"}'), ("txt", "a")):
        folder = tmp_path / ending
        folder.mkdir()
        (folder / f"full.{ending}").write_text(line)
        (folder / f"none.{ending}").write_bytes(b"")
        options = {"kind": "lines"} if ending == "txt" else {}
        samples, rejected, _ = shards(folder, tmp_path / f"out{ending}", "text", options=options)
        assert len(samples) == 1 and rejected == {f"none.{ending}": "the file is empty"}


@pytest.mark.parametrize(
    "path", ["/etc/passwd.png", "../out.png", "a/../../out.png", "C:\\x.png", "..\\x.png", "http://x/y.png"]
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_paths_of_a_table_stay_below_its_folder(tmp_path, path, ending):
    (tmp_path / "out.png").write_bytes(picture(1))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "fine.png").write_bytes(picture(2))
    table = pd.DataFrame({"key": ["bad", "fine"], "path": [path, "fine.png"]})
    source = folder / f"m.{ending}"
    if ending == "csv":
        table.to_csv(source, index=False)
    elif ending == "jsonl":
        table.to_json(source, orient="records", lines=True)
    else:
        table.to_parquet(source)
    samples, rejected, _ = shards(source, tmp_path / "shards", "image")
    assert list(samples) == ["fine"]
    assert "the path is" in rejected["bad"]
