"""Items with several captions, from rows to R@1; and sets in which a picture stands under several keys."""

import io
import json
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import SampleError, UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.sets.items import load_set
from pipeline.evaluate.settings import EvaluateSettings, RetrievalTask
from pipeline.progress import Silent
from pipeline.shard.build import settings_of
from pipeline.shard.settings import CorpusSettings
from pipeline.spaces import SpaceSpec
from pipeline.store import load_manifest, read_embeddings
from tests.shard.makers import picture, shards, sound

ITEMS = 12


class ItemSpace:
    """A space that tells items apart without error: by the grey of a picture, by the number in a caption."""

    modalities = ("text", "image")
    dimension = 64

    def fingerprint(self, modality: str) -> dict[str, object]:
        return {"family": "items", "modality": modality}

    def preprocess(self, modality: str, payload: bytes) -> torch.Tensor:
        if modality == "image":
            number = int(np.asarray(Image.open(io.BytesIO(payload)))[0, 0, 0])
        else:
            number = int(payload.split()[1])
        if number >= 200:
            raise SampleError("decode", "no such item")
        return torch.tensor(np.random.default_rng(number).standard_normal(self.dimension), dtype=torch.float32)

    def encode(self, modality: str, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(batch, dim=-1)


def grey(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 7, 7)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def flickr(tmp_path):
    """Pictures with five rows each, as Flickr's captions files have them."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(ITEMS):
        (folder / f"pic {number}.png").write_bytes(grey(number))
    rows = [(f"pic {number}.png", f"item {number} said {again}") for number in range(ITEMS) for again in range(5)]
    pd.DataFrame(rows, columns=["image", "caption"]).to_csv(folder / "captions.csv", index=False)
    return folder / "captions.csv"


def test_rows_of_one_item_are_one_item_with_several_captions(flickr, tmp_path):
    options = {"path_column": "image", "item_column": "image"}
    samples, rejected, manifest = shards(flickr, tmp_path / "out", "image", "text", options=options)
    pictures = {key: one for key, one in samples.items() if "png" in one}
    captions = {key: one for key, one in samples.items() if "txt" in one}
    assert len(pictures) == ITEMS and len(captions) == 5 * ITEMS and not rejected
    assert sorted(one["png"] for one in pictures.values()) == sorted(map(grey, range(ITEMS)))
    assert {key.rpartition("-")[0] for key in captions} == set(pictures)
    assert manifest.rows == 6 * ITEMS and not manifest.not_read
    only, _, manifest = shards(flickr, tmp_path / "out2", "image", options=options)
    assert only == pictures and manifest.not_read == {"further rows of an item": 4 * ITEMS}
    texts, _, _ = shards(flickr, tmp_path / "out3", "text", options=options)
    assert texts == captions


def encoded(folder, tmp_path):
    settings = EncodeSettings(7, 1, 0.0)
    return encode_corpus(
        ItemSpace(), "s", SpaceSpec("compact", "x"), folder, tmp_path / "emb" / "s" / "c", settings, Silent()
    )


def test_the_captions_of_an_item_are_all_right_answers(flickr, tmp_path):
    """R@1 is 1 in both directions, over as many pictures as there are."""
    options = {"path_column": "image", "item_column": "image"}
    shards(flickr, tmp_path / "c", "image", "text", options=options, samples_per_shard=8)
    made = encoded(tmp_path / "c", tmp_path)
    assert made["image"][0].rows == ITEMS and made["image"][0].not_read == {"samples without image": 5 * ITEMS}
    assert made["text"][0].rows == 5 * ITEMS and made["text"][0].not_read == {"samples without text": ITEMS}
    task = RetrievalTask(task="retrieval", corpus="c", modalities=("image", "text"), space="s", item_separator="-")
    found = load_set(task, (["s"], ["s"]), Folders(tmp_path / "emb", tmp_path, tmp_path, tmp_path))
    pictures, captions = found.sides
    assert (len(pictures.keys), len(captions.keys)) == (ITEMS, 5 * ITEMS)
    products = pictures.embeddings["s"] @ captions.embeddings["s"].T
    assert (captions.groups[products.argmax(1)] == pictures.groups).all()  # R@1 = 1.0, image -> text
    assert (pictures.groups[products.argmax(0)] == captions.groups).all()  # and text -> image
    settings = EvaluateSettings(tasks={"t": task}, bootstrap=20, recall_at=(1, 5))
    evaluate(settings, Folders(tmp_path / "emb", tmp_path, tmp_path, tmp_path / "metrics"), {}, 0)
    metrics = pd.read_parquet(tmp_path / "metrics/metrics.parquet").set_index(["metric", "direction"])
    for direction, queries in (("image->text", ITEMS), ("text->image", 5 * ITEMS), ("mean", ITEMS)):
        assert metrics.value["R@1", direction] == metrics.ci_low["R@1", direction] == 1.0
        assert metrics.n["R@1", direction] == queries


def test_without_the_option_the_set_is_refused_and_the_hint_names_it(flickr, tmp_path):
    with pytest.raises(UserError, match="60 items share 12 image files") as error:
        shards(flickr, tmp_path / "out", "image", "text", options={"path_column": "image"})
    assert "item_column" in error.value.hint and "repeated: keep" in error.value.hint
    assert not load_manifest(tmp_path / "out").complete
    kept = shards(flickr, tmp_path / "out", "image", "text", options={"path_column": "image"}, keep_repeated=True)[2]
    assert kept.rows == 5 * ITEMS and kept.complete


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_copies_in_unpaired_corpora_are_only_reported(tmp_path, modality, caplog):
    (tmp_path / "in").mkdir()
    content = picture(1) if modality == "image" else sound(1)
    for name in "abc":
        (tmp_path / "in" / f"{name}.{'png' if modality == 'image' else 'flac'}").write_bytes(content)
    assert len(shards(tmp_path / "in", tmp_path / "out", modality)[0]) == 3
    assert "2 samples hold the same bytes" in caplog.text


def test_equal_captions_of_different_items_are_counted_and_no_reason_to_stop(tmp_path, caplog):
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"k{number}.png").write_bytes(picture(number))
        (tmp_path / "in" / f"k{number}.txt").write_text("the same words")
    with caplog.at_level(logging.INFO):
        assert len(shards(tmp_path / "in", tmp_path / "out", "image", "text")[0]) == 4
    assert "4 items share 1 captions (such as k0, k1, k2); they are kept" in caplog.text


@pytest.mark.parametrize("repeated", ["image", "audio"])
def test_repeats_are_found_in_each_modality(tmp_path, repeated, caplog):
    (tmp_path / "in").mkdir()
    for number in range(4):
        seed = {"image": number, "audio": number, repeated: number // 2}
        (tmp_path / "in" / f"k{number}.png").write_bytes(picture(seed["image"]))
        (tmp_path / "in" / f"k{number}.flac").write_bytes(sound(seed["audio"]))
    with pytest.raises(UserError, match=f"4 items share 2 {repeated} files"):
        shards(tmp_path / "in", tmp_path / "out", "image", "audio")
    shards(tmp_path / "in", tmp_path / "out", "image", "audio", keep_repeated=True)
    assert f"4 items share 2 {repeated} files" in caplog.text


def test_items_of_jsonl_and_parquet_and_rows_that_do_not_fit(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(grey(number))
    rows = [
        {"id": 7, "path": "0.png", "text": "item 0"}, {"id": 7, "path": "0.png", "text": "item 0 again"},
        {"id": 7, "path": "1.png", "text": "another picture"}, {"id": None, "path": "2.png", "text": "no item"},
        {"id": 8, "path": "2.png", "text": None}, {"id": 8, "path": "2.png", "text": "item 2"},
    ]  # fmt: skip
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    expected = {
        "7": {"png": grey(0)}, "7-0": {"txt": b"item 0"}, "7-1": {"txt": b"item 0 again"},
        "8": {"png": grey(2)}, "8-0": {"txt": b"item 2"},
    }  # fmt: skip
    for name in ("m.jsonl", "m.parquet"):
        options = {"item_column": "id"}
        samples, rejected, _ = shards(tmp_path / name, tmp_path / f"out-{name}", "image", "text", options=options)
        assert samples == expected
        assert sorted(rejected) == ["row.3", "row.4", "row.5"]
        assert "another file than the first row" in rejected["row.3"]


def test_pictures_in_cells_are_items_too(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": grey(number // 3), "path": f"{number // 3}.png"} for number in range(9)]
    table = pa.table({"image": pa.array(cells, kind), "caption": [f"item {n // 3} said {n}" for n in range(9)],
                      "image_id": [n // 3 for n in range(9)]})  # fmt: skip
    pq.write_table(table, tmp_path / "d.parquet")
    options = {"item_column": "image_id"}
    samples, _, _ = shards(tmp_path / "d.parquet", tmp_path / "out", "image", "text", options=options)
    assert [key for key, one in samples.items() if "png" in one] == ["0", "1", "2"] and len(samples) == 12


def test_coco_keeps_all_captions_of_a_picture_if_asked(tmp_path):
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(3)]
    annotations = [{"image_id": number % 3, "caption": f"item {number % 3} said {number}"} for number in range(7)]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(grey(number))
    first, _, manifest = shards(tmp_path / "c.json", tmp_path / "a", "image", "text")
    assert len(first) == 3 and manifest.not_read == {"further captions": 4}
    every, _, manifest = shards(tmp_path / "c.json", tmp_path / "b", "image", "text", options={"captions": "all"})
    assert set(every) == {"0", "0-0", "0-1", "0-2", "1", "1-0", "1-1", "2", "2-0", "2-1"} and not manifest.not_read


def test_settings_say_it(tmp_path):
    corpus = CorpusSettings(source="x", modalities=("image", "text"), item_column="image", repeated="keep")
    settings, options = settings_of(corpus, 0.1)
    assert settings.keep_repeated and options.item_column == "image"


def test_a_part_of_captions_only_makes_an_empty_part_of_pictures(flickr, tmp_path):
    """Nothing that reads a store minds a part without rows."""
    options = {"path_column": "image", "item_column": "image"}
    shards(flickr, tmp_path / "c", "image", "text", options=options, samples_per_shard=2)
    made = encoded(tmp_path / "c", tmp_path)
    assert {part.rows for part in made["image"][0].parts} == {0, 1}
    keys, rows = read_embeddings([tmp_path / "emb" / "s" / "c" / "image"])
    assert len(keys) == ITEMS and rows.shape == (ITEMS, 64)


def test_a_task_that_takes_copies_from_a_corpus_of_pictures_stops(flickr, tmp_path, caplog):
    """A corpus of one modality may hold copies; as an evaluation set, they are wrong answers for each other."""
    keys = {"path_column": "image", "key_column": "n"}
    table = pd.read_csv(flickr)
    table.insert(0, "n", [f"r{number}" for number in range(len(table))])
    table.to_csv(flickr, index=False)
    shards(flickr, tmp_path / "c", "image", options=keys)
    shards(flickr, tmp_path / "t", "text", options=keys)
    encoded(tmp_path / "c", tmp_path)
    settings = EncodeSettings(7, 1, 0.0)
    place = tmp_path / "emb" / "s" / "t"
    encode_corpus(ItemSpace(), "s", SpaceSpec("compact", "x"), tmp_path / "t", place, settings, Silent())
    task = RetrievalTask(task="retrieval", corpus="c", corpora={"text": "t"}, modalities=("image", "text"), space="s")
    folders = Folders(tmp_path / "emb", tmp_path, tmp_path, tmp_path)
    with pytest.raises(UserError, match="c: 48 image items look exactly like another") as error:
        load_set(task, (["s"], ["s"]), folders)
    assert "item_column" in error.value.hint and "repeated: keep" in error.value.hint
    assert load_set(task.model_copy(update={"repeated": "keep"}), (["s"], ["s"]), folders).items == 60
    assert "c: 48 image items look exactly like another" in caplog.text
