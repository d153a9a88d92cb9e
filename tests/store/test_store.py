"""Stores: exact, verified on reading, joined by key."""

import os
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import hashing
from pipeline.errors import CorruptError, UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_keys
from pipeline.store import (
    EMBEDDINGS,
    PAIRS,
    PartFolder,
    Rows,
    Store,
    common_keys,
    read_embeddings,
    read_rows,
    write_rows,
)
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parquet import METADATA_KEY


def rows(count: int, seed: int = 0, prefix: str = "k") -> Rows:
    vectors = np.random.default_rng(seed).standard_normal((count, 12))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Rows([f"{prefix}{row}" for row in range(count)], {"embedding": vectors}, {"score": np.arange(count) / 7})


def make_store(folder: Path, parts: list[Rows], fingerprint: dict[str, object] | None = None) -> Store:
    store = PartFolder(folder, EMBEDDINGS, fingerprint or {"space": "s"})
    for number, part in enumerate(parts):
        store.commit(f"part-{number}.parquet", "src", part.keys, (), lambda path, part=part: write_rows(path, part, {}))
    store.finish(0.0)
    return Store.open(folder)


@pytest.mark.parametrize("count", [0, 1, 100, 70_000])
def test_rows_round_trip_bit_for_bit(tmp_path, count):
    written = rows(count)
    write_rows(tmp_path / "a.parquet", written, {"note": 1})
    read = read_rows(tmp_path / "a.parquet")
    assert read.keys == written.keys
    np.testing.assert_array_equal(read.vectors["embedding"], written.vectors["embedding"])
    np.testing.assert_array_equal(read.numbers["score"], written.numbers["score"])


def test_equal_rows_give_equal_bytes(tmp_path):
    write_rows(tmp_path / "a", rows(500), {"b": 1, "a": 2})
    write_rows(tmp_path / "b", rows(500), {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_flipped_bit_is_read_silently(tmp_path):
    """Page checksums, footer and key hash together: each of 300 mutants is an error or changes nothing."""
    folder = tmp_path / "store"
    good = make_store(folder, [rows(200)]).read()
    path = folder / "part-0.parquet"
    content = path.read_bytes()
    draw = random.Random(0)
    errors = 0
    for _ in range(300):
        mutant = bytearray(content)
        mutant[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(mutant)
        try:
            read = Store.open(folder).read()
        except CorruptError:
            errors += 1
        else:
            assert read.keys == good.keys
            np.testing.assert_array_equal(read.vectors["embedding"], good.vectors["embedding"])
    assert errors > 250


def test_truncated_part_is_an_error(tmp_path):
    folder = tmp_path / "store"
    make_store(folder, [rows(50)])
    content = (folder / "part-0.parquet").read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        (folder / "part-0.parquet").write_bytes(content[:length])
        with pytest.raises(CorruptError):
            Store.open(folder).read()


def test_swapped_parts_are_an_error(tmp_path):
    folder = tmp_path / "store"
    make_store(folder, [rows(50, prefix="a"), rows(50, prefix="b")])
    first, second = folder / "part-0.parquet", folder / "part-1.parquet"
    first.write_bytes(second.read_bytes())
    with pytest.raises(CorruptError, match="is damaged or was changed"):
        Store.open(folder).read()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 0.0, 400.0, 1.01, -0.5])
def test_rows_that_are_no_unit_vectors_are_never_read(tmp_path, wrong):
    """Their hash is right: somebody else wrote them, and a manifest that vouches for them."""
    bad = rows(30)
    bad.vectors["embedding"][17] *= np.float32(wrong)
    make_store(tmp_path / "store", [rows(5, prefix="a"), bad])
    with pytest.raises(
        CorruptError, match=r"part-1.parquet holds rows of embedding that are (not finite|no unit).*: k17"
    ):
        Store.open(tmp_path / "store").read()


def test_pairs_need_no_unit_norm_but_numbers(tmp_path):
    halves = rows(5)
    halves.vectors["embedding"] *= np.float32(0.5)
    for number, value in enumerate((1.0, np.nan)):
        halves.vectors["embedding"][3, 4] = value
        with PartFolder(tmp_path / str(number), PAIRS, {}) as store:
            store.commit("p.parquet", "s", halves.keys, (), lambda path: write_rows(path, halves, {}))
            store.finish(0.0)
    assert len(Store.open(tmp_path / "0", PAIRS).read().keys) == 5
    with pytest.raises(CorruptError, match="embedding that are not finite: k3"):
        Store.open(tmp_path / "1", PAIRS).read()


def test_one_width(tmp_path):
    make_store(tmp_path / "store", [rows(5)], {"space": "s", "dimension": 13})
    with pytest.raises(CorruptError, match="embeddings of width 12, the space has 13"):
        Store.open(tmp_path / "store").read()


def test_other_values_under_the_same_keys_are_an_error(tmp_path):
    folder = tmp_path / "store"
    make_store(folder, [rows(50)])
    write_rows(folder / "part-0.parquet", rows(50, seed=1), {})
    with pytest.raises(CorruptError, match="is damaged or was changed"):
        Store.open(folder).read()


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    hashed = []
    real = hashing.sha256_file
    monkeypatch.setattr(hashing, "sha256_file", lambda path: hashed.append(path.name) or real(path))
    store = make_store(tmp_path / "store", [rows(5, prefix="a"), rows(5, prefix="b")])
    hashed.clear()
    store.read()
    Store.open(tmp_path / "store").read()
    assert hashed == ["part-0.parquet", "part-1.parquet"]
    part = tmp_path / "store" / "part-1.parquet"
    content, status = bytearray(part.read_bytes()), part.stat()
    content[len(content) // 2] ^= 1
    with open(part, "r+b") as file:
        file.write(content)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))  # same inode, size and time of writing
    with pytest.raises(CorruptError, match="part-1.parquet is damaged"):
        store.read()


def test_reordered_rows_are_an_error(tmp_path):
    folder = tmp_path / "store"
    make_store(folder, [rows(50)])
    swapped = rows(50)
    swapped.keys[3], swapped.keys[4] = swapped.keys[4], swapped.keys[3]
    write_rows(folder / "part-0.parquet", swapped, {})
    with pytest.raises(CorruptError):
        Store.open(folder).read()


def test_a_key_in_two_parts_is_an_error(tmp_path):
    store = make_store(tmp_path / "store", [rows(5), rows(5)])
    with pytest.raises(CorruptError, match="key twice"):
        store.read()


def test_missing_unfinished_and_foreign_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="has no _manifest"):
        Store.open(tmp_path / "none")
    PartFolder(tmp_path / "open", EMBEDDINGS, {}).commit("p.parquet", "s", [], (), lambda path: path.write_bytes(b""))
    with pytest.raises(UserError, match="unfinished"):
        Store.open(tmp_path / "open")
    make_store(tmp_path / "store", [rows(3)])
    with pytest.raises(UserError, match="holds embeddings, not pairs"):
        Store.open(tmp_path / "store", "pairs")
    manifest = tmp_path / "store" / MANIFEST_NAME
    write_sealed(manifest, read_sealed(manifest) | {"schema_version": 3})
    with pytest.raises(UserError, match="schema version 3"):
        Store.open(tmp_path / "store")
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(CorruptError, match="_manifest.json is damaged"):
        Store.open(tmp_path / "store")


def test_stores_of_different_spaces_do_not_mix(tmp_path):
    make_store(tmp_path / "a", [rows(3, prefix="a")], {"space": "clip"})
    make_store(tmp_path / "b", [rows(3, prefix="b")], {"space": "clap"})
    with pytest.raises(UserError, match="different fingerprints"):
        read_embeddings([tmp_path / "a", tmp_path / "b"])
    make_store(tmp_path / "c", [rows(3, prefix="a")], {"space": "clip"})
    with pytest.raises(UserError, match="share keys"):
        read_embeddings([tmp_path / "a", tmp_path / "c"])


def test_a_store_that_does_not_name_its_encoder_is_not_that_of_a_corpus_with_options_of_its_own(tmp_path):
    own = {"space": "a", "encoder": {"family": "f", "preprocessing": "x"}, "corpus_options": {"points": 9}}
    make_store(tmp_path / "own", [rows(2)], own)
    make_store(tmp_path / "older", [rows(2, prefix="o")], {"space": "a"})
    with pytest.raises(UserError, match="different fingerprints: encoder: None -> "):
        read_embeddings([tmp_path / "older", tmp_path / "own"])


def test_join_is_by_key_whatever_the_order():
    first = [f"k{number}" for number in range(40)]
    second = [*first[5:], "extra"]
    random.Random(1).shuffle(second)
    keys, left, right = common_keys(first, second)
    assert keys == first[5:]
    assert [first[row] for row in left] == keys
    assert [second[row] for row in right] == keys
    with pytest.raises(UserError, match="no key in common"):
        common_keys(["a"], ["b"])


def test_key_hash_depends_on_order_and_on_boundaries():
    assert len({sha256_keys(keys) for keys in (["ab", "c"], ["c", "ab"], ["a", "bc"], ["ab", "c", ""])}) == 4


def test_a_part_of_another_number_of_rows_than_the_manifest_lists_is_damaged(tmp_path):
    store = make_store(tmp_path, [rows(5)])
    content = read_sealed(tmp_path / MANIFEST_NAME)
    content["parts"][0]["rows"] = 6
    write_sealed(tmp_path / MANIFEST_NAME, content)
    with pytest.raises(CorruptError, match="holds 5 rows, the manifest lists 6"):
        Store.open(tmp_path).read()
    assert len(store) == 5


def test_a_store_of_no_part_is_empty(tmp_path):
    make_store(tmp_path, [rows(5)])
    content = read_sealed(tmp_path / MANIFEST_NAME)
    content["parts"] = []
    write_sealed(tmp_path / MANIFEST_NAME, content)
    with pytest.raises(UserError, match="is empty"):
        Store.open(tmp_path).read()


def test_a_column_that_is_not_there_is_named(tmp_path):
    write_rows(tmp_path / "a", rows(5), {})
    with pytest.raises(CorruptError, match="no column other"):
        read_rows(tmp_path / "a", ["embedding", "other"])


def test_a_width_that_the_file_cannot_hold_is_refused_before_memory_is_taken(tmp_path):
    write_rows(tmp_path / "a", rows(5), {})
    table = pq.read_table(tmp_path / "a")
    said = table.schema.metadata[METADATA_KEY]
    lie = said.replace(b'"dimension": 12', b'"dimension": 12000000000')
    assert lie != said
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: lie}), tmp_path / "a", compression="none")
    with pytest.raises(CorruptError, match="5 rows do not fit into it"):
        read_rows(tmp_path / "a")


def test_a_footer_that_counts_more_rows_than_there_are_is_found_out(tmp_path):
    """No checksum covers the footer: in Thrift, a field of 64 bits (0x16) with 5, then the list of the row groups (0x19)."""
    write_rows(tmp_path / "a", rows(5), {})
    content = (tmp_path / "a").read_bytes()
    assert content.count(b"\x16\x0a\x19") == 1
    (tmp_path / "a").write_bytes(content.replace(b"\x16\x0a\x19", b"\x16\x0c\x19"))
    assert pq.read_metadata(tmp_path / "a").num_rows == 6
    with pytest.raises(CorruptError, match="5 rows instead of 6"):
        read_rows(tmp_path / "a")
