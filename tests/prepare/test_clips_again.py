"""Cutting again: nothing stale stays, nobody's files are overwritten, and a damaged record is no empty one."""

import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.makers.videos import video
from tests.makers.walk import mcr


@pytest.fixture
def sounds(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    video(Path("s/a.m4a"), 1, codecs=("", "aac"))
    return Path("s")


def test_a_shorter_video_leaves_no_frames_of_the_longer_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = [{"box": [1, 1, 2, 2], "normbox": [0.25, 0.5, 0.5, 0.75], "category_id": 1}]
    names = [f"zzzzzzzzzzz_0_1000/frame_{second:03d}/{second * 5:05d}.jpg" for second in (0, 3)]
    Path("m").mkdir()
    Path("m/solotest.json").write_text(json.dumps({name: {"bbox": box, "wdith": 64, "height": 48} for name in names}))
    cut = ("cut", "music-solo", "m", "uploads", "--whole")
    for seconds, files in ((4, 4), (2, 2)):
        video(Path("uploads/zzzzzzzzzzz.mp4"), seconds)
        assert "1 cut, 0 were there" in mcr(*cut)
        assert sum(path.suffix in (".jpg", ".wav") for path in Path("m").rglob("*")) == files
        assert "0 cut, 1 were there" in mcr(*cut)


def test_a_file_that_was_not_cut_is_not_overwritten(sounds):
    Path("s/audio").mkdir()
    Path("s/audio/a.wav").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"s/audio/a\.wav exists and mcr cut did not make it\."):
        mcr("cut", "sounds", "s", "s")
    assert Path("s/audio/a.wav").read_bytes() == b"mine" and not Path("s/cut.json").exists()


def test_what_a_killed_run_wrote_is_known_for_ours(sounds, monkeypatch):
    def killed(*arguments):
        Path("s/audio").mkdir()
        Path("s/audio/a.wav").write_bytes(b"ours")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.prepare.clips.write_clip", killed)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - the command may say it in its own way
            mcr("cut", "sounds", "s", "s")
    assert "1 cut, 0 were there" in mcr("cut", "sounds", "s", "s")
    assert Path("s/audio/a.wav").read_bytes() != b"ours"


@pytest.mark.parametrize("content", ["{", "[]", '{"clips": []}'])
def test_a_damaged_record_is_refused_and_stays(sounds, content):
    Path("s/cut.json").write_text(content)
    with pytest.raises(UserError, match=r"s/cut\.json (cannot be read|is not a record of mcr cut)"):
        mcr("cut", "sounds", "s", "s")
    assert Path("s/cut.json").read_text() == content


def test_odd_entries_count_as_not_cut(sounds):
    Path("s/cut.json").write_text('{"clips": {"a": 5, "b": {}}}')
    assert "1 cut, 0 were there" in mcr("cut", "sounds", "s", "s")


def test_the_folder_of_what_was_cut_is_not_one_of_videos(sounds):
    mcr("cut", "sounds", "s", "s")
    Path("link").symlink_to("s/audio")
    for folder in ("s/audio", "link"):
        with pytest.raises(UserError, match=f"^{folder} is where mcr cut writes"):
            mcr("cut", "sounds", "s", folder)
