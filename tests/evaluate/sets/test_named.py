"""Label tables name samples as their writer knows them: by file, by path, by key."""

import logging

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluate.sets.annotations import read_labels
from pipeline.evaluate.sets.named import by_sample
from pipeline.evaluate.settings import Labels
from pipeline.keys import key_of_path
from tests.shard.makers import picture, shards, tar

FILES = ["my photo.png", "plain.png", "sub/deep.png", "img.v1.png", "über.PNG", "a b/c d.png"]


@pytest.fixture
def keys(tmp_path):
    """Keys that the shard stage gives to files of these names."""
    for number, name in enumerate(FILES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return list(shards(tmp_path / "in", tmp_path / "out", "image")[0])


@pytest.mark.parametrize("written", [str, lambda name: name.rpartition(".")[0], key_of_path])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_samples_are_found_by_file_by_stem_and_by_key(tmp_path, keys, written, ending, caplog):
    table = pd.DataFrame({"key": [written(name) for name in FILES], "label": [f"L{number}" for number in range(6)]})
    path = tmp_path / f"labels.{ending}"
    if ending == "jsonl":
        table.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    labels = read_labels(tmp_path, Labels(table=path.name, column="label"))
    found = by_sample(labels, own(keys), path.name, "pictures")
    assert found == {key_of_path(name): [f"L{number}"] for number, name in enumerate(FILES)}
    assert not caplog.records


def test_names_in_tars_too(tmp_path):
    tar(tmp_path / "x.tar", [(name, picture(number)) for number, name in enumerate(FILES)])
    keys = list(shards(tmp_path / "x.tar", tmp_path / "out2", "image")[0])
    assert len(by_sample(dict.fromkeys(FILES, 1), own(keys), "t", "c")) == len(FILES)


def own(keys):
    """Samples that are items of their own."""
    return {key: key for key in keys}


def test_names_of_no_sample_are_a_warning_with_counts_where_samples_have_no_name(caplog):
    found = by_sample({"a.png": 1, "B.png": 2, "c.png": 3}, own(["a", "b"]), "labels.csv", "photos")
    assert found == {"a": 1}
    assert "labels.csv: 2 of 3 names are not samples of photos, such as 'B.png', 'c.png'" in caplog.text


def test_a_table_of_more_samples_than_these_is_nothing_to_warn_of(caplog):
    """One table serves several corpora, and an item may be named in place of its captions."""
    with caplog.at_level(logging.INFO):
        assert by_sample({"a": 1, "b": 2, "c": 3}, own(["a"]), "labels.csv", "photos") == {"a": 1}
        assert by_sample({"a": 1, "c": 3}, {"a-0": "a", "a-1": "a"}, "labels.csv", "captions") == {"a": 1}
    assert not caplog.records


def test_two_names_of_one_sample_have_to_agree():
    assert by_sample({"my photo": "A", "my photo.png": "A"}, own([key_of_path("my photo.png")]), "t", "c")
    with pytest.raises(UserError, match="'my photo' and 'my photo.png'"):
        by_sample({"my photo": "A", "my photo.png": "B"}, own([key_of_path("my photo.png")]), "t", "c")


def test_dots_of_other_names_do_not_lead_to_a_sample():
    assert by_sample({"img.v1": 1, "1.5": 2, "clip.mp4": 3, "img": 4}, own(["img", "1", "clip"]), "t", "c") == {
        "clip": 3, "img": 4
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        ("key,label\na,b\n".encode("utf-16"), "UTF-16 text"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl", "labels.parquet"])
def test_a_table_of_labels_that_is_something_else_says_so(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_labels(tmp_path, Labels(table=name, column="label"))
