"""The manifest: what it says and counts, which versions are read, and what it is worth beside a journal."""

import json
from dataclasses import asdict, replace

import pytest

from pipeline.errors import CorruptError, UserError
from pipeline.hashing import sha256_json
from pipeline.store.manifest import (
    MANIFEST_NAME,
    Failure,
    Manifest,
    Part,
    load_complete_manifest,
    load_manifest,
    read_manifest,
)
from pipeline.store.parts.journal import Journal

FAILURE = Failure("k9", "decode", "SampleError", "damaged image")
A = Part("00000.tar", 3, "a" * 64, "b" * 64, "c" * 64, (FAILURE,), "cuda fp16", 1, 2)
B = Part("00001.tar", 4, "d" * 64, "e" * 64, "f" * 64)
WHOLE = Manifest("shards", {"z": 1, "a": {"y": [2], "b": 3}}, (A, B), True, {"_failures.parquet": "0" * 64}, "photos",
                 not_read={".gif": 2})  # fmt: skip


def test_it_is_read_as_it_was_saved(tmp_path):
    WHOLE.save(tmp_path)
    assert load_manifest(tmp_path) == read_manifest(tmp_path / MANIFEST_NAME) == WHOLE
    assert load_complete_manifest(tmp_path, "shards") == WHOLE


def test_equal_manifests_are_equal_files_in_the_order_of_the_alphabet(tmp_path):
    WHOLE.save(tmp_path)
    content = (tmp_path / MANIFEST_NAME).read_bytes()
    replace(WHOLE, fingerprint={"a": {"b": 3, "y": [2]}, "z": 1}).save(tmp_path)
    assert (tmp_path / MANIFEST_NAME).read_bytes() == content
    names = list(json.loads(content))
    assert names[0] == "checksum" and names[1:] == sorted(names[1:])


def test_what_it_counts():
    assert (A.samples_in, B.samples_in) == (4, 4)
    assert (WHOLE.rows, WHOLE.rejected) == (7, 1)
    assert WHOLE.content_hash == sha256_json([WHOLE.fingerprint, ["a" * 64, "d" * 64]])
    others = [replace(WHOLE, parts=(B, A)), replace(WHOLE, fingerprint={}), replace(WHOLE, parts=(A,))]
    assert len({one.content_hash for one in (WHOLE, *others)}) == 4


def test_a_part_of_an_earlier_version_says_less(tmp_path):
    entry = {"name": "n", "rows": 1, "sha256": "s", "keys_sha256": "k", "source": "o", "rejected": []}
    assert Part.of(entry) == Part("n", 1, "s", "k", "o")
    assert (Part.of(entry).arithmetic, Part.of(entry).decoders, Part.of(entry).transparent) == ("", 0, 0)


@pytest.mark.parametrize(("version", "read"), [(0, False), (1, True), (2, True), (3, False)])
def test_versions(tmp_path, version, read):
    WHOLE.save(tmp_path)
    path = tmp_path / MANIFEST_NAME
    content = json.loads(path.read_text()) | {"schema_version": version}
    del content["checksum"]
    path.write_text(json.dumps(content))
    if read:
        assert read_manifest(path) == WHOLE and read_manifest(path).schema_version == 2
    else:
        with pytest.raises(UserError, match=f"has schema version {version}, this program reads 1 and 2"):
            read_manifest(path)


@pytest.mark.parametrize("name", ["kind", "fingerprint", "parts", "schema_version"])
def test_without_one_of_these_it_is_damaged(tmp_path, name):
    WHOLE.save(tmp_path)
    path = tmp_path / MANIFEST_NAME
    content = json.loads(path.read_text())
    del content["checksum"], content[name]
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptError, match="is damaged"):
        load_manifest(tmp_path)


def test_a_folder_without_any_has_none(tmp_path):
    with pytest.raises(UserError, match=f"has no {MANIFEST_NAME}"):
        load_manifest(tmp_path)


def journal(folder, fingerprint, *parts, **header):
    opened = Journal(folder, {"kind": "shards", "fingerprint": fingerprint, **header})
    opened.append({"own": ["x"]})
    for part in parts:
        opened.append({"part": asdict(part), "temporary": "t"})
    opened.close()


@pytest.mark.parametrize(
    ("place", "command"),
    [("shards/x", "shard"), ("embeddings/clip/x/text", "encode"), ("pairs/y/clip-clap/overlap", "retrieve")],
)
def test_a_folder_that_is_not_there_names_the_command_that_writes_it(tmp_path, place, command):
    with pytest.raises(UserError) as error:
        load_manifest(tmp_path / "data" / place)
    assert f"`mcr {command}`" in error.value.hint


def test_a_journal_alone_is_an_unfinished_folder(tmp_path):
    journal(tmp_path, {"v": 1}, B, A, corpus="photos")
    assert load_manifest(tmp_path) == Manifest("shards", {"v": 1}, (A, B), corpus="photos")
    with pytest.raises(UserError, match="is unfinished: 2 parts are committed"):
        load_complete_manifest(tmp_path, "shards")


def test_a_journal_adds_to_the_manifest_of_the_same_fingerprint(tmp_path):
    WHOLE.save(tmp_path)
    again, new = replace(B, rows=9), replace(B, name="00002.tar")
    journal(tmp_path, WHOLE.fingerprint, again, new)
    found = load_manifest(tmp_path)
    assert found.parts == (A, again, new) and not found.complete and not found.files


def test_a_journal_of_another_fingerprint_counts_alone(tmp_path):
    WHOLE.save(tmp_path)
    journal(tmp_path, {"v": 2}, B)
    assert load_manifest(tmp_path) == Manifest("shards", {"v": 2}, (B,))


def test_a_finished_folder_of_another_kind_or_unfinished_is_refused(tmp_path):
    WHOLE.save(tmp_path)
    with pytest.raises(UserError, match="holds shards, not embeddings"):
        load_complete_manifest(tmp_path, "embeddings")
    replace(WHOLE, complete=False).save(tmp_path)
    with pytest.raises(UserError, match="is unfinished: 2 parts are committed"):
        load_complete_manifest(tmp_path, "shards")
