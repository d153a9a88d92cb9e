"""`batch_size: auto`: found out once, recorded, used again, and never a reason to compute anything anew."""

from types import SimpleNamespace

import pytest
import torch

from pipeline.encode import batch_size, job
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import UserError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from pipeline.store.manifest import load_manifest
from pipeline.store.parts.folder import PartFolder
from pipeline.store.parts.run import ALONE, Execution
from pipeline.store.parts.share import Share
from tests.conftest import HashSpace


class Timed(HashSpace):
    """A space whose pass takes a time of its own, by the number of samples, on a clock that only its passes move."""

    def __init__(self, seconds, monkeypatch):
        super().__init__()
        self.seconds, self.now = seconds, 0.0
        monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def encode(self, modality, batch):
        self.now += self.seconds(len(batch))
        return super().encode(modality, batch)


@pytest.fixture
def shards(photos, tmp_path):
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())
    return tmp_path / "shards"


def encode(space, shards, folder, size=0):
    settings = EncodeSettings(size, 2, 0.5)
    return encode_corpus(space, "h", SpaceSpec("hash", "x"), shards, folder, settings, Silent())["image"]


def test_a_second_run_takes_what_the_first_one_found(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "find_batch_size", lambda *_: 7)
    manifest, computed = encode(HashSpace(), shards, tmp_path / "store")
    assert manifest.fingerprint["batch_size"] == 7 and computed == 3
    monkeypatch.setattr(job, "find_batch_size", lambda *_: pytest.fail("looked again"))
    assert encode(HashSpace(), shards, tmp_path / "store")[1] == 0
    # Whoever writes the number finds the same embeddings, and the other way round.
    assert encode(HashSpace(), shards, tmp_path / "store", 7)[1] == 0
    assert encode(HashSpace(), shards, tmp_path / "store", 5)[1] == 3
    assert encode(HashSpace(), shards, tmp_path / "store")[0].fingerprint["batch_size"] == 5


def test_what_a_killed_run_recorded_counts(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "find_batch_size", lambda *_: 6)
    adopt, adopted = PartFolder.adopt, []

    def killed(folder, record):
        if adopted:
            raise KeyboardInterrupt
        adopted.append(record)
        return adopt(folder, record)

    monkeypatch.setattr(PartFolder, "adopt", killed)
    with pytest.raises(KeyboardInterrupt):
        encode(HashSpace(), shards, tmp_path / "store")
    monkeypatch.setattr(PartFolder, "adopt", adopt)
    monkeypatch.setattr(job, "find_batch_size", lambda *_: 9)
    manifest, computed = encode(HashSpace(), shards, tmp_path / "store")
    assert manifest.fingerprint["batch_size"] == 6 and computed == 2


@pytest.mark.parametrize(("engine", "share", "device"), [(None, Share(1, 2), "cpu"), (object(), Share(), "cuda")])
def test_processes_that_share_the_work_do_not_find_out_each_for_itself(shards, tmp_path, engine, share, device):
    execution = Execution(engine or ALONE.engine, share)
    settings = EncodeSettings(0, 2, 0.5, device)
    with pytest.raises(UserError, match="no batch size yet"):
        encode_corpus(HashSpace(), "h", SpaceSpec("hash", "x"), shards, tmp_path, settings, Silent(), execution)


@pytest.mark.parametrize("damage", ["manifest", "other space"])
def test_what_another_space_or_a_damaged_manifest_says_does_not_count(shards, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(job, "find_batch_size", lambda *_: 7)
    encode(HashSpace(), shards, tmp_path / "store")
    if damage == "manifest":
        next((tmp_path / "store").rglob("_manifest.json")).write_text("{")
    else:
        monkeypatch.setattr(HashSpace, "fingerprint", lambda self, modality: {"family": "another"})
    monkeypatch.setattr(job, "find_batch_size", lambda *_: 9)
    assert encode(HashSpace(), shards, tmp_path / "store")[0].fingerprint["batch_size"] == 9


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        (lambda size: 0.02 * size, 8),  # nothing is gained by more
        (lambda size: 0.2 + 0.001 * min(size, 64) + 0.02 * max(size - 64, 0), 64),
        (lambda size: 0.1, 4096),  # the more the better
        (lambda size: 0.9, 128),  # until patience ends: two passes of 8 samples, one of 16, 32, 64 and 128
    ],
    ids=["slow", "a knee at 64", "free", "out of patience"],
)
def test_the_smallest_batch_that_comes_near_the_highest_rate(shards, monkeypatch, seconds, size):
    space = Timed(seconds, monkeypatch)
    parts = load_manifest(shards).parts
    assert batch_size.find_batch_size(space, "image", shards, parts, "threads") == size


def test_memory_ends_the_search(shards, monkeypatch):
    def seconds(size):
        if size > 32:
            raise torch.OutOfMemoryError("no more")
        return 0.05

    parts = load_manifest(shards).parts
    assert batch_size.find_batch_size(Timed(seconds, monkeypatch), "image", shards, parts, "threads") == 32


def test_a_corpus_without_a_usable_sample_has_a_size_as_well(photos, tmp_path):
    for path in photos.iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\nbad" + bytes(40))  # HashSpace decodes what is not called bad
    (photos / "good.txt").write_text("x")
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 1.0), Silent())
    parts = load_manifest(tmp_path / "shards").parts
    space = HashSpace()
    assert batch_size.find_batch_size(space, "image", tmp_path / "shards", parts, "threads") == batch_size.UNKNOWN
    assert not space.encoded
