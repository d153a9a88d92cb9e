"""What is left to encode is what the encode stage then does."""

from pathlib import Path

import pytest

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.plan.probe import Pace, operations_per_second, probe_encode
from pipeline.plan.work import bytes_of, finished_shards, known_dimension, samples_to_encode
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from tests.conftest import HashSpace, png


@pytest.fixture
def made(photos: Path, tmp_path: Path) -> Path:
    shard(photos, tmp_path)
    return tmp_path


def shard(photos: Path, root: Path) -> None:
    build_shards(photos, root / "shards", ShardSettings(("image",), 10, "error", 0.5), Silent())


def encode(space: HashSpace, root: Path) -> int:
    space.encoded.clear()
    spec, settings = SpaceSpec("hash", "nowhere"), EncodeSettings(4, 1, 0.5)
    encode_corpus(space, "hash", spec, root / "shards", root / "hash/photos", settings, Silent())
    return len(space.encoded)


def planned(space: HashSpace, root: Path) -> tuple[int, list[str]]:
    corpus = finished_shards(root / "shards")
    assert corpus
    return samples_to_encode(corpus, root / "hash/photos/image", {"encoder": space.fingerprint("image")})


def test_the_plan_is_what_is_done(made, photos, hash_space):
    assert planned(hash_space, made) == (25, [])
    assert encode(hash_space, made) == 25
    assert planned(hash_space, made) == (0, [])
    (photos / "p003.png").write_bytes(png(900))  # one shard of ten
    (photos / "zz.png").write_bytes(png(901))  # a new one
    shard(photos, made)
    assert planned(hash_space, made) == (11, [])
    assert encode(hash_space, made) == 11
    other = HashSpace(version=2)
    assert planned(other, made) == (26, ["encoder.version: 1 -> 2"])
    assert encode(other, made) == 26


def test_a_missing_part_is_planned(made, hash_space):
    encode(hash_space, made)
    (made / "hash/photos/image/part-00001.parquet").unlink()
    assert planned(hash_space, made) == (10, [])


def test_what_is_known(made, photos, hash_space):
    assert finished_shards(made / "nowhere") is None
    assert known_dimension(made, "hash") is None
    encode(hash_space, made)
    assert known_dimension(made, "hash") == 8
    assert bytes_of(str(photos)) == sum(path.stat().st_size for path in photos.iterdir())
    assert bytes_of("s3://bucket/a") is None
    path = made / "shards/_manifest.json"
    write_sealed(path, read_sealed(path) | {"complete": False})
    assert finished_shards(made / "shards") is None


def test_pace(made, photos, hash_space, monkeypatch):
    monkeypatch.setattr("pipeline.spaces.apart.POSSIBLE", False)  # so that the space can be asked what it was given
    assert Pace(0.4, 0.1).seconds(10, 2, same_cores=True) == pytest.approx(3)
    assert Pace(0.4, 0.1).seconds(10, 2, same_cores=False) == pytest.approx(2)
    pace = probe_encode(hash_space, "image", made / "shards", 12)
    assert len(hash_space.encoded) == 12 and 0 < pace.preprocess < 1 and 0 < pace.compute < 1
    with pytest.raises(UserError, match="usable text"):
        probe_encode(hash_space, "text", made / "shards", 3)
    assert operations_per_second("cpu") > 1e9
