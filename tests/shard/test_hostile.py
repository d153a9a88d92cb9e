"""A corpus in which almost every fourth file is damaged or meant to do harm."""

import tarfile
import tracemalloc
import zipfile
from collections import Counter

import numpy as np
import pytest

from pipeline.progress import Silent
from pipeline.shard import build
from pipeline.shard.limits import MAX_BYTES, MAX_TEXT_BYTES
from pipeline.shard.sources.places import LocalFolder
from pipeline.shard.sources.readers import texts
from tests.shard.makers import bomb, cloud, mesh, npy, npz, picture, shards, sound, tar

GOOD = {
    "image": lambda n: [("png", picture(n)), ("jpg", picture(n, "JPEG")), ("webp", picture(n, "WEBP"))][n % 3],
    "audio": lambda n: [
        ("flac", sound(n)),
        ("wav", sound(n, "WAV")),
        ("ogg", sound(n, "OGG")),
        ("mp3", sound(n, "MP3")),
    ][n % 4],
    "text": lambda n: ("txt", f"caption {n}".encode()),
    "point": lambda n: [("npy", npy(cloud(n))), ("npz", npz(xyz=cloud(n))), ("off", mesh("off"))][n % 3],
}
OBJECTS = np.array([{"a": 1}], object)
NAN = np.full((5, 3), np.nan, np.float32)
BAD = {
    "image": [
        ("png", b""),
        ("png", b"   \n"),
        ("jpg", b"<html>404</html>"),
        ("png", sound(1)),
        ("webp", b"RIFF\x00\x00\x00\x00WAVE" + bytes(50)),
        ("jpg", npy(cloud(1))),
        ("png", b"\0\0\0\x18ftypheic" + bytes(50)),
        ("jpeg", b"\xff\xd8"),
        ("png", b"%PDF-1.4"),
        ("png", b"PK\x03\x04" + bytes(30)),
        ("jpg", b"#!/bin/sh\ntouch canary\n"),
        ("webp", b"RIFF"),
        ("png", b"\x89PN"),
        ("jpg", bytes(100)),
        ("png", b"8BPS\0\1" + bytes(20)),
    ],
    "audio": [
        ("wav", b""),
        ("wav", b"RIFF"),
        ("wav", b"RIFF\x00\x00\x00\x00AVI " + bytes(50)),
        ("flac", picture(1)),
        ("ogg", b"<html>"),
        ("flac", b"fLa"),
        ("mp3", b""),
        ("wav", bytes(2000)),
        ("ogg", npy(cloud(1))),
        ("flac", b"\xff\x00"),
        ("wav", b"MThd" + bytes(30)),
        ("flac", b"just words"),
        ("ogg", b"\n\n"),
        ("wav", b"\x1aE\xdf\xa3" + bytes(9)),
        ("flac", b"FORM\0\0\0\0ILBM"),
    ],
    "text": [
        ("txt", b""),
        ("txt", b"\n\t "),
        ("txt", b"\xff\xfe"),
        ("txt", "über".encode("latin-1")),
        ("txt", "words".encode("utf-16")),
        ("txt", b"a\0b"),
        ("txt", b"x" * (MAX_TEXT_BYTES + 1)),
        ("txt", b"x" * 5_000_000),
        ("txt", picture(1)),
        ("txt", b"\xed\xa0\x80"),
        ("txt", b"\xc0\xaf"),
        ("txt", b"ok\xf5"),
        ("txt", bytes(10)),
        ("txt", sound(1)),
        ("txt", b"\x80"),
    ],
    "point": [
        ("npy", b""),
        ("npy", npy(OBJECTS, pickled=True)),
        ("npy", npy(cloud(1))[:150]),
        ("npy", b"\x93NUMPY"),
        ("npz", bomb()),
        ("npz", npz(points=OBJECTS)),
        ("npz", npz(points=NAN)),
        ("npz", npz(points=cloud(1))[:100]),
        ("npz", npz(points=np.zeros((5, 2)))),
        ("ply", b"solid"),
        ("pcd", b"# .PCD\nFIELDS x y z\n"),
        ("obj", b"v 0 0 0\n"),
        ("off", b"OFF\n3 1 0\n0 0 0\n1 0 0\nnan 1 0\n3 0 1 2\n"),
        ("glb", mesh("glb")[:99]),
        ("npy", picture(1)),
    ],
}


@pytest.mark.parametrize("modality", list(GOOD))
def test_good_samples_stay_and_bad_ones_are_rows_with_a_reason(tmp_path, modality):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(50):
        extension, content = GOOD[modality](number)
        (folder / f"good{number:02d}.{extension}").write_bytes(content)
    for number, (extension, content) in enumerate(BAD[modality]):
        (folder / f"bad{number:02d}.{extension}").write_bytes(content)
    before = set(tmp_path.rglob("*"))
    samples, rejected, manifest = shards(folder, tmp_path / "out", modality)
    assert set(samples) == {f"good{number:02d}" for number in range(50)}
    if modality != "point":  # those may be converted
        held = {path.stem: {path.suffix[1:]: path.read_bytes()} for path in folder.glob("good*")}
        assert samples == held
    assert set(rejected) == {f"bad{number:02d}" for number in range(15)}
    assert manifest.rows == 50 and manifest.rejected == 15
    assert all(0 < len(reason) <= 200 for reason in rejected.values())
    written = set(tmp_path.rglob("*")) - before
    assert all(path == tmp_path / "out" or tmp_path / "out" in path.parents for path in written)


def test_files_above_the_limit_are_not_taken_into_memory(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.png").write_bytes(picture(1))
    with open(tmp_path / "in" / "huge.png", "wb") as file:
        file.write(picture(2))
        file.truncate(MAX_BYTES["image"] * 100)  # 6.7 GB of nothing
    tracemalloc.start()
    _, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "image")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than" in rejected["huge"]
    assert peak < MAX_BYTES["image"] * 2.5


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, kind):
    """64 MB of sounds in one shard, one of them in memory at a time."""
    (tmp_path / "in").mkdir()
    files = [(f"s{number:02d}.flac", b"fLaC" + np.random.default_rng(number).bytes(1 << 20)) for number in range(64)]
    if kind == "tar":
        tar(tmp_path / "in" / "0.tar", files)
    else:
        for name, content in files:
            (tmp_path / "in" / name).write_bytes(content)
    del files
    tracemalloc.start()
    settings = build.ShardSettings(("audio",), 100, "error", 0.0)
    manifest, _ = build.build_shards(tmp_path / "in", tmp_path / "out", settings, Silent())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest.rows == 64
    assert peak < 16 << 20


def test_captions_beyond_memory_go_to_a_nameless_file(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "MEMORY_BYTES", 1000)
    (tmp_path / "c.txt").write_text("\n".join(f"caption {number}" for number in range(500)))
    before = set(tmp_path.rglob("*"))
    samples, _, _ = shards(tmp_path / "c.txt", tmp_path / "out", "text")
    assert samples["00000499"] == {"txt": b"caption 499"} and len(samples) == 500
    assert {path.name for path in set(tmp_path.rglob("*")) - before if tmp_path / "out" not in path.parents} == {"out"}


def test_a_new_shard_reads_each_file_once(photos, tmp_path, monkeypatch):
    opened = Counter()
    read = LocalFolder.read
    monkeypatch.setattr(
        LocalFolder, "read", lambda self, place, limit: opened.update([place]) or read(self, place, limit)
    )
    shards(photos, tmp_path / "out", "image", samples_per_shard=10)
    assert set(opened.values()) == {1} and len(opened) == 25
    opened.clear()
    (photos / "p003.png").write_bytes(picture(99))
    shards(photos, tmp_path / "out", "image", samples_per_shard=10)
    assert sum(opened.values()) == 25 + 10, "to see what changed, and once more for the one shard that did"


def test_a_rejected_conversion_keeps_its_place_and_is_not_done_again(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"s{number}.npz").write_bytes(npz(points=cloud(number)))
    (tmp_path / "in" / "s5.npz").write_bytes(npz(points=NAN))
    first = shards(tmp_path / "in", tmp_path / "out", "point", samples_per_shard=3)
    again = build.build_shards(
        tmp_path / "in", tmp_path / "out", build.ShardSettings(("point",), 3, "error", 0.9), Silent()
    )
    assert again == (first[2], 0)
    assert "not finite" in first[1]["s5"]


def test_names_within_archives_are_never_paths(tmp_path):
    """300 crafted tars and archives; a canary outside and the folders around stay as they are."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary.png").write_bytes(b"untouched")
    work = outside / "work"
    (work / "in").mkdir(parents=True)
    names = ["../canary.png", "../../canary.png", f"{outside}/canary.png", "a/../../canary.png", "..\\canary.png"]
    names += ["./../canary.png", "\x00canary.png", "C:/canary.png", "~/canary.png", "$HOME/canary.png"]
    for number in range(150):
        name = names[number % len(names)].replace("\x00", "")
        kind = [None, tarfile.SYMTYPE, tarfile.LNKTYPE][number % 3]
        member: bytes | tarfile.TarInfo = picture(number)
        if kind:
            member = tarfile.TarInfo()
            member.type, member.linkname = kind, name
        tar(
            work / "in" / f"{number}.tar",
            [(name if not kind else f"l{number}.png", member), (f"g{number}.png", picture(number))],
        )
    samples, rejected, _ = shards(work / "in", work / "out", "image", duplicates="first")
    assert {f"g{number}" for number in range(150)} <= set(samples)
    assert all("not a regular file" in rejected[f"l{number}"] for number in range(150) if number % 3)
    (work / "zip").mkdir()
    for number in range(150):
        with zipfile.ZipFile(work / "zip" / f"{number}.npz", "w") as archive:
            archive.writestr(names[number % len(names)].replace("\x00", "").replace(".png", ".npy"), npy(cloud(number)))
    assert len(shards(work / "zip", work / "zipout", "point")[0]) == 150
    assert (outside / "canary.png").read_bytes() == b"untouched"
    assert {path.name for path in outside.iterdir()} == {"canary.png", "work"}
    assert {path.name for path in work.iterdir()} == {"in", "out", "zip", "zipout"}
