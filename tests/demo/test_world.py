"""The world on disk: complete, the same bytes for one seed whoever renders, and equal to what was rendered."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from pipeline.demo.captions import WORDS
from pipeline.demo.chunks import render_all
from pipeline.demo.factors import FACTORS
from pipeline.demo.files import PROMPTS
from pipeline.demo.image import render_images
from pipeline.demo.params import Sizes, read_params
from pipeline.demo.scenes import draw
from pipeline.demo.world import write_world
from pipeline.errors import UserError

SIZES = Sizes(photos=300, sounds=20, shapes=20, captions=100, heldout=30, pairs=10)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    assert write_world(folder, folder / "scenes.parquet", 5, SIZES) == 480
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_bytes_do_not_depend_on_who_renders(raw, tmp_path):
    write_world(tmp_path, tmp_path / "scenes.parquet", 5, SIZES, workers=2)
    assert contents(tmp_path) == contents(raw)


def test_every_corpus_is_complete(raw):
    counts = {path.name: len(list(path.iterdir())) for path in raw.iterdir() if path.is_dir()}
    assert counts == {"photos": 300, "sounds": 20, "shapes": 20, "heldout": 120, "pairs": 20}
    assert {path.suffix for path in (raw / "heldout").iterdir()} == {".png", ".flac", ".npy", ".txt"}


def test_the_truth_has_a_row_for_every_scene(raw):
    truth = pd.read_parquet(raw / "scenes.parquet")
    assert list(truth.columns) == ["key", "corpus", *FACTORS, "common", "point_gallery"]
    assert truth.corpus.value_counts().to_dict() == dict(SIZES)
    assert truth.point_gallery.sum() == 15 and set(truth.corpus[truth.point_gallery]) == {"heldout"}
    scenes = draw(5, "sounds", 20)
    written = truth[truth.corpus == "sounds"].set_index("key")
    assert written.loc[scenes.keys[7], "shape"] == FACTORS["shape"][scenes.levels["shape"][7]]


def test_files_hold_what_was_rendered(raw):
    picture = np.array(Image.open(raw / "photos" / "photos-00299.png"))
    np.testing.assert_array_equal(picture, render_all(render_images, draw(5, "photos", 300), 5, "png")[299])
    wave, rate = soundfile.read(io.BytesIO((raw / "sounds" / "sounds-00003.flac").read_bytes()))
    assert (len(wave), rate) == (6400, 8000)
    assert np.load(raw / "shapes" / "shapes-00000.npy", allow_pickle=False).shape == (96, 6)


def test_captions_come_in_the_three_styles(raw):
    lines = [json.loads(line) for line in (raw / "captions.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [f"captions-{index:05d}" for index in range(100)]
    openings = " ".join(" ".join(line["text"].split()[1:3]) for line in lines)
    assert all(word in openings for word in ("photo", "recording", "scan"))


def test_every_shape_has_prompts_that_name_it(raw):
    prompts = {
        (row := json.loads(line))["key"]: row["text"] for line in (raw / "prompts.jsonl").read_text().splitlines()
    }
    assert len(prompts) == len(FACTORS["shape"]) * PROMPTS
    for shape, synonyms in zip(FACTORS["shape"], WORDS["shape"], strict=True):
        named = {word for words in synonyms for word in words}
        texts = [text for key, text in prompts.items() if key.rsplit("-", 1)[0] == shape]
        assert len(texts) == PROMPTS and all(named & set(text.split()) for text in texts)


def test_settings_are_checked(tmp_path):
    path = tmp_path / "params.yaml"
    with pytest.raises(UserError, match="does not exist"):
        read_params(path)
    path.write_text("seed: 0\nthreads: 1\nsizes: {photos: 0}\n")
    with pytest.raises(UserError, match="sizes"):
        read_params(path)


def test_a_smaller_world_removes_its_own_files_and_nobody_elses(tmp_path, caplog):
    write_world(tmp_path, tmp_path / "scenes.parquet", 5, SIZES)
    own = [
        tmp_path / "photos" / "holiday.png",
        tmp_path / "sounds" / "sounds-99999.flac",
        tmp_path / "heldout" / "a.md",
    ]
    for path in own:
        path.write_bytes(b"mine")
    smaller = Sizes(photos=10, sounds=8, shapes=6, captions=20, heldout=4, pairs=2)
    write_world(tmp_path, tmp_path / "scenes.parquet", 5, smaller)
    assert all(path.read_bytes() == b"mine" and str(path) in caplog.text for path in own)
    counts = {path.name: len(list(path.iterdir())) for path in tmp_path.iterdir() if path.is_dir()}
    assert counts == {"photos": 11, "sounds": 9, "shapes": 6, "heldout": 17, "pairs": 4}
