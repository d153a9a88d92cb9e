"""COCO, AudioCaps and Clotho: as texts, as media, and as evaluation sets."""

import json

import pytest

from pipeline.errors import UserError
from pipeline.shard.sources.readers import json_arrays
from tests.shard.makers import picture, shards, sound


@pytest.fixture
def coco(tmp_path):
    folder = tmp_path / "coco"
    (folder / "val").mkdir(parents=True)
    images = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in (139, 285)]
    for image in images:
        (folder / "val" / image["file_name"]).write_bytes(picture(image["id"], "JPEG"))
    images += [{"id": 7, "file_name": "lost.jpg"}, {"id": 8, "file_name": "../../escape.jpg"}]
    annotations = [
        {"image_id": image, "id": row, "caption": f"caption {row} of {image}"}
        for row, image in enumerate([139, 285, 139, 7, 8])
    ]
    content = {"info": {"year": 2017, "list": [1, [2]]}, "licenses": [{}], "images": images, "annotations": annotations}
    (folder / "captions.json").write_text(json.dumps(content))
    return folder / "captions.json"


def test_coco_captions_have_a_key_each(coco, tmp_path):
    samples, _, _ = shards(coco, tmp_path / "out", "text")
    assert {key: one["txt"].decode() for key, one in samples.items()} == {
        "139-0": "caption 0 of 139",
        "139-1": "caption 2 of 139",
        "285-0": "caption 1 of 285",
        "7-0": "caption 3 of 7",
        "8-0": "caption 4 of 8",
    }


def test_coco_pictures_have_the_key_of_their_image(coco, tmp_path):
    samples, rejected, _ = shards(coco, tmp_path / "out", "image", options={"files": "val"})
    assert samples == {"139": {"jpg": picture(139, "JPEG")}, "285": {"jpg": picture(285, "JPEG")}}
    assert set(rejected) == {"7", "8"}
    assert "leads out" in rejected["8"]


def test_coco_as_an_evaluation_set_has_the_first_caption(coco, tmp_path):
    samples, _, _ = shards(coco, tmp_path / "out", "image", "text", options={"files": str(coco.parent / "val")})
    assert samples["139"] == {"jpg": picture(139, "JPEG"), "txt": b"caption 0 of 139"}


def test_coco_is_read_block_by_block(coco, tmp_path, monkeypatch):
    whole = shards(coco, tmp_path / "whole", "text")[0]
    for size in (1, 7, 64):
        monkeypatch.setattr(json_arrays, "BLOCK_BYTES", size)
        assert shards(coco, tmp_path / f"out{size}", "text")[0] == whole


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "is a JSON list, expected COCO's object"),
        ('{"annotations": [{"image_id": 1, "caption": "x"}', "cut off"),
        ('{"annotations": [{}{}]}', "damaged"),
        ('{"questions": [], "info": 3}', "has no list 'annotations'; it has questions, info"),
        ("", "not a JSON object"),
    ],
)
def test_other_json_is_one_clear_error(tmp_path, content, sentence):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        shards(tmp_path / "c.json", tmp_path / "out", "text")


@pytest.fixture
def audiocaps(tmp_path):
    folder = tmp_path / "audiocaps"
    folder.mkdir()
    rows = [
        "audiocap_id,youtube_id,start_time,caption",
        "91139,r1nicOVtvkQ,130,A woman talks",
        "58146,-GNszKtjXc,30,Rain",
    ]
    rows += ["91140,r1nicOVtvkQ,130,Somebody talks", "7,vanished,5,Nobody knows"]
    (folder / "test.csv").write_text("\n".join(rows) + "\n")
    (folder / "wav").mkdir()
    (folder / "wav" / "Yr1nicOVtvkQ.wav").write_bytes(sound(1, "WAV"))
    (folder / "wav" / "-GNszKtjXc_30.flac").write_bytes(sound(2))
    return folder / "test.csv"


def test_audiocaps_captions(audiocaps, tmp_path):
    samples, _, _ = shards(audiocaps, tmp_path / "out", "text")
    assert {key: one["txt"].decode() for key, one in samples.items()} == {
        "r1nicOVtvkQ_130-91139": "A woman talks",
        "r1nicOVtvkQ_130-91140": "Somebody talks",
        "-GNszKtjXc_30-58146": "Rain",
        "vanished_5-7": "Nobody knows",
    }


def test_audiocaps_sounds_and_their_captions_meet_by_key(audiocaps, tmp_path):
    samples, rejected, _ = shards(audiocaps, tmp_path / "out", "audio", options={"files": "wav"})
    assert samples == {"r1nicOVtvkQ_130": {"wav": sound(1, "WAV")}, "-GNszKtjXc_30": {"flac": sound(2)}}
    assert rejected == {"vanished_5": "the sample has no audio"}
    captions = shards(audiocaps, tmp_path / "texts", "text")[0]
    assert {key.rpartition("-")[0] for key in captions} >= set(samples)
    both = shards(audiocaps, tmp_path / "both", "audio", "text", options={"files": "wav"})[0]
    assert both["r1nicOVtvkQ_130"] == {"wav": sound(1, "WAV"), "txt": b"A woman talks"}


def test_a_named_kind_or_column_wins_over_the_looks(audiocaps, tmp_path):
    samples, _, _ = shards(audiocaps, tmp_path / "out", "text", options={"key_column": "audiocap_id"})
    assert set(samples) == {"91139", "58146", "91140", "7"}
    with pytest.raises(UserError, match="audiocap_id, youtube_id"):
        shards(audiocaps, tmp_path / "out2", "text", options={"kind": "clotho"})


def test_clotho(tmp_path):
    names = ["Rain on a roof.wav", "dog.wav"]
    header = ",".join(["file_name", *(f"caption_{number}" for number in range(1, 6))])
    rows = [",".join([name, *(f"{name[:4]} {number}" for number in range(1, 6))]) for name in names]
    (tmp_path / "clotho.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "sounds").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "sounds" / name).write_bytes(sound(number, "WAV"))
    texts, _, _ = shards(tmp_path / "clotho.csv", tmp_path / "texts", "text")
    sounds, _, _ = shards(tmp_path / "clotho.csv", tmp_path / "out", "audio", options={"files": "sounds"})
    assert len(texts) == 10 and len(sounds) == 2
    assert {key.rpartition("-")[0] for key in texts} == set(sounds)
    assert texts["dog-0"] == {"txt": b"dog. 1"} and texts["dog-4"] == {"txt": b"dog. 5"}
    both, _, _ = shards(tmp_path / "clotho.csv", tmp_path / "both", "audio", "text", options={"files": "sounds"})
    assert both["dog"] == {"wav": sound(1, "WAV"), "txt": b"dog. 1"}
