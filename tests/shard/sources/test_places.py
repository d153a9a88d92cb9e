"""Sources behind an address, and what is in a folder."""

import io
import os
import tarfile
import unicodedata

import fsspec
import pytest

from pipeline.errors import UserError
from pipeline.shard.sources import places
from pipeline.shard.sources.sample import KEY, key_of_path
from tests.shard.makers import picture, shards


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
    samples, rejected, _ = shards(folder, tmp_path / "out", "image")
    assert {"real", "link"} < set(samples) and len(samples) == 4
    assert not rejected


def test_one_name_has_one_key_however_it_is_composed():
    composed, decomposed = (unicodedata.normalize(form, "Geräusch/ä.wav") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert key_of_path(composed) == key_of_path(decomposed)
    for path in ("..", "/", "", "a/../b.c", ".png", "x" * 5000 + ".png", "a\0b.png"):
        assert KEY.fullmatch(key_of_path(path))
