"""Stores of float16: half the bytes, the same embeddings but for rounding, and a part of the record."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import CorruptError, UserError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec
from pipeline.store import Rows, Store, read_embeddings, read_rows, write_rows
from pipeline.verify.store import check_store

SETTINGS = EncodeSettings(4, 2, 0.0)


class Wide:
    """A space of 512 numbers, one of which may be as large as 1."""

    modalities = ("image",)
    dimension = 512

    def __init__(self, space) -> None:
        self.space = space

    def fingerprint(self, modality: str) -> dict[str, object]:
        return {"family": "wide"}

    def preprocess(self, modality: str, payload: bytes):
        import torch

        return torch.cat([self.space.preprocess(modality, payload) ** 3] * 64)

    def encode(self, modality: str, batch):
        return self.space.encode(modality, batch)


@pytest.fixture
def encoded(photos, tmp_path, hash_space):
    build_shards(photos, tmp_path / "shards", ShardSettings(("image",), 10, "error", 0.0), Silent())

    def encode(store_as: str, folder: str) -> tuple[Path, int]:
        how = replace(SETTINGS, store_as=store_as)
        made = encode_corpus(
            Wide(hash_space), "wide", SpaceSpec("wide", "x"), tmp_path / "shards", tmp_path / folder, how, Silent()
        )
        return tmp_path / folder / "image", made["image"][1]

    return encode


def test_half_the_bytes_and_the_same_rows_but_for_rounding(encoded):
    (single, _), (half, count) = encoded("float32", "a"), encoded("float16", "b")
    sizes = [sum(path.stat().st_size for path in folder.glob("part-*")) for folder in (single, half)]
    assert count == 3 and sizes[1] < 0.65 * sizes[0], "keys and the fingerprint stay"
    (keys, exact), (others, rounded) = read_embeddings([single]), read_embeddings([half])
    assert keys == others and rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, exact.astype(np.float16).astype(np.float32))
    assert np.abs(np.linalg.norm(rounded, axis=1) - 1).max() < 1e-3
    assert check_store(half).problems == []


def test_pandas_opens_it_without_our_code(encoded):
    half, _ = encoded("float16", "b")
    table = pd.read_parquet(half)
    matrix = np.frombuffer(b"".join(table.embedding), "<f2").reshape(len(table), -1)
    np.testing.assert_array_equal(matrix.astype(np.float32), read_embeddings([half])[1])


def test_it_is_part_of_the_record_and_float32_is_not(encoded):
    half, _ = encoded("float16", "a")
    assert Store.open(half).manifest.fingerprint["store_as"] == "float16"
    assert encoded("float16", "a")[1] == 0
    single, count = encoded("float32", "a")
    assert count == 3 and "store_as" not in Store.open(single).manifest.fingerprint


def test_two_types_are_not_one_memory(encoded):
    (single, _), (half, _) = encoded("float32", "a"), encoded("float16", "b")
    with pytest.raises(UserError, match="different fingerprints: store_as: None -> float16"):
        read_embeddings([single, half])


@pytest.mark.parametrize(
    "worst", [np.ones(512), np.eye(512)[0], np.r_[np.ones(256), np.zeros(256)], np.arange(1.0, 513)]
)
def test_rounding_leaves_every_unit_vector_one(tmp_path, worst):
    row = (worst / np.linalg.norm(worst)).astype(np.float16)[None]
    write_rows(tmp_path / "p.parquet", Rows(["k"], {"embedding": row}, {}), {})
    found = read_rows(tmp_path / "p.parquet").vectors["embedding"]
    assert abs(float(np.linalg.norm(found.astype(np.float64))) - 1) < 2.0**-11


def test_other_types_are_damage(tmp_path):
    path = tmp_path / "p.parquet"
    write_rows(path, Rows(["k"], {"embedding": np.ones((1, 4), np.float16)}, {}), {})
    table = pq.read_table(path)
    described = table.schema.metadata[b"mcr"].replace(b"<f2", b"<f8")
    pq.write_table(table.replace_schema_metadata({b"mcr": described}), path)
    with pytest.raises(CorruptError, match="numbers of the type <f8"):
        read_rows(path)
