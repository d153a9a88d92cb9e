"""Shards read by a process of their own: the same samples, the same errors, and a process that may end at any time."""

import hashlib
import os
import re
import resource
import signal
import tarfile
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pipeline import hashing
from pipeline.decode.isolated import POSSIBLE
from pipeline.encode.listing import Lister, lister_of
from pipeline.encode.prepare import prepared_chunks
from pipeline.encode.slots import Run
from pipeline.errors import CorruptError, McrError, TryAgainError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.store.manifest import Part
from pipeline.store.shards import ShardSample, write_shard
from tests.conftest import HashSpace, png

WHERE = [False, pytest.param(True, marks=pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked"))]
apart_only = pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")


@pytest.fixture(params=WHERE, ids=["here", "apart"])
def lister(request, tmp_path):
    with ExitStack() as stack:
        yield lister_of(tmp_path, "image", request.param, stack)


def written(folder: Path, samples: list[ShardSample]) -> Part:
    digest = write_shard(folder / "00000.tar", samples)
    return Part("00000.tar", len(samples), digest, "0" * 64, "s")


def pictures(folder: Path, count: int = 5) -> Part:
    return written(folder, [ShardSample(f"p{number}", {"png": png(number)}) for number in range(count)])


def failing(lister: Lister, part: Part) -> McrError:
    with pytest.raises(McrError) as caught:
        lister(part)
    return caught.value


def test_where_files_lie_is_what_tarfile_says(lister, tmp_path):
    samples = [ShardSample(f"k{number}", {"txt": b"caption", "png": png(number)}) for number in range(6)]
    samples[2].members.pop("png")  # a caption alone is a sample of another modality
    samples[4] = ShardSample("a name of more than a hundred bytes " + "x" * 90, samples[4].members)
    listing = lister(written(tmp_path, samples))
    with tarfile.open(listing.path) as archive:
        expected = {
            info.name.removesuffix(".png"): [info.offset_data, info.size]
            for info in archive
            if info.name.endswith(".png")
        }
    assert dict(zip(listing.keys, listing.extents.tolist(), strict=True)) == expected and len(expected) == 5
    less = listing.without({"k0", "k5"})
    assert less.keys == listing.keys[1:-1] and less.extents.tolist() == listing.extents[1:-1].tolist()


def test_a_shard_without_the_modality_is_an_empty_listing(lister, tmp_path):
    listing = lister(written(tmp_path, [ShardSample("a", {"txt": b"a"})]))
    assert listing.keys == [] and listing.extents.shape == (0, 2)


def test_damage_is_the_same_error_wherever_it_is_found(lister, tmp_path):
    part = pictures(tmp_path)
    path = tmp_path / part.name
    whole = path.read_bytes()
    path.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    error = failing(lister, part)
    assert type(error) is CorruptError and "does not match the recorded one" in error.message
    assert str(path) in error.message and "mcr shard" in error.hint
    path.unlink()
    assert failing(lister, part).message == f"{path} is missing."
    path.write_bytes(whole)
    assert len(lister(part).keys) == 5


def test_a_tar_whose_hash_is_right_and_that_is_no_shard(lister, tmp_path):
    two_places = [ShardSample(key, {"png": png(1)}) for key in ("a", "b", "a")]
    error = failing(lister, written(tmp_path, two_places))
    assert type(error) is CorruptError and "has the members of 'a' in two places" in error.message
    assert error.hint == "Remove it and run `mcr shard` again."


def test_what_the_system_refuses_is_said_as_the_system_says_it(lister, tmp_path, monkeypatch):
    part = pictures(tmp_path)

    def refused(file, _):
        raise PermissionError(13, "Permission denied", file.raw._path)

    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", refused)
        with ExitStack() as stack, pytest.raises(PermissionError) as caught:
            lister_of(tmp_path, "image", POSSIBLE, stack)(part)
    assert str(caught.value.filename) == str(tmp_path / part.name)


def dies(monkeypatch, times: int, marks: Path) -> None:
    """Whoever hashes a file next is killed, this many times, unless it is this process."""
    stage, real = os.getpid(), hashlib.file_digest

    def deadly(file, name):
        if os.getpid() != stage and len(list(marks.glob("killed-*"))) < times:
            (marks / f"killed-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", deadly)


@apart_only
def test_a_process_that_is_killed_while_it_hashes_costs_nothing(tmp_path, monkeypatch):
    part = pictures(tmp_path)
    dies(monkeypatch, 1, tmp_path)
    with ExitStack() as stack:
        assert len(lister_of(tmp_path, "image", True, stack)(part).keys) == 5
    assert len(list(tmp_path.glob("killed-*"))) == 1


@apart_only
def test_a_process_that_is_killed_again_is_noticed_and_the_shard_is_named(tmp_path, monkeypatch):
    part = pictures(tmp_path)
    dies(monkeypatch, 2, tmp_path)
    with ExitStack() as stack:
        lister = lister_of(tmp_path, "image", True, stack)
        error = failing(lister, part)
        assert type(error) is TryAgainError and error.exit_code == 75
        said = f"The process that reads {tmp_path / part.name} failed: it was killed, perhaps by the system"
        assert error.message.startswith(said)
        assert len(lister(part).keys) == 5  # and another one begins


@apart_only
def test_no_limit_of_ours_is_met_again_by_every_try_to_list_a_huge_shard(tmp_path, monkeypatch):
    """Only the machine's memory ends it, and that a retry may mend."""
    part, real = pictures(tmp_path), hashlib.file_digest

    def noted(file, name):
        (tmp_path / "limit").write_text(str(resource.getrlimit(resource.RLIMIT_AS)))
        return real(file, name)

    with monkeypatch.context() as patched, ExitStack() as stack:
        patched.setattr(hashlib, "file_digest", noted)
        assert len(lister_of(tmp_path, "image", True, stack)(part).keys) == 5
    assert (tmp_path / "limit").read_text() == str(resource.getrlimit(resource.RLIMIT_AS))

    def hungry(file, name):
        raise MemoryError

    os.utime(tmp_path / part.name, (1, 1))
    with ExitStack() as stack:
        monkeypatch.setattr(hashlib, "file_digest", hungry)
        error = failing(lister_of(tmp_path, "image", True, stack), part)
    assert type(error) is TryAgainError and error.message.endswith("failed: it asks for more memory than there is.")


@apart_only
def test_no_shard_is_hashed_in_the_process_of_the_stage(tmp_path, monkeypatch):
    stage, real, here = os.getpid(), hashlib.file_digest, []

    def watched(file, name):
        if os.getpid() == stage:
            here.append(file)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    part = pictures(tmp_path)
    with ExitStack() as stack:
        lister_of(tmp_path, "image", True, stack)(part)
        assert not here
        # Nor again, whoever wants its hash.
        assert hashing.sha256_once(tmp_path / part.name) == part.sha256 and not here
        os.utime(tmp_path / part.name, (1, 1))
        lister_of(tmp_path, "image", False, stack)(part)
        assert len(here) == 1


def test_a_shard_that_changes_while_it_is_hashed_is_refused(tmp_path, monkeypatch):
    part = pictures(tmp_path)
    path, real = tmp_path / part.name, hashlib.file_digest

    def changing(file, name):
        with open(path, "r+b") as other:
            other.seek(600)
            other.write(b"\xff")
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", changing)
    with ExitStack() as stack:
        assert "was changed" in failing(lister_of(tmp_path, "image", POSSIBLE, stack), part).message


@pytest.mark.parametrize("where", ["threads", pytest.param("processes", marks=apart_only)])
def test_a_shard_that_is_cut_while_it_is_decoded_is_damage_after_the_chunks_before(tmp_path, where):
    (raw := tmp_path / "raw").mkdir()
    for number in range(200):
        (raw / f"{number:03d}.png").write_bytes(png(number))
    shards, _ = build_shards(raw, tmp_path / "shards", ShardSettings(("image",), 200, "error", 0.5), Silent())
    path = tmp_path / "shards" / shards.parts[0].name
    keys: list[str] = []

    def take(chunks) -> None:
        for chunk in chunks:
            if not keys:
                os.truncate(path, path.stat().st_size * 3 // 4)
            keys.extend(chunk.keys)
            for each in chunk.samples:
                if isinstance(each, Run):
                    each.release()

    with (
        closing(prepared_chunks(HashSpace(), "image", path.parent, shards.parts, 1, 4, where)) as chunks,
        pytest.raises(CorruptError, match=re.escape(f"{path} is damaged and cannot be read")),
    ):
        take(chunks)
    assert keys == [f"{number:03d}" for number in range(len(keys))] and 0 < len(keys) < 150
