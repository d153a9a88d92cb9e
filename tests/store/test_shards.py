"""Tars that are none of ours, or not any more: said, and read no further."""

import io
import tarfile

import pytest

from pipeline.errors import CorruptError
from pipeline.store.shards import Extent, ShardSample, list_shard, read_extents, shard_keys, write_shard


def shard(path):
    write_shard(path, [ShardSample(f"k{number}", {"txt": b"text %d" % number}) for number in range(2)])
    return path


def folder(name="k2.txt"):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


def link(name="k2.txt"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
    return info


@pytest.mark.parametrize(
    "member", [folder(), link(), tarfile.TarInfo("k2")], ids=["folder", "link", "without an ending"]
)
def test_a_member_that_is_no_file_of_a_sample_is_damage(tmp_path, member):
    with tarfile.open(shard(tmp_path / "a.tar"), "a") as archive:
        archive.addfile(member, io.BytesIO())
    with pytest.raises(CorruptError, match=f"member '{member.name}' that is not a sample"):
        list(list_shard(tmp_path / "a.tar"))


def test_a_shard_that_ends_within_a_member_is_damage(tmp_path):
    path = shard(tmp_path / "a.tar")
    [first, second] = [sample.members["txt"] for sample in list_shard(path)]
    with open(path, "r+b") as file:
        file.truncate(second.start + second.size - 1)
    assert read_extents(path, [first, Extent(second.start, 4)]) == [b"text 0", b"text"]
    with pytest.raises(CorruptError, match="a.tar"):
        read_extents(path, [first, second])


def test_keys_of_a_shard_that_is_cut_anywhere_are_those_that_tarfile_finds(tmp_path):
    path = tmp_path / "00000.tar"
    members = {"txt": b"t" * 700, "png": b""}
    write_shard(path, [ShardSample(key, members) for key in ("a", "b" * 150, "c")])
    whole = path.read_bytes()
    for size in range(0, len(whole) + 1, 256):
        path.write_bytes(whole[:size])
        try:
            with tarfile.open(path, "r:") as archive:
                expected = list(dict.fromkeys(name.partition(".")[0] for name in archive.getnames()))
        except tarfile.TarError:
            with pytest.raises((tarfile.TarError, EOFError)):
                shard_keys(path)
        else:
            assert shard_keys(path) == expected
    assert expected == ["a", "b" * 150, "c"]
