"""What other programs write: their layouts are read, or the message says what to set or to do."""

import gzip
import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from tests.shard.makers import picture, shards, sound, tar

# https://huggingface.co/docs/datasets: ImageFolder and AudioFolder take captions from a metadata file beside the media.
METADATA = {
    "metadata.csv": "file_name,text\n0.png,a dog\n1.png,a cat\n",
    "metadata.jsonl": '{"file_name": "0.png", "text": "a dog"}\n{"file_name": "1.png", "text": "a cat"}\n',
    "captions.tsv": "file_name\ttext\n0.png\ta dog\n1.png\ta cat\n",
}


@pytest.mark.parametrize("name", METADATA)
def test_captions_in_a_table_beside_the_pictures_are_pointed_out_and_read(tmp_path, name):
    (tmp_path / "in/train").mkdir(parents=True)
    for number in range(2):
        (tmp_path / f"in/train/{number}.png").write_bytes(picture(number))
    (tmp_path / "in/train" / name).write_text(METADATA[name])
    with pytest.raises(UserError, match=f"no .txt with a caption, but train/{name}") as error:
        shards(tmp_path / "in", tmp_path / "out", "image", "text")
    assert f"index: train/{name}" in error.value.hint
    samples = shards(tmp_path / "in", tmp_path / "out", "image", "text", options={"index": f"train/{name}"})[0]
    assert [one["txt"] for one in samples.values()] == [b"a dog", b"a cat"]
    assert [one["png"] for one in samples.values()] == [picture(0), picture(1)]
    assert len(shards(tmp_path / "in", tmp_path / "out2", "image")[0]) == 2, "pictures alone need no captions"


def test_a_saved_data_set_of_arrow_files_says_how_to_export_it(tmp_path):
    (tmp_path / "in").mkdir()
    table = pa.table({"text": ["a dog"]})
    with (
        pa.OSFile(str(tmp_path / "in/data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as out,
    ):
        out.write_table(table)
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / "in" / name).write_text("{}")
    with pytest.raises(UserError, match="save_to_disk") as error:
        shards(tmp_path / "in", tmp_path / "out", "text")
    assert "to_parquet" in error.value.hint


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.tar.gz", "a.zip", "a.csv.zst"])
def test_archives_that_nobody_unpacked_are_named(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(gzip.compress(b"x"))
    with pytest.raises(UserError, match=r"not read: \.\w+ 1") as error:
        shards(tmp_path / "in", tmp_path / "out", "text")
    assert "Unpack" in error.value.hint


@pytest.mark.parametrize(
    ("columns", "modalities", "lacking"),
    [
        ({"images": [[1]], "text": ["x"]}, ("image", "text"), "image"),
        ({"img": ["a.png"], "caption": ["x"]}, ("image", "text"), "image"),
        ({"audio": ["a.wav"], "transcription": ["x"]}, ("audio", "text"), "text"),
        ({"wav": ["a.wav"], "words": ["x"]}, ("audio", "text"), "text, audio"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_without_a_column_of_each_modality_is_one_error_not_a_reject_of_every_row(
    tmp_path, columns, modalities, lacking, ending
):
    table = pd.DataFrame(columns)
    if ending == "csv":
        table.to_csv(tmp_path / "t.csv", index=False)
    elif ending == "jsonl":
        table.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    else:
        table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=f"none is known to hold the {lacking}\\.") as error:
        shards(tmp_path / f"t.{ending}", tmp_path / "out", *modalities)
    assert ("text_column" if "text" in lacking else "path_column") in error.value.hint


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_of_texts_may_name_their_files(tmp_path, ending):
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / f"texts/{number}.txt").write_text(f"words {number}")
    rows = [{"key": f"k{number}", "path": f"{number}.txt"} for number in range(3)] + [{"key": "k3", "path": "../x.txt"}]
    table = pd.DataFrame(rows)
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False) if ending == "csv" else table.to_json(path, orient="records", lines=True)
    samples, rejected, _ = shards(path, tmp_path / "out", "text", options={"files": "texts"})
    assert samples == {f"k{number}": {"txt": f"words {number}".encode()} for number in range(3)}
    assert list(rejected) == ["k3"] and "leads out of its folder" in rejected["k3"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_excels_line_that_names_the_delimiter_is_no_header(tmp_path, delimiter, mark):
    rows = [["key", "caption"], ["1", "Hund"], ["2", "Katze"]]
    lines = [f"sep={delimiter}", *(delimiter.join(row) for row in rows)]
    for name in ("a.csv", "a.txt"):
        (tmp_path / name).write_bytes((mark + "\r\n".join(lines) + "\r\n").encode())
        samples, rejected, _ = shards(tmp_path / name, tmp_path / f"out-{name}", "text")
        assert samples == {"1": {"txt": b"Hund"}, "2": {"txt": b"Katze"}} and not rejected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(99), "HEIF"),
        (b"\0\0\0\x1cftypavif" + bytes(99), "AVIF"),
        (b'{"error": "rate limit"}', "JSON, such as the error message"),
        (b"%PDF-1.7\n" + bytes(99), "PDF"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_what_is_called_a_picture_and_is_none_is_named(tmp_path, content, said, packed):
    members = [("a.jpg", content), ("b.jpg", picture(1, "JPEG"))]
    (tmp_path / "in").mkdir()
    if packed:
        tar(tmp_path / "in/t.tar", members)
    else:
        for name, one in members:
            (tmp_path / "in" / name).write_bytes(one)
    samples, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "image")
    assert set(samples) == {"b"} and said in rejected["a"]


def test_texts_of_another_encoding_are_named_one_by_one(tmp_path):
    (tmp_path / "in").mkdir()
    for name, content in {
        "mark": "a brown dog".encode("utf-16"),
        "bare": "a brown dog".encode("utf-16-le"),
        "nul": b"a \0 dog",
        "latin": "caf\xe9".encode("latin-1"),
        "good": "caf\xe9".encode(),
    }.items():
        (tmp_path / "in" / f"{name}.txt").write_bytes(content)
    samples, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "text")
    assert set(samples) == {"good"}
    assert rejected == {
        "mark": "the text is UTF-16 text",
        "bare": "the text is UTF-16 text without a byte order mark",
        "nul": "the text has NUL characters",
        "latin": "the text is not UTF-8",
    }


def test_maps_of_captions_and_quotes_within_quotes_say_what_they_are(tmp_path):
    pq.write_table(
        pa.table({"text": pa.array([[("en", "x")]], pa.map_(pa.string(), pa.string()))}), tmp_path / "m.parquet"
    )
    for captions in ("one", "first", "all"):
        with pytest.raises(UserError, match=r"the column 'text' holds a map \(an object with fields\) \(such as"):
            shards(tmp_path / "m.parquet", tmp_path / captions, "text", options={"captions": captions})
    (tmp_path / "q.csv").write_text('key,caption\n1,"a ""dog"" barks"\n2,"say \\"hi\\""\n3,6" nails\n')
    samples, rejected, _ = shards(tmp_path / "q.csv", tmp_path / "q", "text")
    assert samples == {"1": {"txt": b'a "dog" barks'}, "3": {"txt": b'6" nails'}}
    assert "doubled" in rejected["row.2"]


def test_what_img2dataset_writes_is_read_whole(tmp_path):
    """https://github.com/rom1504/img2dataset: tars with .jpg, .txt, .json, a .parquet and a _stats.json beside each."""
    rows = [("success", 0), ("failed_to_download", 1), ("success", 2)]
    members = [
        (f"{number:09d}.{ending}", content)
        for status, number in rows
        for ending, content in (
            *((("jpg", picture(number, "JPEG")),) if status == "success" else ()),
            ("txt", f"caption {number}".encode()),
            ("json", json.dumps({"caption": f"caption {number}", "status": status, "url": "x"}).encode()),
        )
    ]
    (tmp_path / "in").mkdir()
    tar(tmp_path / "in/00000.tar", members)
    (tmp_path / "in/00000_stats.json").write_text("{}")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"url": ["x"]}), buffer)
    (tmp_path / "in/00000.parquet").write_bytes(buffer.getvalue())
    samples, rejected, manifest = shards(tmp_path / "in", tmp_path / "out", "image", "text")
    assert set(samples) == {"000000000", "000000002"} and "failed_to_download" in rejected["000000001"]
    assert manifest.not_read == {".json": 1, ".parquet": 1}


def test_files_that_phones_and_desktops_leave_are_counted(tmp_path):
    (tmp_path / "in/__MACOSX").mkdir(parents=True)
    for name in (
        "IMG_2.JPG",
        "IMG_1.HEIC",
        "IMG_2.MOV",
        "IMG_2.AAE",
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "._a.jpg",
    ):
        (tmp_path / "in" / name).write_bytes(picture(1, "JPEG") if name.endswith("JPG") else b"x")
    (tmp_path / "in/__MACOSX/b.jpg").write_bytes(picture(2, "JPEG"))
    samples, rejected, manifest = shards(tmp_path / "in", tmp_path / "out", "image")
    assert set(samples) == {"IMG_2"} and not rejected
    assert manifest.not_read == {".aae": 1, ".db": 1, ".heic": 1, ".ini": 1, ".mov": 1, "hidden": 3}
    (tmp_path / "in/rec.wav").write_bytes(sound(1, "WAV"))
    _, _, manifest = shards(tmp_path / "in", tmp_path / "out2", "audio")
    assert manifest.not_read[".jpg"] == 1
