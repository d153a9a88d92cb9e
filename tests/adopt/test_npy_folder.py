"""A folder as clip-retrieval writes it becomes a store with the same rows, and says that nobody checked them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.adopt.npy_folder import find_blocks, import_embeddings
from pipeline.errors import UserError
from pipeline.keys import key_of_file, key_of_path
from pipeline.progress import Silent
from pipeline.store import Store, read_embeddings
from pipeline.verify.store import check_store

DESCRIBED: dict[str, object] = {"space": "clip", "dimension": 6, "modality": "image"}
SIZES = {0: 5, 2: 3, 10: 4}  # a missing number, and an order that text sorting would get wrong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "laion"
    for name in ("img_emb", "text_emb", "metadata"):
        (root / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number, rows in SIZES.items():
        for name in ("img_emb", "text_emb"):
            np.save(root / name / f"{name}_{number}.npy", draw.standard_normal((rows, 6)).astype(np.float16) * 3)
        names = [f"{number:05d}{row:04d}" for row in range(rows)]
        table = {"image_path": names, "caption": ["same"] * rows, "odd": [f"a/b {name}.jpg" for name in names]}
        pd.DataFrame(table).to_parquet(root / "metadata" / f"metadata_{number}.parquet")
    return root


def write(folder: Path, out: Path, vectors: str = "img_emb", **options) -> tuple:
    return import_embeddings(find_blocks(folder, vectors, **options), out, DESCRIBED, 0.5, Silent())


def test_rows_are_those_of_the_arrays_and_unverified(folder, tmp_path):
    manifest, computed = write(folder, tmp_path / "out")
    assert (manifest.rows, computed) == (12, 3)
    keys, embeddings = read_embeddings([tmp_path / "out"])
    assert keys == [f"{number:05d}{row:04d}" for number, rows in SIZES.items() for row in range(rows)]
    arrays = [np.load(folder / "img_emb" / f"img_emb_{number}.npy").astype(np.float64) for number in SIZES]
    expected = np.concatenate(arrays)
    np.testing.assert_allclose(embeddings, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-7)
    check = check_store(tmp_path / "out")
    assert check.problems == [] and check.unverified
    # What retrieve compares between the stores of one space says nothing about where they come from.
    assert {**manifest.fingerprint, "encoder": 0} == {**DESCRIBED, "encoder": 0}


def test_texts_and_images_of_one_sample_have_one_key(folder, tmp_path):
    write(folder, tmp_path / "image")
    write(folder, tmp_path / "text", "text_emb")
    assert Store.open(tmp_path / "image").read().keys == Store.open(tmp_path / "text").read().keys


def test_only_what_changed_is_written_again(folder, tmp_path):
    write(folder, tmp_path / "out")
    assert write(folder, tmp_path / "out")[1] == 0
    path = folder / "img_emb" / "img_emb_2.npy"
    np.save(path, -np.load(path))
    assert write(folder, tmp_path / "out")[1] == 1
    assert write(folder, tmp_path / "out", key_column="odd", key_of=lambda name: name.strip("a/"))[1] == 3


def test_unusable_rows_are_rejected_with_their_keys(folder, tmp_path):
    path = folder / "img_emb" / "img_emb_0.npy"
    array = np.load(path)
    array[1], array[3, 2] = 0, np.nan
    np.save(path, array)
    manifest, _ = write(folder, tmp_path / "out")
    assert [failure.key for failure in manifest.parts[0].rejected] == ["000000001", "000000003"]
    assert manifest.rows == 10 and check_store(tmp_path / "out").problems == []
    with pytest.raises(UserError, match="were rejected"):
        import_embeddings(find_blocks(folder, "img_emb"), tmp_path / "o", DESCRIBED, 0.1, Silent())


def test_without_metadata_rows_are_numbered(folder):
    for path in (folder / "metadata").iterdir():
        path.unlink()
    assert find_blocks(folder, "img_emb")[2].keys == [f"00010-0000000{row}" for row in range(4)]


def test_what_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"no \.npy files"):
        find_blocks(folder, "audio_emb")
    with pytest.raises(UserError, match="no column 'uid'") as error:
        find_blocks(folder, "img_emb", "uid")
    assert "image_path, caption, odd" in error.value.hint
    with pytest.raises(UserError, match="'same' occurs twice"):
        find_blocks(folder, "img_emb", "caption")
    with pytest.raises(UserError, match="width 6, the space has 7"):
        import_embeddings(find_blocks(folder, "img_emb"), tmp_path / "o", DESCRIBED | {"dimension": 7}, 0.1, Silent())
    path = folder / "img_emb" / "img_emb_2.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(UserError, match="has 2 rows, .* has 3"):
        find_blocks(folder, "img_emb")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read as an array"):
        find_blocks(folder, "img_emb")
    np.save(path, np.arange(12).reshape(3, 4))
    with pytest.raises(UserError, match="floating-point"):
        find_blocks(folder, "img_emb")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "names", [["img.v1", "img.v2"], ["img.v1.jpg", "img.v2.jpg"], ["a/img.v1.JFIF", "a/img.v2.JFIF"], ["1.5", "1.25"]]
)
def test_dots_of_a_name_are_no_ending(tmp_path, names):
    """The keys are those that files of these names have in a corpus."""
    for name in ("img_emb", "metadata"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.eye(2, 6, dtype=np.float32))
    pd.DataFrame({"image_path": names}).to_parquet(tmp_path / "metadata" / "metadata_0.parquet")
    [block] = find_blocks(tmp_path, "img_emb", key_of=key_of_file)
    stems = [name.rpartition(".")[0] if name.lower().endswith(("jpg", "jfif")) else name for name in names]
    assert block.keys == [key_of_path(f"{stem}.png") for stem in stems]
    assert len(set(block.keys)) == 2
