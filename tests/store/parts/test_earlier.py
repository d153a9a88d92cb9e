"""What a run takes over from those before it: only what was committed, of this kind, and with its own bytes."""

import hashlib
from dataclasses import asdict

import pytest

from pipeline.errors import UserError
from pipeline.store.manifest import Manifest, Part
from pipeline.store.parts.earlier import take_over
from pipeline.store.parts.journal import Journal

HALF = "00000.tar.0a1b2c3d.tmp"


def journal(folder, part, kind="shards", **header):
    opened = Journal(folder, {"kind": kind, "fingerprint": {"code": 1}, "own": ["00000.tar", "gone.tar"], **header})
    opened.append({"part": asdict(part), "temporary": HALF})
    opened.close()


def part(sha256):
    return Part("00000.tar", 1, sha256, "k" * 64, "s" * 64)


def test_a_part_gets_the_name_that_a_kill_kept_from_it(tmp_path):
    (tmp_path / HALF).write_bytes(b"whole")
    journal(tmp_path, part(hashlib.sha256(b"whole").hexdigest()))
    found = take_over(tmp_path, Manifest("shards", {"code": 1}))
    assert (tmp_path / "00000.tar").read_bytes() == b"whole" and not (tmp_path / HALF).exists()
    assert list(found.parts) == ["00000.tar"] and found.continues and found.lists_all and found.manifest is None
    assert found.own == {"00000.tar", "gone.tar"}


@pytest.mark.parametrize("recorded", ["0" * 64, "f" * 64])
def test_a_half_written_file_of_other_bytes_never_gets_the_name(tmp_path, recorded):
    (tmp_path / "00000.tar").write_bytes(b"the one before")
    (tmp_path / HALF).write_bytes(b"torn")
    journal(tmp_path, part(recorded))
    take_over(tmp_path, Manifest("shards", {"code": 1}))
    assert (tmp_path / "00000.tar").read_bytes() == b"the one before" and not (tmp_path / HALF).exists()


@pytest.mark.parametrize(("header", "now"), [("embeddings", "shards"), ("shards", "embeddings")])
def test_a_journal_of_another_kind_is_not_gone_on_with(tmp_path, header, now):
    journal(tmp_path, part("0" * 64), header)
    found = take_over(tmp_path, Manifest(now, {"code": 1}))
    assert not found.continues and not found.parts and "00000.tar" in found.own


@pytest.mark.parametrize(("there", "now"), [("embeddings", "shards"), ("shards", "embeddings"), ("pairs", "shards")])
def test_a_folder_of_another_kind_is_refused(tmp_path, there, now):
    Manifest(there, {"code": 1}, (part("0" * 64),), True).save(tmp_path)
    with pytest.raises(UserError, match=f"holds {there}, not {now}"):
        take_over(tmp_path, Manifest(now, {"code": 1}))


def test_of_another_fingerprint_the_names_are_known_and_no_part_is_taken_over(tmp_path):
    journal(tmp_path, part("0" * 64))
    found = take_over(tmp_path, Manifest("shards", {"code": 2}))
    assert not found.continues and not found.parts and found.own == {"00000.tar", "gone.tar"}


def test_what_damaged_files_listed_is_not_known(tmp_path):
    Manifest("shards", {"code": 1}, (part("0" * 64),), True).save(tmp_path)
    (tmp_path / "_manifest.json").write_text("{")
    found = take_over(tmp_path, Manifest("shards", {"code": 1}))
    assert found.manifest is None and not found.lists_all and not found.parts
