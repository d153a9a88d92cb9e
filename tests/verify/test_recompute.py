"""Rows computed again agree with the store, and differ when anything that they are made of differs."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import CorruptError, UserError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from pipeline.store import Store, load_manifest
from pipeline.verify.recompute import recompute, recorded_spec
from tests.conftest import HashSpace, png

SPEC = SpaceSpec("hash", "nowhere", options={"a": 1})


@pytest.fixture
def made(photos: Path, tmp_path: Path) -> tuple[Store, Path]:
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())
    settings = EncodeSettings(4, 1, 0.5)
    encode_corpus(HashSpace(), "hash", SPEC, tmp_path / "shards", tmp_path / "out", settings, Silent())
    return Store.open(tmp_path / "out" / "image"), tmp_path / "shards"


@pytest.mark.parametrize(("count", "rows"), [(1, ["p000"]), (3, ["p000", "p012", "p024"]), (99, None)])
def test_the_same_space_agrees_and_the_rows_are_evenly_spread(made, photos, hash_space, count, rows, monkeypatch):
    from pipeline.hashing import sha256_bytes

    monkeypatch.setattr("pipeline.spaces.apart.POSSIBLE", False)  # so that what is prepared is seen in this process
    found = recompute(*made, hash_space, count)
    assert found.agrees and found.largest < 1e-6 and found.cosine == pytest.approx(1)
    assert found.changed == []
    expected = [sha256_bytes(path.read_bytes()) for path in sorted(photos.iterdir()) if not rows or path.stem in rows]
    assert hash_space.encoded == expected


def test_another_checkpoint_differs_and_the_reason_is_named(made):
    found = recompute(*made, HashSpace(version=2), 5)
    assert not found.agrees and found.largest > 0.1 and found.cosine < 0.9
    assert found.changed == ["version: 1 -> 2"]


def test_one_wrong_row_is_found(made, hash_space, monkeypatch):
    """A row is changed within its space's rounding or beyond it: only the second is an error."""
    preprocess = hash_space.preprocess
    for change, agrees in ((1e-6, True), (1e-2, False)):

        def changed(modality, payload, change=change):
            tensor = preprocess(modality, payload)
            return tensor / tensor.norm() + (change if payload == png(12) else 0)

        monkeypatch.setattr(hash_space, "preprocess", changed)
        found = recompute(*made, hash_space, 25)
        assert found.agrees == agrees and found.worst == "p012"


def test_a_sample_that_cannot_be_used_any_more_does_not_agree(made, hash_space, monkeypatch):
    monkeypatch.setattr(HashSpace, "encode", lambda self, modality, batch: batch * np.nan)
    assert not recompute(*made, hash_space, 3).agrees


def test_shards_that_changed_or_are_damaged(made, photos, hash_space):
    store, shards = made
    tar = shards / load_manifest(shards).parts[0].name
    content = tar.read_bytes()
    tar.write_bytes(content[:-512])
    with pytest.raises(CorruptError, match="damaged"):
        recompute(store, shards, hash_space, 25)
    tar.write_bytes(content)
    (photos / "p003.png").write_bytes(png(700))
    build_shards(photos, shards, ShardSettings(("image",), 10, "error", 0.5), Silent())
    with pytest.raises(UserError, match="no longer holds"):
        recompute(store, shards, hash_space, 25)


def test_the_space_is_the_one_that_the_store_names(made):
    assert recorded_spec(made[0]) == SPEC
    made[0].manifest.fingerprint["encoder"] = {"unverified": True}
    with pytest.raises(UserError, match="was imported"):
        recorded_spec(made[0])
