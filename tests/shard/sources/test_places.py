"""Sources behind an address, and what is in a folder."""

import io
import os
import re
import tarfile
import unicodedata
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.keys import KEY, key_of_path
from pipeline.shard.sources import places, walk
from pipeline.store import load_manifest
from stages.context import account
from tests.shard.makers import picture, shards, sound, tar


@pytest.fixture
def remote():
    filesystem = fsspec.filesystem("memory")
    for number in range(3):
        filesystem.pipe(f"/bucket/photos/sub/p{number}.png", picture(number))
    filesystem.pipe("/bucket/c.jsonl", b'{"key": "a", "text": "one"}\n{"key": "b", "text": "two"}\n')
    filesystem.pipe("/bucket/list.csv", b"key,path\nx,photos/sub/p1.png\nlost,photos/none.png\n")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("t0.png")
        info.size = len(picture(9))
        archive.addfile(info, io.BytesIO(picture(9)))
    filesystem.pipe("/bucket/tars/0.tar", buffer.getvalue())
    yield filesystem
    filesystem.rm("/bucket", recursive=True)


def test_every_kind_of_remote_source(remote, tmp_path):
    pictures, _, _ = shards("memory://bucket/photos", tmp_path / "a", "image")
    assert sorted(one["png"] for one in pictures.values()) == sorted(picture(number) for number in range(3))
    assert set(shards("memory://bucket/photos/**/p*.png", tmp_path / "g", "image")[0]) != set()
    assert shards("memory://bucket/c.jsonl", tmp_path / "b", "text")[0] == {"a": {"txt": b"one"}, "b": {"txt": b"two"}}
    assert shards("memory://bucket/tars", tmp_path / "c", "image")[0] == {"t0": {"png": picture(9)}}
    assert shards("memory://bucket/tars/*.tar", tmp_path / "d", "image")[0] == {"t0": {"png": picture(9)}}
    samples, rejected, _ = shards("memory://bucket/list.csv", tmp_path / "e", "image")
    assert samples == {"x": {"png": picture(1)}}
    assert list(rejected) == ["lost"]
    remote.pipe("/bucket/names.csv", b"key,path\ny,p2.png\n")
    below = shards("memory://bucket/names.csv", tmp_path / "f", "image", options={"files": "photos/sub"})[0]
    assert below == {"y": {"png": picture(2)}}


def test_the_same_files_have_the_same_keys_here_and_there(remote, tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "photos" / "sub" / f"p{number}.png").write_bytes(picture(number))
    here = shards(tmp_path / "photos", tmp_path / "here", "image")[0]
    assert shards("memory://bucket/photos", tmp_path / "there", "image")[0] == here


def test_a_place_that_fails_for_a_moment_is_asked_again(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(places.time, "sleep", lambda seconds: None)
    failures = iter([True, True, False] * 100)
    real = places.RemoteFolder._read

    def flaky(self, path, limit):
        if next(failures):
            raise ConnectionResetError("gone")
        return real(self, path, limit)

    monkeypatch.setattr(places.RemoteFolder, "_read", flaky)
    assert len(shards("memory://bucket/photos", tmp_path / "out", "image")[0]) == 3


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("memory://bucket/nothing", "does not exist"),
        ("memory://bucket/*.zip", "does not exist"),
        ("nonsense://bucket/x", "cannot be opened"),
    ],
)
def test_no_such_place_is_one_clear_error(remote, tmp_path, source, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        shards(source, tmp_path / "out", "image")
    assert error.value.hint


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("~/photos", "~ and \\$ have no meaning"),
        ("$HOME/photos", "~ and \\$ have no meaning"),
        ("data/$NAME", "~ and \\$ have no meaning"),
        ("data/x${NAME}", "~ and \\$ have no meaning"),
        ("file://~/photos", "~ and \\$ have no meaning"),
        ("data/a$b", "Put the data there"),
        ("data\\photos", "Write / for the backslashes"),
        (" data/photos", "Remove the blanks"),
        ("data/photos [1]/*.png", "Write \\[\\[\\] for \\["),
        ("data/nothing", "Put the data there"),
    ],
)
def test_a_place_written_as_for_a_shell_says_what_to_write(tmp_path, monkeypatch, source, advice):
    monkeypatch.chdir(tmp_path)
    for name in ("data/photos", "data/photos [1]"):
        Path(name).mkdir(parents=True)
        Path(name, "x.png").write_bytes(picture(1))
    with pytest.raises(UserError, match="does not exist") as error:
        shards(source, tmp_path / "out", "image")
    assert re.search(advice, error.value.hint)
    # What the advice says is right.
    assert shards("data/photos [[]1]/*.png", tmp_path / "out", "image")[0]


def test_an_unclosed_brace_and_a_pattern_without_match(tmp_path):
    for source in (f"{tmp_path}/{{0..3.tar", f"{tmp_path}/*.tar"):
        with pytest.raises(UserError):
            shards(source, tmp_path / "out", "image")


def test_a_folder_with_links_pipes_and_odd_names(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "real.png").write_bytes(picture(1))
    (folder / "link.png").symlink_to(folder / "real.png")
    (folder / "dangling.png").symlink_to(folder / "nothing.png")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / "new\nline.png").write_bytes(picture(2))
    with open(os.fsencode(folder) + b"/\xff\xfe.png", "wb") as file:
        file.write(picture(3))
    (folder / ".hidden.png").write_bytes(picture(4))
    samples, rejected, manifest = shards(folder, tmp_path / "out", "image")
    assert {"real", "link"} < set(samples) and len(samples) == 4
    assert set(rejected) == {"dangling", "pipe"}
    assert "a link to nowhere" in rejected["dangling"] and "not a regular file" in rejected["pipe"]
    assert manifest.not_read == {"hidden": 1, "linked twice": 1}


def test_one_name_has_one_key_however_it_is_composed():
    composed, decomposed = (unicodedata.normalize(form, "Geräusch/ä.wav") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert key_of_path(composed) == key_of_path(decomposed)
    for path in ("..", "/", "", "a/../b.c", ".png", "x" * 5000 + ".png", "a\0b.png"):
        assert KEY.fullmatch(key_of_path(path))


def test_what_is_not_read_is_counted_and_named(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (
        "a.PNG",
        "b.JFIF",
        "c.heic",
        "d.Heic",
        "README",
        "x.mp4",
        "Thumbs.db",
        "e.0001",
        ".DS_Store",
        "odd.\n",
    ):
        (folder / name).write_bytes(picture(len(name), "JPEG" if name == "b.JFIF" else "PNG"))
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._a.png").write_bytes(b"shadow")
    (folder / ".cache" / "deep").mkdir(parents=True)
    (folder / ".cache" / "deep" / "b.png").write_bytes(picture(1))
    samples, rejected, manifest = shards(folder, tmp_path / "out", "image")
    assert {key: set(members) for key, members in samples.items()} == {"a": {"png"}, "b": {"jpg"}}
    assert not rejected
    counted = {"hidden": 3, ".heic": 2, ".mp4": 1, ".db": 1, ".0001": 1, "no ending": 1, "other endings": 1}
    assert manifest.not_read == counted
    assert load_manifest(tmp_path / "out") == manifest
    account("shard", "pictures", manifest, 1)
    assert "in 2 = 2 out + 0 rejected, 10 not read (hidden 3, .heic 2," in capsys.readouterr().out


def test_a_source_of_which_nothing_is_read_names_what_it_holds(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"not read: \.mp4 1"):
        shards(tmp_path / "in", tmp_path / "out", "image")


def test_links_are_followed_once_and_never_round_in_circles(tmp_path):
    outside, folder = tmp_path / "elsewhere", tmp_path / "in"
    for place, seed in ((outside / "deep", 1), (folder / "own", 2)):
        place.mkdir(parents=True)
        (place / "p.png").write_bytes(picture(seed))
    (folder / "train").symlink_to(outside)
    (folder / "val").symlink_to(outside / "deep")  # read below train already
    (folder / "own" / "up").symlink_to(folder)
    (outside / "back").symlink_to(folder / "own")
    (folder / "self").symlink_to("self")
    (folder / "gone").symlink_to("/nowhere/at/all")
    samples, rejected, manifest = shards(folder, tmp_path / "out", "image")
    assert sorted(one["png"] for one in samples.values()) == sorted([picture(1), picture(2)])
    assert any(key.startswith("train_deep_p-") for key in samples)
    assert rejected == {"gone.": "a link to nowhere", "self.": "a link to nowhere"}
    assert manifest.not_read == {"linked twice": 3}


def test_a_folder_that_cannot_be_read_is_a_reject(tmp_path, monkeypatch):
    for name in ("open", "shut"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "p.png").write_bytes(picture(1))
    real = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(walk.os, "scandir", scandir)
    samples, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "image")
    assert len(samples) == 1 and rejected == {"shut/": "the folder cannot be read: Permission denied"}


def test_what_braces_list_and_is_not_there_is_a_reject(tmp_path):
    for number in (0, 2):
        tar(tmp_path / f"{number:03d}.tar", [(f"k{number}.png", picture(number))])
    samples, rejected, _ = shards(f"{tmp_path}/{{000..003}}.tar", tmp_path / "out", "image")
    assert set(samples) == {"k0", "k2"}
    assert rejected == {"001.tar": "there is no such file", "003.tar": "there is no such file"}


def test_a_pattern_that_meets_a_loop_matches_each_file_once(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "p.png").write_bytes(picture(1))
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    assert len(shards(f"{tmp_path}/in/**/*.png", tmp_path / "out", "image")[0]) == 1
    assert len(shards(f"{tmp_path}/i*", tmp_path / "out2", "image")[0]) == 1


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/nowhere", path)])
def test_a_source_that_is_no_file_is_one_clear_error(tmp_path, make):
    make(tmp_path / "c.csv")
    with pytest.raises(UserError, match="no regular file|a link to nowhere"):
        shards(tmp_path / "c.csv", tmp_path / "out", "text")


def test_a_manifest_written_before_this_count_is_read(tmp_path):
    shards_folder = tmp_path / "out"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "p.png").write_bytes(picture(1))
    shards(tmp_path / "in", shards_folder, "image")
    path = shards_folder / "_manifest.json"
    content = read_sealed(path)
    del content["not_read"]
    write_sealed(path, content)
    assert load_manifest(shards_folder).not_read == {}


def test_files_of_one_name_and_several_endings(tmp_path):
    """What was read before more endings were keeps its key; a copy in a rarer format is a sample of its own."""
    (tmp_path / "in").mkdir()
    for name, kind in (
        ("a.bmp", "BMP"),
        ("a.gif", "GIF"),
        ("a.png", "PNG"),
        ("b.bmp", "BMP"),
        ("b.gif", "GIF"),
        ("c.jfif", "JPEG"),
    ):
        (tmp_path / "in" / name).write_bytes(picture(len(kind), kind))
    samples, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "image")
    assert {key.partition("-")[0]: list(one) for key, one in samples.items()} == {
        "a": ["png"], "a_bmp": ["bmp"], "a_gif": ["gif"], "b": ["bmp"], "b_gif": ["gif"], "c": ["jpg"]
    }  # fmt: skip
    assert not rejected
    for name in ("a.bmp", "a.gif", "a.png"):
        (tmp_path / "in" / name).with_suffix(".txt").write_text("words")
    tar(tmp_path / "x.tar", [(path.name, path.read_bytes()) for path in sorted((tmp_path / "in").glob("a.*"))])
    samples, rejected, manifest = shards(tmp_path / "x.tar", tmp_path / "out2", "image", "text")
    assert samples == {"a": {"png": picture(3), "txt": b"words"}} and not rejected
    assert manifest.not_read == {".bmp": 1, ".gif": 1}


def test_a_sound_of_a_caption_set_is_the_usual_one_of_its_name(tmp_path):
    (tmp_path / "c.csv").write_text("audiocap_id,youtube_id,start_time,caption\n1,v,3,words\n")
    (tmp_path / "v.aiff").write_bytes(sound(1, "AIFF"))
    assert list(shards(tmp_path / "c.csv", tmp_path / "a", "audio")[0]["v_3"]) == ["aiff"]
    (tmp_path / "v.wav").write_bytes(sound(1, "WAV"))
    assert list(shards(tmp_path / "c.csv", tmp_path / "b", "audio")[0]["v_3"]) == ["wav"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "tar"])
def test_a_pipe_among_tables_and_tars_is_a_reject(tmp_path, ending):
    (tmp_path / "in").mkdir()
    if ending == "tar":
        tar(tmp_path / "in" / "a.tar", [("k.txt", b"words")])
    else:
        (tmp_path / "in" / f"a.{ending}").write_text(
            "key,text\nk,words" if ending == "csv" else '{"key": "k", "text": "words"}'
        )
    os.mkfifo(tmp_path / "in" / f"pipe.{ending}")
    samples, rejected, _ = shards(tmp_path / "in", tmp_path / "out", "text")
    assert samples == {"k": {"txt": b"words"}}
    assert rejected == {f"pipe.{ending}": "not a regular file"}
