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


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """Two videos; of a there is a sound by somebody else, of b there are both files."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        video(Path(f"v/{name}.mp4"), 2)
    for name in ("audio/a.wav", "audio/b.wav", "frames/b.jpg"):
        (Path("c") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("c") / name).write_bytes(name.encode())
    return Path("c")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*")}


CUT = ("cut", "pictures-and-sounds", "c", "v")


def test_files_that_were_not_cut_stay_and_only_what_is_missing_is_cut(mine):
    before = files(mine)
    first = mcr(*CUT)
    assert "2 listed, 1 cut, 1 were there" in first
    assert "3 files in c were not made by mcr cut and stay as they are" in first
    after = files(mine)
    assert {name: after[name] for name in before} == before and set(after) - set(before) == {"frames/a.jpg"}
    clips = json.loads((mine / "cut.json").read_text())["clips"]
    assert clips["b"] == {"kept": ["audio/b.wav", "frames/b.jpg"]}
    entry = clips["a"]
    assert entry["kept"] == ["audio/a.wav"] and entry["sound"] is None and entry["frame_at"] == pytest.approx(1.0)
    again = mcr(*CUT)
    assert "0 cut, 2 were there" in again and "3 files" in again
    assert json.loads((mine / "cut.json").read_text())["clips"] == clips
    # Nor do other settings, a video without pictures, or one that is gone meanwhile make them ours.
    assert "1 cut, 1 were there" in mcr(*CUT, "--frame", "0.5")
    assert files(mine)["frames/a.jpg"] != after["frames/a.jpg"]
    video(Path("v/a.mp4"), 3, codecs=("", "aac"))
    assert "1 rejected" in mcr(*CUT)
    assert files(mine) == before
    Path("v/a.mp4").unlink()
    assert "1 listed, 0 cut" in mcr(*CUT)
    video(Path("v/a.mp4"), 2)
    assert "1 cut, 1 were there" in mcr(*CUT)
    assert {name: files(mine)[name] for name in before} == before
    (mine / "audio/a.wav").unlink()
    assert "1 cut, 1 were there" in mcr(*CUT)
    assert files(mine)["audio/a.wav"].startswith(b"RIFF")
    (mine / "frames/b.jpg").unlink()
    assert "1 cut, 1 were there" in mcr(*CUT)
    assert files(mine)["audio/b.wav"] == b"audio/b.wav"
    assert json.loads((mine / "cut.json").read_text())["clips"]["b"]["kept"] == ["audio/b.wav"]


def test_a_run_that_is_killed_keeps_what_was_not_cut(mine, monkeypatch):
    before = files(mine)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.prepare.clips.write_clip", killed)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - the command may say it in its own way
            mcr(*CUT)
    video_of_a = Path("v/a.mp4").rename("a.mp4")
    mcr(*CUT, "--start", "0.5")  # without its video, so that it is not even begun again
    video_of_a.rename("v/a.mp4")
    assert "1 cut, 1 were there" in mcr(*CUT)
    assert {name: files(mine)[name] for name in before} == before


def test_listed_frames_that_were_not_cut_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = [{"box": [1, 1, 2, 2], "normbox": [0.25, 0.5, 0.5, 0.75], "category_id": 1}]
    names = [f"zzzzzzzzzzz_0_1000/frame_{second:03d}/{second * 5:05d}.jpg" for second in (0, 3)]
    Path("m").mkdir()
    Path("m/solotest.json").write_text(json.dumps({name: {"bbox": box, "wdith": 64, "height": 48} for name in names}))
    video(Path("uploads/zzzzzzzzzzz.mp4"), 2)
    own = [Path("m/frames", name) for name in names]  # the second is beyond the end of the video
    for path in own:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
    cut = ("cut", "music-solo", "m", "uploads", "--whole")
    assert "1 cut, 0 were there" in mcr(*cut)
    assert [path.read_bytes() for path in own] == [b"mine", b"mine"]
    assert [path.name for path in Path("m/audio").rglob("*.wav")] == ["frame_000.wav"]
    assert "0 cut, 1 were there" in mcr(*cut)


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
