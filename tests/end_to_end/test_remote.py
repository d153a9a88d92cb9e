"""A project whose shards, embeddings and pairs lie in a bucket, from raw files to models: the bytes are those of a local one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.makers.s3_server import Bucket
from tests.makers.small_project import CONNECTIONS, mcr

KINDS = ("shards", "embeddings", "pairs")
CORPORA, SPACES = ("captions", "photos", "sounds", "shapes", "heldout"), ("clip", "clap", "ulip")
Trees = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def away(small_project: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project without anything made, its storage in the bucket because the environment says so."""
    for kind in (*KINDS, "models"):
        shutil.rmtree(f"data/{kind}")
    monkeypatch.setenv("MCR_STORAGE", "s3://bucket/x")
    return small_project


def parts(folder: Path) -> dict[str, bytes]:
    return {
        f"{path.relative_to(folder)}": path.read_bytes()
        for kind in KINDS
        for path in sorted((folder / kind).rglob("*"))
        if path.suffix in (".tar", ".parquet") and not path.name.startswith("_")
    }


def test_every_stage_works_from_and_into_a_bucket(away: Path, made_project: Path, bucket: Bucket) -> None:
    mcr("shard", *CORPORA)
    for space in SPACES:
        mcr("encode", "--space", space)
    mcr("retrieve", *CONNECTIONS)
    shutil.rmtree(away.parent / "cache")
    mcr("train", *CONNECTIONS)
    assert bucket.contents("x") == parts(made_project / "data")
    assert not parts(away / "data"), "a part lies on the local disk"
