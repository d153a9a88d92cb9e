"""One caption in each line of a `.txt`.

The layout is that of the tars of the hub's organisation clip-benchmark: members `s0000000.webp` and `s0000000.txt`, the
captions of a picture one in each line. LAION's CLIP_benchmark writes the names in clip_benchmark/webdataset_builder.py,
splits the text by `str.splitlines` in `build_wds_dataset`, and counts a query as answered if any right row is among the
first k (clip_benchmark/metrics/zeroshot_retrieval.py). A COCO picture has five captions, a few have six or seven.
"""

import logging

import numpy as np
import pytest

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import UserError
from pipeline.evaluate import run as evaluation
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.progress import Silent
from pipeline.spaces import SpaceSpec
from pipeline.store import read_embeddings
from tests.conftest import HashSpace
from tests.shard.makers import picture, shards, tar

LINES = [5, 5, 6, 5, 5, 7, 5, 5, 5]
BY_LINES = {"captions": "all", "caption_lines": True}


def captions(number: int) -> list[str]:
    return [f"Picture {number}, said in way {way}." for way in range(LINES[number])]


@pytest.fixture
def source(tmp_path):
    """Two tars; CLIP_benchmark's files end without a line end, other programs' with one."""
    folder = tmp_path / "test"
    folder.mkdir()
    for number, part in enumerate((range(5), range(5, len(LINES)))):
        members = []
        for sample in part:
            text = "\n".join(captions(sample)) + "\n" * (sample % 2)
            members += [(f"s{sample:07d}.webp", picture(sample, "WEBP")), (f"s{sample:07d}.txt", text.encode())]
        tar(folder / f"{number}.tar", members)
    (folder / "nshards.txt").write_text("2\n")
    return f"{folder}/{{0..1}}.tar"


def test_recall_as_the_published_program_counts_it(source, tmp_path):
    samples, rejected, _ = shards(source, tmp_path / "shards" / "coco", "image", "text", options=BY_LINES)
    assert not rejected
    assert {key: one["txt"].decode() for key, one in samples.items() if "txt" in one} == {
        f"s{number:07d}-{way}": text for number in range(len(LINES)) for way, text in enumerate(captions(number))
    }
    stores, space = tmp_path / "embeddings", HashSpace()
    spec, how = SpaceSpec("hash", "none"), EncodeSettings(16, 1, 0.0)
    encode_corpus(space, "hash", spec, tmp_path / "shards" / "coco", stores / "hash" / "coco", how, Silent())
    task = {"task": "retrieval", "corpus": "coco", "modalities": ["image", "text"], "space": "hash"}
    settings = EvaluateSettings(recall_at=(1, 5), bootstrap=0, tasks={"coco": {**task, "item_separator": "-"}})
    folders = Folders(stores, tmp_path / "models", tmp_path / "pairs", tmp_path / "metrics")
    evaluation.evaluate(settings, folders, {}, 0)
    measured = _measured(tmp_path / "metrics")
    for (metric, direction), value in _published(stores / "hash" / "coco").items():
        assert measured[metric, direction] == pytest.approx(value, abs=1e-9), (metric, direction)
    assert measured["R@1", "image->text"] != measured["R@1", "text->image"]


def _measured(folder):
    import pandas as pd

    rows = pd.read_parquet(folder / "metrics.parquet")
    return {(row.metric, row.direction): row.value for row in rows.itertuples()}


def _published(stores):
    """R@k of both directions by the definition of CLIP_benchmark, from every score."""
    image_keys, images = read_embeddings([stores / "image"])
    text_keys, texts = read_embeddings([stores / "text"])
    scores = texts.astype(np.float64) @ images.T
    right = np.array([[text.rsplit("-", 1)[0] == image for image in image_keys] for text in text_keys])
    assert right.sum(axis=0).tolist() == LINES
    found = {}
    for direction, score, relevant in (("text->image", scores, right), ("image->text", scores.T, right.T)):
        order = np.argsort(-score, axis=1)
        for k in (1, 5):
            answered = np.take_along_axis(relevant, order[:, :k], axis=1).any(axis=1)
            found[f"R@{k}", direction] = answered.mean()
    return found


def test_the_first_line_only_and_the_rest_counted(source, tmp_path):
    options = {"captions": "first", "caption_lines": True}
    samples, _, manifest = shards(source, tmp_path / "out", "image", "text", options=options)
    assert {key: one["txt"].decode() for key, one in samples.items()} == {
        f"s{number:07d}": captions(number)[0] for number in range(len(LINES))
    }
    assert manifest.not_read["further captions"] == sum(LINES) - len(LINES)


def test_several_where_one_is_wanted_are_rejects_that_say_what_to_set(tmp_path):
    source = tar(tmp_path / "x.tar", [("a.txt", b"one\ntwo\n"), ("b.txt", b"\nonly one\n\n")])
    samples, rejected, _ = shards(source, tmp_path / "out", "text", options={"caption_lines": True})
    assert samples == {"b": {"txt": b"only one"}}
    assert rejected == {"a": "its .txt has 2 captions: set the corpus' `captions` to first or all"}


def test_bad_texts_cost_their_own_sample(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
    members = [("good.txt", b"\xef\xbb\xbfone\r\ntwo"), ("latin.txt", b"caf\xe9\nx"), ("lfs.txt", pointer)]
    source = tar(tmp_path / "x.tar", [*members, ("long.txt", b"word\n" * 20_000)])
    samples, rejected, _ = shards(source, tmp_path / "out", "text", options=BY_LINES)
    assert samples == {"good-0": {"txt": b"one"}, "good-1": {"txt": b"two"}}
    assert rejected["latin"] == "the text is not UTF-8"
    assert "pointer" in rejected["lfs"]
    assert rejected["long"] == "the text has more than 65536 bytes"


def test_in_a_folder_too(tmp_path):
    for number in range(2):
        (tmp_path / "in" / "sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "sub" / f"p{number}.png").write_bytes(picture(number))
        (tmp_path / "in" / "sub" / f"p{number}.txt").write_text("\n".join(captions(number)))
    samples, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "image", "text", options=BY_LINES)
    assert not rejected
    pictures = {key for key, one in samples.items() if "png" in one}
    assert len(pictures) == 2 and len(samples) == 2 + LINES[0] + LINES[1]
    assert {key.rsplit("-", 1)[0] for key in samples.keys() - pictures} == pictures
    texts, _, _ = shards(tmp_path / "in", tmp_path / "texts", "text", options=BY_LINES | {"kind": "folder"})
    assert set(texts) == samples.keys() - pictures


def test_where_every_text_has_several_lines_a_warning_says_what_to_set(source, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        shards(source, tmp_path / "a", "image", "text")
    assert "every .txt has several lines (s0000000 has 5)" in caplog.text and "`caption_lines: true`" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        shards(source, tmp_path / "b", "image", "text", options=BY_LINES)
        one = tar(tmp_path / "one.tar", [("a.txt", b"a poem\nof two lines"), ("b.txt", b"one line")])
        shards(one, tmp_path / "c", "text")
    assert not caplog.text


def test_other_kinds_of_source_have_no_lines_to_split(tmp_path):
    (tmp_path / "t.csv").write_text("key,text\na,one\n")
    with pytest.raises(UserError, match="read as table, and `caption_lines` is about"):
        shards(tmp_path / "t.csv", tmp_path / "out", "text", options=BY_LINES)
