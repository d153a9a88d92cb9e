"""A source that is a list of places: each is read as it would be by itself, and nothing is read twice."""

import json

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.params.load import load_params
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.listing import listed_files
from tests.shard.makers import picture, shards, sound, tar


@pytest.fixture
def places(tmp_path):
    """Pictures as files, in a tar and in a table; captions as lines, as a table and as a Parquet file."""
    for number in range(3):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"p{number}.png").write_bytes(picture(number))
        (tmp_path / "more").mkdir(exist_ok=True)
        (tmp_path / "more" / f"m{number}.png").write_bytes(picture(20 + number))
    tar(tmp_path / "t.tar", [(f"t{number}.png", picture(10 + number)) for number in range(3)])
    (tmp_path / "list.csv").write_text("key,path\n" + "".join(f"l{n},more/m{n}.png\n" for n in range(3)))
    (tmp_path / "lines.txt").write_text("a dog\na cat\n")
    (tmp_path / "rows.csv").write_text("caption\na bird\na fish\n")
    pd.DataFrame({"key": ["k"], "text": ["a horse"]}).to_parquet(tmp_path / "keyed.parquet")
    return tmp_path


def test_each_place_is_of_its_own_kind(places):
    source = [str(places / name) for name in ("photos", "t.tar", "list.csv")]
    samples, rejected, manifest = shards(source, places / "out", "image")
    assert samples == {
        **{f"p{n}": {"png": picture(n)} for n in range(3)},
        **{f"t{n}": {"png": picture(10 + n)} for n in range(3)},
        **{f"l{n}": {"png": picture(20 + n)} for n in range(3)},
    }
    assert not rejected and manifest.rows == 9 and not manifest.not_read


def test_numbered_rows_of_further_files_are_told_apart_and_those_of_the_first_keep_their_keys(places):
    source = [str(places / name) for name in ("lines.txt", "rows.csv", "keyed.parquet")]
    first = shards(source[0], places / "one", "text")[0]
    samples = shards(source, places / "three", "text")[0]
    assert samples == {
        **first,
        "rows-00000000": {"txt": b"a bird"},
        "rows-00000001": {"txt": b"a fish"},
        "k": {"txt": b"a horse"},
    }


def test_another_place_leaves_the_shards_of_the_first_as_they_are(places):
    shards([str(places / "photos")], places / "out", "image")
    before = (places / "out" / "00000.tar").read_bytes()
    _, _, manifest = shards([str(places / "photos"), str(places / "t.tar")], places / "out", "image")
    assert (places / "out" / "00000.tar").read_bytes() == before
    assert [part.rows for part in manifest.parts] == [3, 3]


def test_what_is_not_read_is_counted_over_all_places(places):
    for name in ("photos", "more"):
        (places / name / "notes.md").write_text("x")
        (places / name / ".hidden").write_text("x")
    _, rejected, manifest = shards([str(places / "photos"), str(places / "more")], places / "out", "image")
    assert manifest.not_read == {".md": 2, "hidden": 2} and not rejected


@pytest.mark.parametrize("second", ["photos/p1.png", "photos/*.png", "photos/", "linked"])
def test_a_file_of_two_places_is_refused(places, second):
    (places / "linked").symlink_to(places / "photos")
    with pytest.raises(UserError, match=r"p\d\.png is in .*photos and in .*"):
        shards([str(places / "photos"), str(places / second)], places / "out", "image")


def test_one_key_in_two_places_names_both_files(places):
    (places / "more" / "p1.png").write_bytes(picture(77))
    with pytest.raises(UserError, match=r"'p1' .*photos/p1\.png and .*more/p1\.png") as error:
        shards([str(places / "photos"), str(places / "more")], places / "out", "image")
    assert "one pattern" in error.value.hint
    both = shards(str(places / "{photos,more}"), places / "out2", "image")[0]
    assert len(both) == 7


def test_a_place_that_is_not_there_or_holds_nothing_stops(places):
    (places / "empty").mkdir()
    for name, said in (("nowhere", "does not exist"), ("empty", "holds no sample")):
        with pytest.raises(UserError, match=said):
            shards([str(places / "photos"), str(places / name)], places / "out", "image")


def test_the_listing_is_all_files_of_all_places(places):
    source = tuple(str(places / name) for name in ("photos", "t.tar", "list.csv"))
    corpus = CorpusSettings(source=source, modalities=("image",))
    names = {entry.name.removeprefix(f"{places}/") for entry in listed_files(corpus)}
    assert names == {
        "list.csv",
        "t.tar",
        *(f"photos/p{n}.png" for n in range(3)),
        *(f"more/m{n}.png" for n in range(3)),
    }


@pytest.mark.parametrize(
    ("name", "content", "modality"), [("one.jpg", picture(1, "JPEG"), "image"), ("one.FLAC", sound(1), "audio")]
)
def test_a_single_picture_or_sound_is_a_corpus(tmp_path, name, content, modality):
    (tmp_path / name).write_bytes(content)
    samples = shards(tmp_path / name, tmp_path / "out", modality)[0]
    assert samples == {"one": {name.rpartition(".")[2].lower(): content}}
    with pytest.raises(UserError, match="is not a supported kind of corpus"):
        shards(tmp_path / name, tmp_path / "out2", "text")


@pytest.mark.parametrize("source", [5, [], [""], ["a", 5], {"a": "b"}, ["a", "a"], None])
def test_what_is_no_place_is_one_sentence(tmp_path, source):
    params = {"corpora": {"c": {"modalities": ["text"], "source": source}}}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    with pytest.raises(UserError) as error:
        load_params(tmp_path / "params.yaml")
    (line,) = [line for line in error.value.message.splitlines() if "corpora" in line]
    assert "corpora.c.source" in line and ("list of places" in line or "once" in line)
