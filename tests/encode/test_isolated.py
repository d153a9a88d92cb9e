"""A decoder that crashes, hangs or takes all memory: a reject by key, and every other row is there."""

import ctypes
import os
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.decode.isolated import POSSIBLE, Limits
from pipeline.encode import decoders
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.encode.prepare import prepared_chunks
from pipeline.encode.slots import Run, Slots
from pipeline.errors import SampleError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from pipeline.store import PartFolder, read_embeddings
from pipeline.store.shards import SHARDS, ShardSample, write_shard
from tests.conftest import HashSpace, png

HARM = {
    "crash0": lambda: ctypes.string_at(0),
    "crash1": os.abort,
    "crash2": lambda: ctypes.string_at(8),
    "hang0": lambda: time.sleep(1000),
    "hang1": lambda: any(iter(int, 1)),
    "hang2": lambda: os.read(os.pipe()[0], 1),
    "memory0": lambda: bytearray(1 << 45),
    "memory1": lambda: np.ones(1 << 30),
    "memory2": lambda: [np.empty(1 << 21) for _ in iter(int, 1)],
}


class Harmed(HashSpace):
    """A space whose decoder does harm to some files."""

    def __init__(self, harmful):
        super().__init__()
        self.harmful = harmful

    def preprocess(self, modality, payload):
        if name := self.harmful.get(payload):
            HARM[name]()
        return super().preprocess(modality, payload)


def corpus(folder: Path) -> tuple[Path, dict[bytes, str]]:
    """40 pictures in shards of 15, some of which do harm."""
    raw = folder / "raw"
    raw.mkdir()
    for number in range(31):
        (raw / f"good{number:02d}.png").write_bytes(png(number))
    harmful = {png(100 + number): name for number, name in enumerate(HARM)}
    for content, name in harmful.items():
        (raw / f"{'az'[len(name) % 2]}-{name}.png").write_bytes(content)
    build_shards(raw, folder / "shards", ShardSettings(("image",), 15, "error", 0.5), Silent())
    return folder / "shards", harmful


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
def test_crash_hang_and_hunger_are_rejects_by_key(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "LIMITS", Limits(1.0, 1 << 28))
    shards, harmful = corpus(tmp_path)
    settings = EncodeSettings(8, 2, 0.5, decode="auto")
    manifest, _ = encode_corpus(
        Harmed(harmful), "h", SpaceSpec("hash", "x"), shards, tmp_path / "out", settings, Silent()
    )["image"]
    assert (manifest.rows, manifest.rejected) == (31, 9)
    keys, found = read_embeddings([tmp_path / "out" / "image"])
    assert sorted(keys) == [f"good{number:02d}" for number in range(31)]
    failures = pd.read_parquet(tmp_path / "out" / "image" / "_failures.parquet")
    assert sorted(key[2:] for key in failures.key) == sorted(HARM)
    for key, message in zip(failures.key, failures.message, strict=True):
        assert {"c": "crashed", "h": "still busy after 1 s", "m": "more than 256 MB"}[key[2]] in message
    encode_corpus(HashSpace(), "h", SpaceSpec("hash", "x"), shards, tmp_path / "plain", settings, Silent())
    everything = dict(zip(*read_embeddings([tmp_path / "plain" / "image"]), strict=True))
    for key, row in zip(keys, found, strict=True):
        np.testing.assert_array_equal(row, everything[key])


def test_threads_report_what_a_thread_can(tmp_path):
    class Hungry(HashSpace):
        def preprocess(self, modality, payload):
            if payload == png(3):
                raise MemoryError
            if payload == png(5):
                raise SampleError("decode", "no good")
            return super().preprocess(modality, payload)

    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(9):
        (raw / f"p{number}.png").write_bytes(png(number))
    build_shards(raw, tmp_path / "shards", ShardSettings(("image",), 5, "error", 0.5), Silent())
    settings = EncodeSettings(4, 2, 0.5, decode="threads")
    encode_corpus(Hungry(), "h", SpaceSpec("hash", "x"), tmp_path / "shards", tmp_path / "out", settings, Silent())
    failures = pd.read_parquet(tmp_path / "out" / "image" / "_failures.parquet")
    assert dict(zip(failures.key, failures.message, strict=True)) == {
        "p3": "the decoder asks for more memory than there is",
        "p5": "no good",
    }


def test_stores_have_the_same_bytes_wherever_samples_are_decoded(photos, tmp_path, tree_bytes):
    (photos / "p003.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())
    for where in ("threads", "processes") if POSSIBLE else ("threads", "auto"):
        settings = EncodeSettings(4, 2, 0.5, decode=where)
        encode_corpus(
            HashSpace(), "h", SpaceSpec("hash", "x"), tmp_path / "shards", tmp_path / where, settings, Silent()
        )
    assert tree_bytes(tmp_path / "threads") == tree_bytes(tmp_path / "processes")


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
@pytest.mark.parametrize("good", [1, 17, 64])
def test_many_rejects_in_a_row_leave_room_for_what_follows(tmp_path, good):
    """More of them than there are slots, while a batch is half full."""

    class Refusing(HashSpace):
        def preprocess(self, modality, payload):
            if payload == b"bad":
                raise SampleError("decode", "no good")
            return super().preprocess(modality, payload)

    keys = [f"{number:04d}" for number in range(1000)]
    rejected = keys[good:-5]
    samples = [ShardSample(key, {"png": b"bad" if good <= int(key) < 995 else png(int(key))}) for key in keys]
    shards = PartFolder(tmp_path / "shards", SHARDS, {"modalities": ["image"]})
    shards.commit("00000.tar", "00000.tar", keys, [], lambda path: write_shard(path, samples))
    shards.finish(0)
    settings, spec = EncodeSettings(64, 2, 1.0, decode="processes"), SpaceSpec("hash", "x")
    encode_corpus(Refusing(), "h", spec, tmp_path / "shards", tmp_path / "out", settings, Silent())
    assert sorted(read_embeddings([tmp_path / "out/image"])[0]) == sorted(set(keys) - set(rejected))
    assert list(pd.read_parquet(tmp_path / "out/image/_failures.parquet").key) == rejected


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
def test_nothing_is_opened_in_the_process_of_the_stage(photos, tmp_path, monkeypatch):
    """Whatever is asked of a file, such as whether it has transparency, can crash as well."""
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())
    stage, real = os.getpid(), Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: os.abort() if os.getpid() == stage else real(*a, **k))
    settings = EncodeSettings(4, 2, 0.5, decode="processes")
    manifest, _ = encode_corpus(
        HashSpace(), "h", SpaceSpec("hash", "x"), tmp_path / "shards", tmp_path / "out", settings, Silent()
    )["image"]
    assert manifest.rows == 25


class Where:
    """A space that says which process prepared a text."""

    modalities, dimension = ("text",), 1

    def preprocess(self, modality, payload):
        return torch.tensor([os.getpid()])


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
@pytest.mark.parametrize(("device", "here"), [("cpu", True), ("cuda", False)])
def test_texts_are_prepared_in_processes_if_a_gpu_embeds_them(tmp_path, monkeypatch, device, here):
    monkeypatch.setattr(Slots, "_pin", lambda self: None)  # there is no GPU to copy from it
    (raw := tmp_path / "raw").mkdir()
    for number in range(40):
        (raw / f"{number}.txt").write_text(f"caption {number}")
    shards, _ = build_shards(raw, tmp_path / "shards", ShardSettings(("text",), 20, "error", 0.5), Silent())
    with closing(prepared_chunks(Where(), "text", tmp_path / "shards", shards.parts, 2, 8, "auto", device)) as chunks:
        samples = [chunk.samples for chunk in chunks]
        pieces = [piece for each in samples for piece in (each if isinstance(each, tuple) else [each])]
        found = {int(row) for each in pieces for row in (each.rows() if isinstance(each, Run) else torch.stack(each))}
    assert (found == {os.getpid()}) == here
