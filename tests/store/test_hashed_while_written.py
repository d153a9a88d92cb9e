"""A part is hashed while it is written: the same bytes, the same hash, and nobody reads the file for it."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import TryAgainError
from pipeline.hashing import HashedFile, sha256_file
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.store import Made, Rows, Source, Work, load_manifest, write_rows
from pipeline.store.parts import work
from pipeline.store.shards import ShardSample, write_shard


@pytest.mark.parametrize("size", [0, 1, 511, 512, 3 << 20])
def test_a_tar_is_the_one_that_the_standard_library_writes_by_itself(tmp_path: Path, size: int) -> None:
    samples = [ShardSample(f"k{number}", {"txt": b"x" * size, "png": bytes([number])}) for number in range(3)]
    digest = write_shard(tmp_path / "a.tar", samples)
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for sample in samples:
            for extension, content in sorted(sample.members.items()):
                info = tarfile.TarInfo(f"{sample.key}.{extension}")
                info.size, info.mode = len(content), 0o444
                archive.addfile(info, io.BytesIO(content))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert digest == sha256_file(tmp_path / "b.tar")


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_a_table_is_the_one_that_arrow_writes_to_a_path(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(
        [f"k{n}" for n in range(count)], {"embedding": np.ones((count, 4), np.float32)}, {"n": np.arange(count)}
    )
    digest = write_rows(tmp_path / "a.parquet", rows, {"said": 1})
    real = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda table, file, **options: real(table, str(file.path) + "-2", **options))
    write_rows(tmp_path / "a.parquet", rows, {"said": 1})
    whole = (tmp_path / "a.parquet-2").read_bytes()
    assert digest == sha256_file(tmp_path / "a.parquet-2") and whole


def test_what_a_system_takes_in_small_pieces_is_written_whole(tmp_path: Path) -> None:
    class Slow:
        """A file of which each call takes a few bytes, as a call of more than 2 GB does."""

        def __init__(self, file: io.FileIO) -> None:
            self.file = file

        def write(self, content: memoryview) -> int:
            return self.file.write(content[:7])

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    with HashedFile(tmp_path / "x") as file:
        file._file = Slow(file._file)  # type: ignore[assignment]
        assert file.write(np.arange(100, dtype="<f4")) == 400 and file.tell() == 400
    assert (tmp_path / "x").read_bytes() == np.arange(100, dtype="<f4").tobytes()
    assert file.sha256 == sha256_file(tmp_path / "x")


def test_no_shard_is_read_for_its_hash(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "sha256_file", None)
    build_shards(photos, tmp_path / "corpus", ShardSettings(("image",), 10, "error", 0.0), Silent())
    parts = load_manifest(tmp_path / "corpus").parts
    assert [part.sha256 for part in parts] == [sha256_file(tmp_path / "corpus" / part.name) for part in parts]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_full_disk_is_said_in_words_and_leaves_nothing(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: HashedFile, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    def make(path: Path, progress: Silent) -> Made:
        rows = Rows(["k"], {"embedding": np.ones((1, 4), np.float32)}, {})
        write_rows(path, rows, {}) if kind == "parquet" else write_shard(path, [ShardSample("k", {"txt": b"x"})])
        return Made(["k"])

    monkeypatch.setattr(HashedFile, "write", full)
    with pytest.raises(TryAgainError, match="no space is left"):
        work.write_part(tmp_path, Work("00000.tar", Source("s"), make), Silent())
    assert not list(tmp_path.iterdir())
