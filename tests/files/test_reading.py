"""Reads that fail are tried again where that can help; damage of our own files is called damage."""

import errno
import io
import json
from typing import ClassVar

import numpy as np
import pytest

from pipeline.connect.config import load_config
from pipeline.errors import CorruptError, TryAgainError
from pipeline.files import reading
from pipeline.files.reading import open_patiently, read_bytes, retried
from pipeline.hashing import sha256_bytes, sha256_file
from pipeline.report.connection_files import read_json, read_records
from pipeline.shard.sources.places import LocalFolder
from pipeline.store.manifest import load_manifest
from pipeline.store.parquet import Rows, read_rows, write_rows
from pipeline.store.shards import ShardSample, read_shard, write_shard


@pytest.fixture
def failing(monkeypatch):
    """Make chosen reads of every file fail: by their number, from 1."""
    monkeypatch.setattr(reading, "PAUSE", 0.0)

    class Failing(io.FileIO):
        count = 0
        numbers: ClassVar[range | set[int]] = set()
        code = errno.EIO

        def readinto(self, buffer):
            Failing.count += 1
            if Failing.count in Failing.numbers:
                raise OSError(Failing.code, "injected")
            return super().readinto(buffer)

    monkeypatch.setattr(reading.io, "FileIO", Failing)
    return Failing


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_any_two_reads_in_a_row_may_fail(tmp_path, failing, code):
    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "file").write_bytes(content)
    failing.code = code
    for first in range(1, 6):
        failing.count, failing.numbers = 0, {first, first + 1}
        with open_patiently(tmp_path / "file") as file:
            assert file.read(70_000) + file.read() == content
        failing.count = 0
        assert sha256_file(tmp_path / "file") == sha256_bytes(content)


def test_a_file_that_stays_unreadable_is_named_and_not_called_damaged(tmp_path, failing):
    samples = [ShardSample(f"k{number}", {"txt": b"x" * 3000}) for number in range(50)]
    write_shard(tmp_path / "0.tar", samples)
    failing.numbers = range(2, 1000)
    with pytest.raises(TryAgainError, match=r"0\.tar: the device reports an input/output error"):
        list(read_shard(tmp_path / "0.tar"))
    failing.count, failing.numbers = 0, {2, 3, 5}
    assert list(read_shard(tmp_path / "0.tar")) == samples


def test_what_cannot_pass_is_not_tried_again():
    tried = []

    def read() -> None:
        tried.append(1)
        raise FileNotFoundError(errno.ENOENT, "gone")

    with pytest.raises(FileNotFoundError):
        retried(read)
    assert len(tried) == 1


def test_a_search_in_a_file_survives_its_failures(tmp_path, failing):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    failing.numbers = {1, 2, 4, 5}
    with open_patiently(tmp_path / "file") as file:
        file.seek(200_001)
        assert file.read(3) == bytes([65, 66, 67])
        file.seek(-1, io.SEEK_END)
        assert file.read() == b"\xff"


def test_raw_files_are_read_with_patience(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"caption")
    monkeypatch.setattr(reading, "PAUSE", 0.0)
    import os

    whole, tried = os.read, []

    def stumbling(descriptor: int, count: int) -> bytes:
        tried.append(1)
        if len(tried) < 3:
            raise OSError(errno.EIO, "injected")
        return whole(descriptor, count)

    monkeypatch.setattr(os, "read", stumbling)
    assert LocalFolder(str(tmp_path)).read("a.txt", 100) == b"caption"


DAMAGED_JSON = [b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b'{"schema_version": 1}', b'{"a": "\\ud800', b"\0" * 40]


@pytest.mark.parametrize("content", DAMAGED_JSON)
@pytest.mark.parametrize("reader", ["manifest", "config", "record"])
def test_damaged_json_of_ours_is_damage(tmp_path, content, reader):
    read = {
        "manifest": load_manifest,
        "config": load_config,
        "record": lambda folder: read_json(folder / "config.json"),
    }
    for name in ("_manifest.json", "config.json"):
        (tmp_path / name).write_bytes(content)
    if reader == "record" and content == b'{"schema_version": 1}':
        return
    from pipeline.errors import McrError

    with pytest.raises(McrError, match=r"damaged|is not valid|schema version"):
        read[reader](tmp_path)


@pytest.mark.parametrize(
    "metadata", [None, b"", b"{", b"\xff\xff", b"[]", b'{"vectors": {"embedding": {}}}', b'{"vectors": 3}']
)
def test_damaged_metadata_of_a_part_is_damage(tmp_path, metadata):
    import pyarrow.parquet as pq

    path = tmp_path / "part.parquet"
    write_rows(path, Rows(["a", "b"], {"embedding": np.eye(2, 8, dtype="f4")}, {}), {})
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"mcr": metadata} if metadata is not None else None), path)
    with pytest.raises(CorruptError, match=r"part\.parquet is damaged"):
        read_rows(path)


def test_every_flipped_byte_of_a_small_part_is_damage_or_harmless(tmp_path):
    path = tmp_path / "part.parquet"
    rows = Rows(["a", "b"], {"embedding": np.eye(2, 8, dtype="f4")}, {})
    write_rows(path, rows, {})
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        for read in (read_rows, read_records):
            try:
                read(path)
            except CorruptError:
                continue  # Anything else would be called a bug.


def test_reading_the_whole_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert read_bytes(tmp_path / "a") == b""
    (tmp_path / "b").write_text(json.dumps(list(range(100_000))))
    assert json.loads(read_bytes(tmp_path / "b")) == list(range(100_000))
