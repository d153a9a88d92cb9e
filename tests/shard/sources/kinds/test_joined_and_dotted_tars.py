"""Tars that were joined, names with dots in them, members that are not read, files that are not tars."""

import gzip
import io
import tarfile
import zipfile

import pytest

from pipeline.errors import UserError
from pipeline.shard.sources.readers.tar import TarDamage, scan_tar
from tests.shard.makers import picture, shards, sound, tar


def tar_bytes(members, archive_format: int = tarfile.GNU_FORMAT, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=archive_format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pictures(*numbers: int, prefix: str = "p"):
    return [(f"{prefix}{number}.png", picture(number)) for number in numbers]


def test_joined_tars_are_read_to_the_last_member(tmp_path):
    joined = tar_bytes(pictures(0, 1, 2)) + tar_bytes(pictures(3, 4, 5), tarfile.PAX_FORMAT) + tar_bytes(pictures(6))
    (tmp_path / "cat.tar").write_bytes(joined)
    samples, rejected, _ = shards(tmp_path / "cat.tar", tmp_path / "out", "image")
    assert samples == {f"p{number}": {"png": picture(number)} for number in range(7)}
    assert not rejected


@pytest.mark.parametrize("padding", [0, 512, 10_240, (1 << 20) + 512])
def test_padding_between_and_after_joined_tars_is_no_content(tmp_path, padding):
    content = tar_bytes(pictures(0)) + bytes(padding) + tar_bytes(pictures(1)) + bytes(padding)
    (tmp_path / "cat.tar").write_bytes(content)
    assert set(shards(tmp_path / "cat.tar", tmp_path / "out", "image")[0]) == {"p0", "p1"}


@pytest.mark.parametrize("tail", [b"words after the end", b"\x1f\x8b" + b"x" * 600, b"\xff" * 5000])
def test_something_else_after_the_end_mark_is_said(tmp_path, tail):
    (tmp_path / "x.tar").write_bytes(tar_bytes(pictures(0, 1)) + tail)
    samples, rejected, _ = shards(tmp_path / "x.tar", tmp_path / "out", "image")
    assert set(samples) == {"p0", "p1"}
    assert "follows the end mark, at byte 10240" in rejected["x.tar"]


def test_a_joined_tar_that_is_cut_is_said(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_bytes(pictures(0)) + tar_bytes(pictures(1, 2))[:1100])
    samples, rejected, _ = shards(tmp_path / "x.tar", tmp_path / "out", "image")
    assert set(samples) == {"p0", "p1"} and "damaged" in rejected["x.tar"]


def test_a_tail_of_zeros_ends():
    assert len(list(scan_tar(io.BytesIO(tar_bytes(pictures(0)) + bytes(5 << 20))))) == 1
    with pytest.raises(TarDamage, match="no end mark"):
        list(scan_tar(io.BytesIO(tar_bytes(pictures(0))[:1024])))


NAMES = ["img.v1", "img.v2", "235342 Track 2.0 (Clean)", "ok", "deep/a.b.c", "v1.0/plain"]


def test_dots_in_names_mean_the_same_in_a_tar_and_in_a_folder(tmp_path):
    members = [
        (f"{name}.{ending}", content)
        for number, name in enumerate(NAMES)
        for ending, content in (("jpg", picture(number, "JPEG")), ("txt", b"t%d" % number))
    ]
    tar(tmp_path / "dots.tar", members)
    for name, content in members:
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    found, rejected, _ = shards(tmp_path / "dots.tar", tmp_path / "a", "image", "text")
    assert found == shards(tmp_path / "folder", tmp_path / "b", "image", "text")[0]
    assert len(found) == len(NAMES) and not rejected


def test_parts_of_a_sample_stay_parts_of_it(tmp_path):
    members = [("a.jpg", picture(1, "JPEG")), ("a.seg.png", picture(2)), ("a.depth.npy", b"x"), ("a.cls", b"3")]
    samples, _, manifest = shards(tar(tmp_path / "x.tar", members), tmp_path / "out", "image")
    assert samples == {"a": {"jpg": picture(1, "JPEG")}}
    assert manifest.not_read == {".cls": 1, ".npy": 1, ".png": 1}


@pytest.mark.parametrize("extra", [("img.json", b"{}"), ("img.txt", b"words")])
def test_the_reason_names_the_first_dot(tmp_path, extra):
    members = [*pictures(0), extra, ("img.v1.png", picture(1))]
    samples, rejected, _ = shards(tar(tmp_path / "x.tar", members), tmp_path / "out", "image")
    assert list(samples) == ["p0"]
    assert rejected == {"img": "the sample has no image: a name ends at its first dot, which leaves .v1.png"}


def test_members_that_are_no_part_of_a_sample_are_counted(tmp_path):
    members = [
        *pictures(0, 1), ("README", b"x"), ("notes.md", b"x"), ("k.heic", b"x"), ("__MACOSX/._p0.png", b"x"),
        (".hidden/p9.png", picture(9)), ("._p1.png", b"x"), ("p0.txt", b"words"), ("p1.WEIRD ENDING", b"x"),
    ]  # fmt: skip
    samples, rejected, manifest = shards(tar(tmp_path / "x.tar", sorted(members)), tmp_path / "out", "image")
    assert set(samples) == {"p0", "p1"} and not rejected
    assert manifest.not_read == {
        "hidden": 3, ".heic": 1, ".md": 1, ".txt": 1, "no ending": 1, "other endings": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n", "a Git LFS pointer"),
        (b"<!doctype html><html>403</html>", "an HTML page"),
        (gzip.compress(tar_bytes(pictures(5))), "compressed with gzip"),
        (tar_bytes(pictures(5), mode="w:bz2"), "compressed with bzip2"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, "compressed with Zstandard"),
        (b"", "the file is empty"),
    ],
)
def test_a_file_that_is_no_tar_says_what_it_is(tmp_path, content, said, caplog):
    tar(tmp_path / "0.tar", pictures(0))
    (tmp_path / "1.tar").write_bytes(content)
    samples, rejected, _ = shards(f"{tmp_path}/?.tar", tmp_path / "out", "image")
    assert set(samples) == {"p0"} and said in rejected["1.tar"]
    assert said in caplog.text


def test_a_zip_that_is_called_tar(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.tar", "w") as archive:
        archive.writestr("p.png", picture(1))
    with pytest.raises(UserError, match="a ZIP archive"):
        shards(tmp_path / "x.tar", tmp_path / "out", "image")


@pytest.mark.parametrize("archive_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names(tmp_path, archive_format):
    names = ["ü" * 90 + "/" + "long" * 40, "日本語", "with space", "\udcff\udcfe"]
    content = tar_bytes([(f"{name}.png", picture(number)) for number, name in enumerate(names)], archive_format)
    (tmp_path / "x.tar").write_bytes(content)
    samples, rejected, _ = shards(tmp_path / "x.tar", tmp_path / "out", "image")
    assert sorted(one["png"] for one in samples.values()) == sorted(picture(number) for number in range(4))
    assert not rejected


def test_tars_in_folders_that_are_packed_are_counted(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    tar(folder / "0.tar", pictures(0))
    (folder / "1.tar.gz").write_bytes(gzip.compress(tar_bytes(pictures(1))))
    (folder / "0_stats.json").write_text("{}")
    _, rejected, manifest = shards(folder, tmp_path / "out", "image", options={"kind": "webdataset"})
    assert not rejected and manifest.not_read == {".gz": 1, ".json": 1}


@pytest.mark.parametrize("name", ["k.OPUS", "k.aif", "k.AU"])
def test_sounds_that_libsndfile_reads(tmp_path, name):
    kind = {"opus": "OGG", "aif": "AIFF", "au": "AU"}[name[2:].lower()]
    content = sound(1, kind)
    samples, _, _ = shards(tar(tmp_path / "x.tar", [(name, content)]), tmp_path / "out", "audio")
    assert samples == {"k": {name[2:].lower(): content}}
