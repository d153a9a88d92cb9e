"""Every kind of damage is named, and a sound store is not accused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_file, sha256_keys
from pipeline.store import EMBEDDINGS, Failure, PartFolder, Rows, load_manifest, read_rows, write_rows
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts import names
from pipeline.verify.project import PARTS, RESULTS, find_places
from pipeline.verify.store import check_store

REJECT = Failure("bad", "decode", "SampleError", "no picture")


def unit_rows(count: int, seed: int, prefix: str) -> Rows:
    vectors = np.random.default_rng(seed).standard_normal((count, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Rows([f"{prefix}{row}" for row in range(count)], {"embedding": vectors.astype(np.float32)}, {})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "clip" / "photos" / "image"
    parts = PartFolder(folder, EMBEDDINGS, {"dimension": 6})
    for number, prefix in enumerate("ab"):
        rows = unit_rows(20, number, prefix)
        parts.commit(
            f"part-0000{number}.parquet", "s", rows.keys, [REJECT], lambda p, rows=rows: write_rows(p, rows, {})
        )
    parts.finish(0.5)
    return folder


def test_a_store_in_subfolders_is_one_store(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Also when only its parts tell that it is there; and a part that nobody lists is one, in whichever folder."""
    request.getfixturevalue("monkeypatch").setattr(names, "PER_FOLDER", 1)
    folder: Path = request.getfixturevalue("store")
    assert (folder / "part-00001/part-00001.parquet").is_file() and not check_store(folder).problems
    (folder / "part-00001/part-00009.parquet").write_bytes(b"?")
    assert check_store(folder).problems == ["part-00001/part-00009.parquet is not in the manifest"]
    (folder / MANIFEST_NAME).unlink()
    (folder / "part-00000.parquet").unlink()
    roots = dict.fromkeys([*PARTS, "models", *RESULTS], tmp_path / "nowhere") | {"embeddings": tmp_path}
    assert find_places(roots) == [("embeddings", folder)]


def rewrite(folder: Path, change: Callable[[Rows], Rows], honest: bool = True) -> None:
    """Change the second part; an honest manifest vouches for what is there."""
    path = folder / "part-00001.parquet"
    rows = change(read_rows(path))
    write_rows(path, rows, {})
    manifest = load_manifest(folder)
    first, second = manifest.parts
    if honest:
        second = replace(second, rows=len(rows.keys), sha256=sha256_file(path), keys_sha256=sha256_keys(rows.keys))
    replace(manifest, parts=(first, second)).save(folder)


def with_value(row: int, value: float) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        matrix = rows.vectors["embedding"].copy()
        matrix[row] *= value
        return Rows(rows.keys, {"embedding": matrix}, {})

    return change


def with_keys(keys: Callable[[list[str]], list[str]]) -> Callable[[Rows], Rows]:
    return lambda rows: Rows(keys(rows.keys), rows.vectors, {})


def test_a_sound_store(store):
    check = check_store(store)
    assert check.problems == [] and check.duplicates == [] and not check.unverified
    assert check.rows == 40 and check.norm_error < 1e-6


def test_equal_embeddings_are_told_but_are_no_damage(store):
    first = read_rows(store / "part-00000.parquet").vectors["embedding"]

    def change(rows: Rows) -> Rows:
        matrix = rows.vectors["embedding"].copy()
        matrix[3], matrix[5] = first[7], matrix[4]
        return Rows(rows.keys, {"embedding": matrix}, {})

    rewrite(store, change)
    check = check_store(store)
    assert check.problems == []
    assert check.duplicates == [("b3", "a7"), ("b5", "b4")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value(2, np.nan), "not finite: b2"),
        (with_value(2, np.inf), "not finite: b2"),
        (with_value(4, 1.01), "not unit vectors (norms differ from 1 by up to 0.01): b4"),
        (with_value(4, 0.0), "not unit vectors (norms differ from 1 by up to 1): b4"),
        (with_keys(lambda keys: [*keys[:-1], "a0"]), "twice: a0"),
        (with_keys(lambda keys: [*keys[:-1], "b0"]), "twice: b0"),
        (lambda rows: Rows(rows.keys, {"embedding": np.eye(20, 5, dtype=np.float32) + 0}, {}), "width 5"),
        (lambda rows: Rows(rows.keys, {"other": rows.vectors["embedding"]}, {}), "no column embedding"),
    ],
)
def test_rows_that_cannot_be_right_although_the_hashes_are(store, change, said):
    rewrite(store, change)
    problems = check_store(store).problems
    assert any(said in problem for problem in problems), problems
    assert not any("hash" in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_keys(lambda keys: keys[::-1]), "in another order"),
        (lambda rows: Rows(rows.keys[:-1], {"embedding": rows.vectors["embedding"][:-1]}, {}), "19 rows"),
        (with_value(0, 1.0), ""),
    ],
)
def test_a_part_that_the_manifest_does_not_vouch_for(store, change, said):
    if not said:
        path = store / "part-00001.parquet"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        rewrite(store, change, honest=False)
    problems = check_store(store).problems
    assert any("its hash is not that of the manifest" in problem for problem in problems)
    assert any(said in problem for problem in problems)


def test_files_that_are_missing_or_too_many(store):
    (store / "part-00000.parquet").rename(store / "part-00009.parquet")
    (store / "_failures.parquet").unlink()
    said = "; ".join(check_store(store).problems)
    assert "part-00000.parquet is missing" in said and "part-00009.parquet is not in the manifest" in said
    assert "_failures.parquet is missing" in said


def test_a_manifest_that_is_unfinished_or_gone(store):
    manifest = load_manifest(store)
    replace(manifest, complete=False).save(store)
    assert not check_store(store).problems, "not to be finished is no damage"
    (store / MANIFEST_NAME).write_text("{")
    assert "is damaged" in check_store(store).problems[0]
    (store / MANIFEST_NAME).unlink()
    assert "has no _manifest.json" in check_store(store).problems[0]


def test_rejects_are_counted(store):
    content = read_sealed(store / MANIFEST_NAME)
    content["parts"][0]["rejected"] = []
    write_sealed(store / MANIFEST_NAME, content)
    assert check_store(store).problems == ["_failures.parquet has 2 rows, the manifest counts 1 rejects"]


def test_only_embedding_stores(store, tmp_path):
    replace(load_manifest(store), kind="pairs").save(store)
    with pytest.raises(UserError, match="holds pairs"):
        check_store(store)
