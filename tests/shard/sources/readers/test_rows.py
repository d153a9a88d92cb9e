"""Captions and manifests with named columns: jsonl, csv, tsv, parquet."""

import json
import os

import pandas as pd
import pytest

from pipeline.errors import UserError
from tests.shard.makers import picture, shards, sound

ROWS = pd.DataFrame({"name": ["a", "b"], "sentence": ["one, two", "drei\nvier"], "noise": ["x", "y"]})


def write(table: pd.DataFrame, path):
    if path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.tsv", "c.parquet"])
def test_columns_are_chosen_by_name(tmp_path, name):
    source = write(ROWS, tmp_path / name)
    samples, _, _ = shards(source, tmp_path / "out", "text", options={"key_column": "name", "text_column": "sentence"})
    assert samples == {"a": {"txt": b"one, two"}, "b": {"txt": b"drei\nvier"}}


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.tsv", "c.parquet"])
@pytest.mark.parametrize("options", [{}, {"text_column": "txet"}, {"text_column": "sentence", "key_column": "kye"}])
def test_a_missing_column_lists_the_columns_found(tmp_path, name, options):
    source = write(ROWS, tmp_path / name)
    with pytest.raises(UserError, match="name, sentence, noise") as error:
        shards(source, tmp_path / "out", "text", options=options)
    assert "column" in error.value.hint


def test_default_columns_and_numbered_rows(tmp_path):
    source = write(pd.DataFrame({"caption": ["first", "second"]}), tmp_path / "c.csv")
    assert shards(source, tmp_path / "out", "text")[0] == {
        "00000000": {"txt": b"first"},
        "00000001": {"txt": b"second"},
    }


def test_several_files_of_one_kind_number_their_rows_apart(tmp_path):
    (tmp_path / "many").mkdir()
    for name in ("x", "y"):
        write(pd.DataFrame({"caption": [f"of {name}"]}), tmp_path / "many" / f"{name}.csv")
    expected = {"x-00000000": {"txt": b"of x"}, "y-00000000": {"txt": b"of y"}}
    assert shards(tmp_path / "many", tmp_path / "out", "text")[0] == expected
    assert shards(f"{tmp_path}/many/*.csv", tmp_path / "out2", "text")[0] == expected
    assert shards(f"{tmp_path}/many/{{x,y}}.csv", tmp_path / "out3", "text")[0] == expected


def test_a_manifest_gives_files_and_captions_together(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "p.png").write_bytes(picture(1))
    (tmp_path / "files" / "s.wav").write_bytes(sound(1, "WAV"))
    table = pd.DataFrame({"key": ["p", "s"], "file": ["p.png", "s.wav"], "text": ["a picture", "a sound"]})
    source = write(table, tmp_path / "list.tsv")
    samples, rejected, _ = shards(source, tmp_path / "out", "image", "text", options={"files": "files"})
    assert samples == {"p": {"png": picture(1), "txt": b"a picture"}}
    assert rejected == {"s": "the sample has no image"}


def test_an_index_within_the_source_folder(tmp_path):
    (tmp_path / "set" / "files").mkdir(parents=True)
    for name in ("p", "q", "r"):
        (tmp_path / "set" / "files" / f"{name}.png").write_bytes(picture(ord(name)))
    (tmp_path / "set" / "README.md").write_text("words")
    write(pd.DataFrame({"key": ["p", "q"], "path": ["files/p.png", "./files/q.png"]}), tmp_path / "set" / "list.csv")
    samples, _, manifest = shards(tmp_path / "set", tmp_path / "out", "image", options={"index": "list.csv"})
    assert list(samples) == ["p", "q"]
    assert manifest.not_read == {".md": 1, ".png": 1}  # what no row names


def test_bad_lines_are_rows_and_cost_only_themselves(tmp_path):
    good = json.dumps({"key": "good", "text": "fine"})
    lines = [good, "{", "[]", "3", '{"text": "no key"}', '{"key": "mute"}', '{"key": "null", "text": null}']
    lines += [json.dumps({"key": "s", "text": "\ud800"}), json.dumps({"key": "\ud800", "text": "x"})]
    lines += ['{"key": "deep", "text": ' + "[" * 100_000, json.dumps({"key": "k" * 300, "text": "x"})]
    content = (
        "\n".join(lines).encode() + b'\n{"key": "latin", "text": "\xe9"}\n' + b'{"text": "' + b"x" * (5 << 20) + b'"}\n'
    )
    (tmp_path / "c.jsonl").write_bytes(content + json.dumps({"key": "last", "text": "too"}).encode())
    samples, rejected, manifest = shards(tmp_path / "c.jsonl", tmp_path / "out", "text")
    assert samples == {"good": {"txt": b"fine"}, "last": {"txt": b"too"}}
    assert manifest.rows + manifest.rejected == 14
    assert rejected["row.2"] == "the line is not JSON"
    assert rejected["row.5"] == "the row has no key"
    assert rejected["latin"] == "the text is not UTF-8"
    assert rejected["row.13"] == "the line is too long"
    assert max(map(len, rejected)) <= 200
    assert shards(tmp_path / "c.jsonl", tmp_path / "out", "text")[2] == manifest  # what is rejected keeps its place


def test_bad_csv_rows_are_rows_and_cost_only_themselves(tmp_path):
    (tmp_path / "c.csv").write_bytes(
        b'\xef\xbb\xbfkey,text\na,"quoted ""word"""\nb\nc,x,y\nd,"x"y\n'
        + b"e,"
        + b"x" * 200_000
        + b"\nf,\xff\ng,fine\n"
    )
    samples, rejected, manifest = shards(tmp_path / "c.csv", tmp_path / "out", "text")
    assert samples == {"a": {"txt": b'quoted "word"'}, "g": {"txt": b"fine"}}
    assert manifest.rejected == 5
    assert rejected["row.2"] == "the row has 1 cells, the header has 2"


def test_a_quote_that_is_never_closed_costs_its_own_row(tmp_path):
    (tmp_path / "c.csv").write_text('key,text\na,one\nb,"two\nc,three\nd,four\n')
    samples, rejected, _ = shards(tmp_path / "c.csv", tmp_path / "out", "text")
    assert list(samples) == ["a", "c", "d"]
    assert rejected == {"row.2": "line 3: a quote is opened and not closed"}


@pytest.mark.parametrize(
    ("content", "said"), [(b"PAR1 but not really", "cannot be read as Parquet"), (b"", "c.parquet is empty")]
)
def test_no_parquet_file_is_one_clear_error(tmp_path, content, said):
    (tmp_path / "c.parquet").write_bytes(content)
    with pytest.raises(UserError, match=said):
        shards(tmp_path / "c.parquet", tmp_path / "out", "text")


@pytest.mark.parametrize("item", [False, True])
def test_a_cell_that_names_no_file_is_rejected(tmp_path, item):
    (tmp_path / "x.png").write_bytes(picture(1))
    rows = [{"key": "fine", "path": "x.png"}, {"key": "number", "path": 7}, {"key": "list", "path": ["x.png"]}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {"path_column": "path", "item_column": "key"} if item else {}
    samples, rejected, _ = shards(tmp_path / "list.jsonl", tmp_path / "out", "image", options=options)
    assert list(samples) == ["fine"]
    assert rejected == {
        "number": "the column 'path' holds a number, no path",
        "list": "the column 'path' holds a list, no path",
    }


def test_a_manifest_that_names_missing_files_says_so_also_in_the_manner_of_windows(tmp_path):
    (tmp_path / "im").mkdir()
    for name in ("im/x.png", "im/y.png"):
        (tmp_path / name).write_bytes(picture(1))
    (tmp_path / "list.csv").write_text("key,path\nfine,im/x.png\ngone,im/z.png\nwindows,im\\y.png\n")
    samples, rejected, _ = shards(tmp_path / "list.csv", tmp_path / "out", "image")
    assert list(samples) == ["fine"]
    assert rejected == {
        "gone": "there is no such file",
        "windows": "there is no such file; its path has backslashes: write /",
    }


def test_a_manifest_that_names_no_regular_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "x.png").write_bytes(picture(1))
    (tmp_path / "list.csv").write_text("key,path\npipe,pipe.png\nfolder,.\nfine,x.png\nnul,\0.png\n")
    samples, rejected, _ = shards(tmp_path / "list.csv", tmp_path / "out", "image")
    assert list(samples) == ["fine"]
    assert "not a regular file" in rejected["pipe"]
