"""Shards: reproducible, append-only, every sample accounted for."""

import json
import os
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset

from pipeline.errors import UserError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.store import load_manifest
from pipeline.store.parts.run import Execution
from pipeline.store.shards import read_shard
from tests.conftest import png

IMAGES = ShardSettings(("image",), samples_per_shard=10, duplicates="error", max_rejected=0.5)
TEXTS = ShardSettings(("text",), samples_per_shard=10, duplicates="error", max_rejected=0.5)


def build(source: Path, folder: Path, settings: ShardSettings = IMAGES) -> int:
    return build_shards(source, folder, settings, Silent())[1]


def test_same_input_gives_same_bytes_in_any_order_of_creation(photos, tmp_path, tree_bytes):
    other = tmp_path / "copy"
    other.mkdir()
    for path in sorted(photos.iterdir(), reverse=True):
        (other / path.name).write_bytes(path.read_bytes())
    build(photos, tmp_path / "one/corpus")
    build(other, tmp_path / "two/corpus")
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")


def test_webdataset_reads_the_shards(photos, tmp_path):
    build(photos, tmp_path / "out")
    urls = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [f"p{number:03d}" for number in range(25)]
    assert all(sample["png"] == (photos / f"{sample['__key__']}.png").read_bytes() for sample in samples)


def test_tar_members_carry_no_time_and_no_owner(photos, tmp_path):
    build(photos, tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "00000.tar") as archive:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in archive} == {(0, 0, 0, "", "")}


def test_second_run_writes_nothing(photos, tmp_path):
    assert build(photos, tmp_path / "out") == 3
    assert build(photos, tmp_path / "out") == 0


def test_new_samples_go_to_a_new_shard_and_old_shards_stay(photos, tmp_path, tree_bytes):
    build(photos, tmp_path / "out")
    before = tree_bytes(tmp_path / "out")
    for number in range(10):
        (photos / f"a{number}.png").write_bytes(png(100 + number))  # sorts before the old keys
    assert build(photos, tmp_path / "out") == 1
    after = tree_bytes(tmp_path / "out")
    assert all(after[name] == before[name] for name in before if name.endswith(".tar"))
    assert [sample.key for sample in read_shard(tmp_path / "out" / "00003.tar")] == [
        f"a{number}" for number in range(10)
    ]


def test_changed_sample_rewrites_its_shard_only(photos, tmp_path):
    build(photos, tmp_path / "out")
    (photos / "p012.png").write_bytes(png(200))
    assert build(photos, tmp_path / "out") == 1


def test_removed_samples_leave_their_shard(photos, tmp_path):
    build(photos, tmp_path / "out")
    for number in range(10, 20):
        (photos / f"p{number:03d}.png").unlink()
    (photos / "p000.png").unlink()
    assert build(photos, tmp_path / "out") == 1
    assert [part.name for part in load_manifest(tmp_path / "out").parts] == ["00000.tar", "00002.tar"]
    assert not (tmp_path / "out" / "00001.tar").exists()


def test_damaged_shard_is_made_again(photos, tmp_path, tree_bytes):
    build(photos, tmp_path / "out")
    before = tree_bytes(tmp_path / "out")
    tar = tmp_path / "out" / "00001.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    assert build(photos, tmp_path / "out") == 1
    assert tree_bytes(tmp_path / "out") == before


def test_samples_of_a_shard_that_ends_within_a_member_are_assigned_again(photos, tmp_path):
    build(photos, tmp_path / "out")
    os.truncate(tmp_path / "out" / "00001.tar", 700)
    assert build(photos, tmp_path / "out") == 1
    paths = [tmp_path / "out" / part.name for part in load_manifest(tmp_path / "out").parts]
    assert sorted(sample.key for path in paths for sample in read_shard(path)) == [f"p{n:03d}" for n in range(25)]


def test_rejects_are_rows_with_reasons_and_keep_their_place(photos, tmp_path):
    (photos / "p005.png").write_bytes(b"")
    build(photos, tmp_path / "out")
    manifest = load_manifest(tmp_path / "out")
    assert (manifest.rows, manifest.rejected) == (24, 1)
    failure = manifest.parts[0].rejected[0]
    assert (failure.key, failure.step) == ("p005", "read")
    (photos / "p005.png").write_bytes(png(5))
    assert build(photos, tmp_path / "out") == 1  # repaired: back in the shard where it was missed
    assert load_manifest(tmp_path / "out").parts[0].rows == 10


def test_too_many_rejects_stop_with_reason_and_example(photos, tmp_path):
    for number in range(20):
        (photos / f"p{number:03d}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"20 of 25 samples were rejected.*file is empty \(such as p000") as stopped:
        build(photos, tmp_path / "out")
    assert "_failures.parquet" in stopped.value.hint
    assert not load_manifest(tmp_path / "out").complete


def test_captions_from_jsonl_with_a_bad_key_and_an_empty_text(tmp_path):
    rows = [{"key": f"c{number}", "text": f"caption {number}"} for number in range(8)]
    rows += [{"key": "has.dot", "text": "x"}, {"key": "blank", "text": "  "}]
    source = tmp_path / "captions.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    build(source, tmp_path / "out", TEXTS)
    manifest = load_manifest(tmp_path / "out")
    assert {failure.key: failure.step for part in manifest.parts for failure in part.rejected} == {
        "has.dot": "key",
        "blank": "read",
    }
    assert next(sample.members["txt"] for sample in read_shard(tmp_path / "out" / "00000.tar")) == b"caption 0"


@pytest.mark.parametrize("name", ["captions.csv", "captions.parquet", "captions.txt"])
def test_other_caption_files(tmp_path, name):
    import pandas as pd

    table = pd.DataFrame({"key": ["00000000", "00000001"], "text": ["one, two", "drei"]})
    source = tmp_path / name
    if name.endswith(".csv"):
        table.to_csv(source, index=False)
    elif name.endswith(".parquet"):
        table.to_parquet(source)
    else:
        source.write_text("one, two\ndrei\n")
    build(source, tmp_path / "out", TEXTS)
    assert [(s.key, s.members["txt"]) for s in read_shard(tmp_path / "out" / "00000.tar")] == [
        ("00000000", b"one, two"),
        ("00000001", b"drei"),
    ]


def test_a_manifest_names_files(photos, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("key,path\nfirst,photos/p001.png\nsecond,photos/p002.png\nlost,photos/none.png\n")
    build(manifest, tmp_path / "out")
    part = load_manifest(tmp_path / "out").parts[0]
    assert part.rows == 2
    assert part.rejected[0].key == "lost"


def test_duplicate_keys_are_refused_or_reported(tmp_path):
    source = tmp_path / "captions.jsonl"
    source.write_text(
        "".join(json.dumps({"key": key, "text": f"{key} {row}"}) + "\n" for row, key in enumerate("abca"))
    )
    with pytest.raises(UserError, match=r"'a' .*captions.jsonl:1 and .*captions.jsonl:4"):
        build(source, tmp_path / "out", TEXTS)
    build(source, tmp_path / "out", ShardSettings(("text",), 10, "first", 0.5))
    part = load_manifest(tmp_path / "out").parts[0]
    assert (part.rows, [failure.error for failure in part.rejected]) == (3, ["Duplicate"])
    assert next(read_shard(tmp_path / "out" / "00000.tar")).members["txt"] == b"a 0"


def test_evaluation_set_keeps_the_modalities_of_a_sample_together(photos, tmp_path):
    for number in range(24):  # the 25th has no caption
        (photos / f"p{number:03d}.txt").write_text(f"picture {number}")
    settings = ShardSettings(("image", "text"), 10, "error", 0.1)
    build(photos, tmp_path / "out", settings)
    first = next(read_shard(tmp_path / "out" / "00000.tar"))
    assert sorted(first.members) == ["png", "txt"]
    assert load_manifest(tmp_path / "out").parts[2].rejected[0].message == "the sample has no text"


def test_paths_that_are_no_keys_become_readable_unique_keys(photos, tmp_path):
    for name in ("a.b", "a_b", "ü 1"):
        (photos / f"{name}.png").write_bytes(png(1))
    (photos / "sub").mkdir()
    (photos / "sub" / "p001.png").write_bytes(png(2))
    build(photos, tmp_path / "out")
    keys = {sample.key for tar in (tmp_path / "out").glob("*.tar") for sample in read_shard(tar)}
    assert len(keys) == 29
    assert "a_b" in keys and any(key.startswith("sub_p001-") for key in keys)


@pytest.mark.parametrize(
    ("name", "sentence"), [("nothing", "does not exist"), ("notes.pdf", "not a supported kind of corpus")]
)
def test_unusable_source_is_one_clear_error(tmp_path, name, sentence):
    if name == "notes.pdf":
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=sentence) as error:
        build(tmp_path / name, tmp_path / "out")
    assert error.value.hint


class Unordered:
    """An engine whose parts come in any order, and whose driver is killed after so many."""

    def __init__(self, most: int) -> None:
        self.most = most

    def make(self, folder, works, making, progress):
        works = list(works)
        for number in random.Random(self.most).sample(range(len(works)), self.most):
            yield from making(folder, iter([works[number]]), progress)
        raise KeyboardInterrupt


@pytest.mark.parametrize("most", range(6))
def test_parts_that_come_in_any_order_before_a_kill_leave_the_shards_of_one_run(photos, tmp_path, tree_bytes, most):
    five = replace(IMAGES, samples_per_shard=5)
    build(photos, tmp_path / "whole/c", five)
    with pytest.raises(KeyboardInterrupt):
        build_shards(photos, tmp_path / "killed/c", five, Silent(), execution=Execution(Unordered(most)))
    build(photos, tmp_path / "killed/c", five)
    assert tree_bytes(tmp_path / "whole") == tree_bytes(tmp_path / "killed")
