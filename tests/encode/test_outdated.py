"""Stores of earlier versions: kept, unless one of their files is decoded otherwise now."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from pipeline.decode.earlier import VERSION
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from pipeline.store.manifest import MANIFEST_NAME, load_manifest
from tests.conftest import HashSpace
from tests.decode.test_audio import LOUD_FIRST, MP3, NOISE, saved
from tests.shard.makers import cloud, npy, picture, sound

COLOURS = np.random.default_rng(0).random((20, 3)).astype(np.float32)


def grey16() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def cut_wav() -> bytes:
    content = saved(NOISE)
    return content[: len(content) // 2]


SAME = {
    "image": ("png", [picture, lambda n: picture(n, "JPEG"), lambda n: picture(n, "WEBP")]),
    "audio": ("mp3", [lambda n: sound(n), lambda n: sound(n, "WAV"), lambda n: sound(n, "OGG"), lambda n: sound(n, "MP3")]),
    "point": ("npy", [lambda n: npy(cloud(n)), lambda n: npy(np.column_stack([cloud(n), COLOURS]))]),
}  # fmt: skip
OTHERWISE = {
    "image": [grey16()],
    "audio": [MP3["variable, loud first"], cut_wav(), saved(NOISE * 13_000, subtype="FLOAT")],
    "point": [npy(np.column_stack([cloud(1), COLOURS * 255])), npy(np.column_stack([cloud(1), cloud(2)]))],
}


class Anything(HashSpace):
    modalities = ("image", "audio", "point")


def made_by_version_0(folder):
    path = folder / MANIFEST_NAME
    content = read_sealed(path)
    for part in content["parts"]:
        assert part.pop("decoders") == VERSION
    write_sealed(path, content)


def encode(modality, tmp_path):
    settings = EncodeSettings(4, 1, 0.9)
    return encode_corpus(Anything(), "h", SpaceSpec("h", "x"), tmp_path / "s", tmp_path / "out", settings, Silent())[
        modality
    ]


@pytest.mark.parametrize("modality", SAME)
def test_a_store_of_an_earlier_version_is_kept_and_looked_through_once(modality, tmp_path, monkeypatch):
    extension, makers = SAME[modality]
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(12):
        (raw / f"f{number:02d}.{extension}").write_bytes(makers[number % len(makers)](number))
    build_shards(raw, tmp_path / "s", ShardSettings((modality,), 5, "error", 0.5), Silent())
    assert encode(modality, tmp_path)[1] == 3
    made_by_version_0(tmp_path / "out" / modality)
    manifest, computed = encode(modality, tmp_path)
    assert computed == 0 and [part.decoders for part in manifest.parts] == [VERSION] * 3
    monkeypatch.setattr("pipeline.encode.job.outdated", lambda *_: pytest.fail("looked again"))
    assert encode(modality, tmp_path)[1] == 0


@pytest.mark.parametrize(("modality", "place"), [(modality, n) for modality, odd in OTHERWISE.items() for n in range(len(odd))])  # fmt: skip
def test_only_a_part_with_a_file_that_is_decoded_otherwise_is_made_again(modality, place, tmp_path, caplog):
    extension, makers = SAME[modality]
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(12):
        (raw / f"f{number:02d}.{extension}").write_bytes(makers[number % len(makers)](number))
    (raw / f"f07.{extension}").write_bytes(OTHERWISE[modality][place])
    build_shards(raw, tmp_path / "s", ShardSettings((modality,), 5, "error", 0.5), Silent())
    encode(modality, tmp_path)  # this space decodes nothing: it accepts all, as version 0 did
    made_by_version_0(tmp_path / "out" / modality)
    with caplog.at_level(logging.INFO):
        assert encode(modality, tmp_path)[1] == 1
    assert "part-00001.parquet is stale: the sample f07 is decoded otherwise now" in caplog.text
    assert encode(modality, tmp_path)[1] == 0


def test_a_file_that_was_refused_and_is_read_now_is_encoded(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(6):
        (raw / f"f{number:02d}.mp3").write_bytes(sound(number, "MP3"))
    (raw / "f03.mp3").write_bytes(saved(LOUD_FIRST, "MP3") + b"bad")  # the bytes say so to the space
    build_shards(raw, tmp_path / "s", ShardSettings(("audio",), 3, "error", 0.5), Silent())
    manifest, _ = encode("audio", tmp_path)
    assert [len(part.rejected) for part in manifest.parts] == [0, 1]
    made_by_version_0(tmp_path / "out" / "audio")
    assert encode("audio", tmp_path)[1] == 1
    assert load_manifest(tmp_path / "out" / "audio").complete
