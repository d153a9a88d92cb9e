"""Pictures that a space decodes itself: from shards to stores as by everyone else's way, near it, and with its rejects."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.decode.isolated import POSSIBLE, Limits
from pipeline.encode.batches import stacked_batches
from pipeline.encode.decoders import PROCESSES, Decoded, Files
from pipeline.encode.device_first import DeviceFirst
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.encode.prepare import Chunk, prepared_chunks
from pipeline.errors import SampleError
from pipeline.progress import Silent
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.open_clip.space import OpenClipSpace
from pipeline.store import Manifest, Store, read_embeddings
from pipeline.store.manifest import Part
from pipeline.store.parts.folder import PartFolder
from pipeline.store.shards import SHARDS, ShardSample, open_shards, write_shard
from pipeline.testing.fake_cuda import fake_cuda
from pipeline.verify.recompute import recompute
from tests.end_to_end.test_odd_files import PICTURES, clip
from tests.spaces.open_clip.test_jpeg import picture
from tests.spaces.open_clip.test_jpeg_decoder import GOOD, OTHERS, again
from tests.spaces.open_clip.test_open_clip import tokens_of
from tests.spaces.open_clip.test_resize import model_of

__all__ = ["clip"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards with pictures of all kinds among each other, some of which nobody can decode."""
    folder = tmp_path_factory.mktemp("corpus") / "shards"
    files = [(f"good-{number:03d}", "jpg", GOOD[number % 12]) for number in range(90)]
    files += [(f"many-scans-{number}", "jpg", again(GOOD[number], progressive=True)) for number in range(5)]
    files += [(f"odd-{name.replace('.', '-')}", "jpg", content) for name, (content, _) in PICTURES.items()]
    files += [(f"other-{name.replace(' ', '-')}", "jpg", content) for name, content in OTHERS.items()]
    order = np.random.default_rng(0).permutation(len(files))
    sharded(folder, [[files[each] for each in own] for own in np.array_split(order, 2)])
    return folder


def sharded(folder: Path, shards: list[list[tuple[str, str, bytes]]]) -> None:
    """A corpus of files with their keys and endings."""
    parts = PartFolder(folder, SHARDS, {"modalities": ["image"]})
    for number, files in enumerate(shards):
        samples = [ShardSample(key, {ending: content}) for key, ending, content in files]
        keys, name = [sample.key for sample in samples], f"{number:05d}.tar"
        parts.commit(name, name, keys, [], lambda path, samples=samples: write_shard(path, samples))
    parts.finish(0)


def encoded(spec: SpaceSpec, corpus: Path, folder: Path, decode: str = "threads", workers: int = 2) -> Manifest:
    settings = EncodeSettings(48, workers, 0.5, decode=decode)
    return encode_corpus(load_space(spec), "s", spec, corpus, folder, settings, Silent())["image"][0]


@pytest.mark.parametrize("decode", ["threads", *(["processes"] if POSSIBLE else [])])
def test_all_but_the_last_digits_is_as_without_it(clip, corpus: Path, tmp_path: Path, decode: str) -> None:
    spec = clip[1]
    there = replace(spec, options={"jpeg": "device"})
    manifests = [encoded(each, corpus, tmp_path / name, decode) for each, name in ((spec, "pillow"), (there, "there"))]
    rejected = [
        sorted((one.key, one.step, one.message) for part in each.parts for one in part.rejected) for each in manifests
    ]
    assert rejected[0] == rejected[1] and len(rejected[0]) == len(OTHERS) - 3
    assert [part.keys_sha256 for part in manifests[0].parts] == [part.keys_sha256 for part in manifests[1].parts]
    assert [part.transparent for part in manifests[0].parts] == [part.transparent for part in manifests[1].parts]
    keys, by_pillow = read_embeddings([tmp_path / "pillow/image"])
    _, found = read_embeddings([tmp_path / "there/image"])
    cosines = (by_pillow * found).sum(1)
    assert cosines.mean() > 0.9995 and cosines.min() > 0.995
    plain = np.array([key.startswith(("good", "many")) for key in keys])
    assert (cosines[plain] < 1 - 1e-6).any(), "they were decoded by another way"


def test_neither_workers_nor_lists_nor_computing_again_change_a_byte(
    clip, corpus: Path, tmp_path: Path, monkeypatch
) -> None:
    spec = replace(clip[1], options={"jpeg": "device"})
    first = encoded(spec, corpus, tmp_path / "1", workers=1)
    monkeypatch.setattr("pipeline.encode.prepare.LIST", 7)
    assert encoded(spec, corpus, tmp_path / "3", workers=3).parts == first.parts
    assert recompute(Store.open(tmp_path / "1/image"), corpus, load_space(spec), 12).agrees


@pytest.mark.skipif(not POSSIBLE, reason="nothing limits a decoder's memory")
def test_thin_pictures_that_are_resized_to_huge_ones_are_rejected_alike(tmp_path: Path, monkeypatch) -> None:
    """For 224 pixels, to more than a process may hold."""
    monkeypatch.setattr("pipeline.encode.decoders.LIMITS", Limits(memory=512 << 20))
    sharded(tmp_path, [[(f"{size[0]}", "jpg", picture(*size)) for size in ((12_000, 1), (1, 12_000), (300, 200))]])
    parts, model = open_shards(tmp_path).parts, model_of(size=224)
    for way in "whole", "device":
        space = OpenClipSpace(model, tokens_of, "fp32", "cpu", {}, None, way)
        chunks = prepared_chunks(space, "image", tmp_path, parts, 1, 8, PROCESSES)
        rejected = {each.key: each.message for chunk in chunks for _, each in chunk.rejected}
        assert rejected == dict.fromkeys(("12000", "1"), "the decoder asks for more than 512 MB of memory"), way


def test_others_keep_their_places_and_rejects_their_numbers(monkeypatch) -> None:
    """Of six files the device takes three, and of the others one is rejected."""
    monkeypatch.setattr(
        "pipeline.encode.device_first.read_extents", lambda path, extents: [bytes([start]) for start, _ in extents]
    )

    def others(files: Files) -> Decoded:
        assert files.keys == ["1", "3", "4"] and files.extents[:, 0].tolist() == [1, 3, 4] and not files.run
        return Decoded([torch.tensor([1]), torch.tensor([4])], {1: SampleError("decode", "x")}, 1)

    there = lambda payloads: [None if one[0] in (1, 3, 4) else torch.tensor([one[0]]) for one in payloads]  # noqa: E731
    files = Files(Path(), list("012345"), np.array([(number, 1) for number in range(6)]), None)
    found = DeviceFirst(there, others, torch.device("cpu"))(files)
    assert [int(sample) for sample in found.samples] == [0, 1, 2, 4, 5]
    assert list(found.rejected) == [3] and found.transparent == 1


def test_on_a_gpu_all_samples_come_to_lie_there_and_their_batch_with_them(monkeypatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the model's")
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: asked.append(stream))
    monkeypatch.setattr("pipeline.encode.device_first.read_extents", lambda path, extents: [b"a", b"b", b"c"])
    with fake_cuda():
        there = lambda payloads: [torch.ones(3, 4, device="cuda"), None, torch.ones(3, 4, device="cuda")]  # noqa: E731
        others = lambda files: Decoded([torch.ones(3, 4)], {}, 0)  # noqa: E731
        files = Files(Path(), list("abc"), np.zeros((3, 2), np.int64), None)
        found: Any = DeviceFirst(there, others, torch.device("cuda"))(files)
        assert {sample.device for sample in found.samples} == {torch.device("cuda:0")} and len(found.samples) == 3
        shard = Part("00000.tar", 1, "0" * 64, "0" * 64, "s")
        [batch] = stacked_batches([Chunk(shard, files.keys, found.samples, [], 0, 0)], 8, "cuda")
        assert batch.samples.device == torch.device("cuda:0") and batch.samples.shape == (3, 3, 4)
    assert asked == ["the model's"] * 3, "their memory is used again only after it has read them"
