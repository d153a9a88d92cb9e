"""Encoding: resumable, row by row accounted for, stale parts redone with a reason."""

import logging
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.encode.ahead import read_ahead
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import CorruptError, UserError
from pipeline.progress import Silent
from pipeline.report.provenance import _account
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from pipeline.store import Store, load_manifest, read_embeddings
from pipeline.store.parts import names
from stages.context import account
from tests.conftest import HashSpace, png

SPEC = SpaceSpec("hash", "nowhere")


@pytest.fixture
def shards(photos, tmp_path) -> Path:
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())
    return tmp_path / "shards"


def encode(space: HashSpace, shards: Path, folder: Path, batch_size: int = 4, max_rejected: float = 0.5):
    settings = EncodeSettings(batch_size, workers=2, max_rejected=max_rejected)
    return encode_corpus(space, "hash", SPEC, shards, folder, settings, Silent())


def test_every_row_is_the_embedding_of_its_own_file(photos, shards, tmp_path, hash_space):
    encode(hash_space, shards, tmp_path / "out")
    keys, embeddings = read_embeddings([tmp_path / "out" / "image"])
    assert keys == sorted(path.stem for path in photos.iterdir())
    for key, row in zip(keys, embeddings, strict=True):
        tensor = hash_space.preprocess("image", (photos / f"{key}.png").read_bytes())
        np.testing.assert_allclose(row, tensor / np.linalg.norm(tensor), atol=1e-7)


@pytest.mark.parametrize("parts_in_a_folder", [1000, 2])
def test_pandas_opens_the_store_without_our_code(shards, tmp_path, hash_space, monkeypatch, parts_in_a_folder):
    monkeypatch.setattr(names, "PER_FOLDER", parts_in_a_folder)
    encode(hash_space, shards, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "image")  # the whole folder at once
    matrix = np.frombuffer(b"".join(table.embedding), "<f4").reshape(len(table), -1)
    keys, embeddings = read_embeddings([tmp_path / "out" / "image"])
    assert list(table.key) == keys
    np.testing.assert_array_equal(matrix, embeddings)


def test_second_run_computes_nothing(shards, tmp_path, hash_space):
    assert encode(hash_space, shards, tmp_path / "out")["image"][1] == 3
    hash_space.encoded.clear()
    assert encode(hash_space, shards, tmp_path / "out")["image"][1] == 0
    assert not hash_space.encoded


def test_ten_new_files_encode_one_new_shard(photos, shards, tmp_path, hash_space):
    encode(hash_space, shards, tmp_path / "out")
    for number in range(10):
        (photos / f"new{number}.png").write_bytes(png(100 + number))
    build_shards(photos, shards, ShardSettings(("image",), 10, "error", 0.5), Silent())
    hash_space.encoded.clear()
    assert encode(hash_space, shards, tmp_path / "out")["image"][1] == 1
    assert len(hash_space.encoded) == 10


def test_a_run_that_dies_continues_at_the_last_committed_part(shards, tmp_path, tree_bytes):
    class Dying(HashSpace):
        computed = 0

        def encode(self, modality, batch):
            self.computed += len(batch)
            if self.computed > 14:
                raise MemoryError
            return super().encode(modality, batch)

    dying, undisturbed = tmp_path / "dying", tmp_path / "undisturbed"
    with pytest.raises(MemoryError):
        encode(Dying(), shards, dying)
    assert len(load_manifest(dying / "image").parts) == 1
    with pytest.raises(UserError, match="unfinished"):
        Store.open(dying / "image")
    again = HashSpace()
    assert encode(again, shards, dying)["image"][1] == 2
    assert len(again.encoded) == 15
    encode(HashSpace(), shards, undisturbed)
    assert tree_bytes(dying) == tree_bytes(undisturbed)


def test_another_kind_of_device_adds_no_part_and_redoes_none(shards, tmp_path, tree_bytes):
    """A run that died on a CPU is not finished on a GPU, whose last bits differ; one that was finished stays valid."""

    class Dying(HashSpace):
        computed = 0

        def encode(self, modality, batch):
            self.computed += len(batch)
            if self.computed > 14:
                raise MemoryError
            return super().encode(modality, batch)

    def on(device: str, space: HashSpace) -> int:
        settings = EncodeSettings(4, workers=2, max_rejected=0.5, device=device)
        return encode_corpus(space, "hash", SPEC, shards, tmp_path / "out", settings, Silent())["image"][1]

    with pytest.raises(MemoryError):
        on("cpu", Dying())
    before, idle = tree_bytes(tmp_path), HashSpace()
    with pytest.raises(UserError, match="partly computed with cpu fp32.*parts computed with cuda fp32"):
        on("cuda", idle)
    assert tree_bytes(tmp_path) == before and not idle.encoded, "it is said before anything is computed"
    assert on("cpu", HashSpace()) > 0
    assert on("cuda", idle) == 0 and not idle.encoded
    assert {part.arithmetic for part in load_manifest(tmp_path / "out" / "image").parts} == {"cpu fp32"}


@pytest.mark.parametrize("fits", [1, 3, 7])
def test_what_does_not_fit_into_memory_is_halved_and_every_row_stays(shards, tmp_path, caplog, fits):
    failed: list[int] = []

    class Small(HashSpace):
        def encode(self, modality, batch):
            if len(batch) > fits:
                failed.append(len(batch))
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return super().encode(modality, batch)

    encode(HashSpace(), shards, tmp_path / "undisturbed", batch_size=8)
    manifest, _ = encode(Small(), shards, tmp_path / "out", batch_size=8)["image"]
    assert (manifest.rows, manifest.rejected) == (25, 0)
    (keys_a, a), (keys_b, b) = (read_embeddings([tmp_path / name / "image"]) for name in ("out", "undisturbed"))
    assert keys_a == keys_b
    np.testing.assert_allclose(a, b, atol=1e-7)  # batches of other sizes may round differently
    assert failed == {1: [8, 4, 2], 3: [8, 4], 7: [8]}[fits], "the size is remembered, not tried again"
    assert "8 image samples do not fit into the memory of the device; continuing with 4 at a time" in caplog.text


def test_a_device_too_small_for_one_sample_is_one_clear_error(shards, tmp_path):
    class Full(HashSpace):
        def encode(self, modality, batch):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(UserError, match="A single image sample does not fit"):
        encode(Full(), shards, tmp_path / "out")


def test_reading_ahead_ends_with_the_job_and_brings_errors_in_their_place(tmp_path):
    def source():
        yield from range(3)
        raise CorruptError("late")

    items = read_ahead(source(), depth=8)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CorruptError, match="late"):
        next(items)
    taken = []
    endless = read_ahead((taken.append(number) or number for number in count()), depth=4)
    assert next(endless) == 0
    endless.close()
    assert len(taken) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_where_the_time_went_is_told(shards, tmp_path, hash_space):
    class Spent(Silent):
        def __init__(self):
            self.seconds, self.done, self.total = Counter(), 0, 0

        def start(self, task, total, unit):
            self.total += total

        def advance(self, count, **seconds):
            self.done += count
            self.seconds.update(seconds)

    class Slow(HashSpace):
        def preprocess(self, modality, payload):
            time.sleep(0.01)
            return super().preprocess(modality, payload)

        def encode(self, modality, batch):
            time.sleep(0.02 * len(batch))
            return super().encode(modality, batch)

    spent = Spent()
    started = time.perf_counter()
    encode_corpus(Slow(), "hash", SPEC, shards, tmp_path / "out", EncodeSettings(4, 2, 0.5), spent)
    wall = time.perf_counter() - started
    assert spent.done == spent.total == 25
    assert set(spent.seconds) == {"read", "decode", "compute", "write"}
    # Lower bounds only: a busy machine makes everything longer.
    assert 0.5 <= spent.seconds["compute"] <= wall
    assert 0.125 <= spent.seconds["decode"] <= wall, "25 x 10 ms by two threads"
    again = Spent()
    encode_corpus(Slow(), "hash", SPEC, shards, tmp_path / "out", EncodeSettings(4, 2, 0.5), again)
    assert again.total == again.done == 0, "what is up to date does not count as fast work"


def test_a_changed_space_says_what_changed(shards, tmp_path, caplog):
    encode(HashSpace(1), shards, tmp_path / "out")
    with caplog.at_level(logging.INFO):
        assert encode(HashSpace(2), shards, tmp_path / "out")["image"][1] == 3
    assert "encoder.version: 1 -> 2" in caplog.text


def test_a_changed_shard_redoes_its_part_only_and_says_so(photos, shards, tmp_path, hash_space, caplog):
    encode(hash_space, shards, tmp_path / "out")
    (photos / "p015.png").write_bytes(png(300))
    build_shards(photos, shards, ShardSettings(("image",), 10, "error", 0.5), Silent())
    with caplog.at_level(logging.INFO):
        assert encode(hash_space, shards, tmp_path / "out")["image"][1] == 1
    assert "part-00001.parquet is stale: its source changed" in caplog.text


def test_bad_zero_and_non_finite_samples_are_rejected_by_key(tmp_path, hash_space):
    source = tmp_path / "texts.txt"
    lines = [f"caption {number}" for number in range(20)]
    lines[3], lines[8], lines[15] = "bad", "zero", "nan"
    source.write_text("\n".join(lines))
    build_shards(source, tmp_path / "s", ShardSettings(("text",), 7, "error", 0.5), Silent())
    manifest, _ = encode(hash_space, tmp_path / "s", tmp_path / "out")["text"]
    assert (manifest.rows, manifest.rejected) == (17, 3)
    failures = pd.read_parquet(tmp_path / "out" / "text" / "_failures.parquet").set_index("key")
    assert failures.step.to_dict() == {"00000003": "decode", "00000008": "encode", "00000015": "encode"}
    assert "zero" in failures.message["00000008"] and "finite" in failures.message["00000015"]
    with pytest.raises(UserError, match="3 of 20 samples were rejected"):
        encode(hash_space, tmp_path / "s", tmp_path / "strict", max_rejected=0.1)


def test_pictures_with_transparency_are_counted_and_said(photos, tmp_path, hash_space, capsys):
    for number, (mode, form) in enumerate(
        [("RGBA", "PNG"), ("LA", "PNG"), ("P", "GIF"), ("L", "PNG"), ("RGB", "JPEG")]
    ):
        options = {"transparency": 0} if mode == "P" else {}
        Image.new(mode, (5, 5 + number)).save(photos / f"q{number}.{form.lower()}", form, **options)
    (photos / "q9.png").write_bytes(b"\x89PNG, and no more")
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())
    encode(hash_space, tmp_path / "shards", tmp_path / "out")
    manifest = load_manifest(tmp_path / "out" / "image")
    assert [part.transparent for part in manifest.parts] == [0, 0, 3, 0]
    again, computed = encode(hash_space, tmp_path / "shards", tmp_path / "out")["image"]
    assert computed == 0 and again.parts == manifest.parts
    account("encode", "clip image", manifest, 0)
    assert "; 3 pictures have transparency;" in capsys.readouterr().out
    assert _account("encode", "clip/photos/image", manifest).reasons.endswith("3 pictures have transparency")


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_batch_size_does_not_change_rows(shards, tmp_path, hash_space, batch_size):
    encode(hash_space, shards, tmp_path / "a", batch_size=batch_size)
    encode(hash_space, shards, tmp_path / "b", batch_size=4)
    (keys_a, a), (keys_b, b) = (read_embeddings([tmp_path / name / "image"]) for name in "ab")
    assert keys_a == keys_b
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_damaged_shard_is_refused(shards, tmp_path, hash_space):
    tar = shards / "00001.tar"
    content = bytearray(tar.read_bytes())
    content[600] ^= 4
    tar.write_bytes(content)
    with pytest.raises(CorruptError, match=r"00001.tar is damaged"):
        encode(hash_space, shards, tmp_path / "out")


def test_a_space_without_the_modality_is_one_clear_error(shards, tmp_path, hash_space):
    hash_space.modalities = ("audio",)
    with pytest.raises(UserError, match="embeds audio"):
        encode(hash_space, shards, tmp_path / "out")
