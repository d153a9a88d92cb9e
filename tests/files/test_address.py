"""Which addresses can keep parts; a password in one is refused and not repeated."""

import pytest

from pipeline.errors import UserError
from pipeline.files.address import checked_address, local_path
from pipeline.params.load import check_params
from pipeline.params.storage import StorageSettings

GOOD = (
    "s3://bucket",
    "s3://bucket/a/b",
    "gs://b/c",
    "abfs://box/x",
    "memory://x",
    "file:///big disk/x",
    "sftp://host/x",
)
BAD = (
    ("data/x", "is not an address"), ("/data/x", "is not an address"), ("S3://bucket", "is not an address"), ("s3:/bucket", "is not an address"),
    ("s3://", "names no bucket"), ("s3:///", "names no bucket"), ("s3:///x", "s3://bucket/folder, with two slashes"), ("gs:///x/y", "names no bucket"),
    ("file://data", "three slashes"),
    ("https://host/x", "cannot be written"), ("simplecache::s3://b/x", "chains"), ("s3://b/../c", "steps"),
    ("s3://b/*", "must not contain"), ("s3://b/x?versionId=3", "must not contain"), ("s3://k:s3cret@b/x", "a password"),
    ("sftp://me:s3cret@host/x", "a password"), ("ftp://me@host/x", "a password"),
)  # fmt: skip


@pytest.mark.parametrize("address", GOOD)
def test_these_can(address: str) -> None:
    assert checked_address(f"{address}/") == address == checked_address(address)


@pytest.mark.parametrize(("address", "said"), BAD)
def test_these_cannot(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        checked_address(address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["address", "shards", "embeddings", "pairs"])
def test_the_parameters_refuse_them_and_print_no_password(name: str) -> None:
    with pytest.raises(UserError) as caught:
        check_params({"storage": {name: "s3://key:s3cret@bucket/x"}}, "params.yaml")
    assert f"storage.{name}" in caught.value.message and "s3cret" not in caught.value.message


def test_each_kind_has_a_place_and_the_environment_speaks_where_the_parameters_do_not(monkeypatch) -> None:
    monkeypatch.delenv("MCR_STORAGE", raising=False)
    assert StorageSettings().of("shards", "photos") == ""
    monkeypatch.setenv("MCR_STORAGE", "s3://mine/x/")
    assert StorageSettings().of("shards", "photos") == "s3://mine/x/shards/photos"
    assert StorageSettings(address="s3://said").of("pairs", "a/b/c") == "s3://said/pairs/a/b/c"
    some = StorageSettings(shards="gs://other/tars", pairs="")
    assert some.of("shards", "photos") == "gs://other/tars/photos"
    assert some.of("pairs", "a/b/c") == ""
    assert some.of("embeddings", "clip/photos") == "s3://mine/x/embeddings/clip/photos"
    monkeypatch.setenv("MCR_STORAGE", "s3://key:s3cret@mine")
    with pytest.raises(UserError, match="MCR_STORAGE contains a user or a password") as caught:
        StorageSettings().of("shards", "photos")
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("other", ["s3://b/x", "s3://b/x/y", "s3://b"])
def test_kinds_that_would_lie_in_each_other_are_refused(other: str) -> None:
    with pytest.raises(ValueError, match="are nested"):
        StorageSettings(shards="s3://b/x", embeddings=other)
    assert StorageSettings(shards="s3://b/x", embeddings="s3://b/xy")


def test_a_local_address_is_a_path() -> None:
    assert str(local_path("file:///big disk/%20x")) == "/big disk/%20x"
    assert local_path("s3://bucket/x") is None
