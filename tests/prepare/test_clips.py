"""A folder of videos becomes a set: each clip cut once, every reject named, and a record of how."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.errors import UserError
from pipeline.prepare.video_sets import VIDEO_SETS
from tests.makers.videos import RATE, grey, pitch, video
from tests.makers.walk import mcr
from tests.shard.makers import shards


@pytest.fixture
def vggss(tmp_path, monkeypatch) -> Path:
    """VGG-SS with the videos of three clips, one of them cut in two and one no video; a fourth is gone."""
    monkeypatch.chdir(tmp_path)
    names = ["-aaaaaaaaaa_000000", "bbbbbbbbbbb_000010", "ccccccccccc_000020", "ddddddddddd_000030"]
    entries = [{"file": name, "class": "dog barking", "bbox": [[0, 0, 1, 1]]} for name in names]
    Path("set").mkdir()
    Path("set/vggss.json").write_text(json.dumps(entries))
    video(Path("videos", f"{names[0]}.mp4"), 10, fps=25)
    Path("videos/sub").mkdir()
    whole = Path("videos", f"{names[0]}.mp4").read_bytes()
    Path("videos/sub", f"{names[1]}.mp4").write_bytes(whole[: len(whole) // 2])
    Path("videos", f"{names[2]}.webm").write_text("not a video")
    return Path("set")


def record(folder: Path) -> dict:
    return json.loads((folder / "cut.json").read_text())


def test_a_folder_of_videos_becomes_the_set(vggss):
    said = mcr("cut", "vggss", "set", "videos")
    assert "4 listed, 1 cut, 0 were there, 1 without a video, 2 rejected" in said
    assert "the 125th frame of 25 in a second" in said
    assert grey((vggss / "frames" / "-aaaaaaaaaa_000000.jpg").read_bytes()) == pytest.approx(125, abs=1.5)
    clips = record(vggss)["clips"]
    assert clips["-aaaaaaaaaa_000000"]["frame_at"] == 5.0 and record(vggss)["settings"]["frame"] == 5.0
    assert "error" in clips["bbbbbbbbbbb_000010"] and "InvalidDataError" in clips["ccccccccccc_000020"]["error"]
    assert "1 audio, 1 image" in mcr("prepare", "vggss", "set")

    before = (vggss / "frames" / "-aaaaaaaaaa_000000.jpg").stat().st_mtime_ns
    video(Path("videos/ddddddddddd_000030.mp4"), 10)
    assert "1 cut, 1 were there, 0 without a video, 2 rejected" in mcr("cut", "vggss", "set", "videos")
    assert (vggss / "frames" / "-aaaaaaaaaa_000000.jpg").stat().st_mtime_ns == before
    assert "2 cut, 0 were there" in mcr("cut", "vggss", "set", "videos", "--frame", "2.0")
    assert grey((vggss / "frames" / "-aaaaaaaaaa_000000.jpg").read_bytes()) == pytest.approx(50, abs=1.5)


def test_what_other_settings_made_is_not_left_for_the_set(vggss):
    """A video of 4 s has no frame at 5 s: the middle one, from a run before, would have been evaluated in its place."""
    short, gone = "ddddddddddd_000030", "-aaaaaaaaaa_000000"
    video(Path("videos", f"{short}.mp4"), 4)
    assert "2 cut" in mcr("cut", "vggss", "set", "videos", "--frame", "middle")
    Path("videos", f"{gone}.mp4").unlink()
    said = mcr("cut", "vggss", "set", "videos")
    assert "0 cut, 0 were there, 1 without a video, 3 rejected" in said
    assert "1 without a video are there by an earlier run with other settings" in said
    assert not (vggss / "frames" / f"{short}.jpg").exists() and not (vggss / "audio" / f"{short}.wav").exists()
    clips = record(vggss)["clips"]
    assert clips[gone]["settings"]["frame"] is None and clips[gone]["frame_at"] == pytest.approx(5, abs=0.1)
    assert clips[short]["error"] == "the video has no frame at 5.000 s"
    assert "1 were there" in mcr("cut", "vggss", "set", "videos", "--frame", "middle"), "its video need not be there"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>Video unavailable", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"anything", "InvalidDataError: Invalid data"),
    ],
)
def test_what_is_no_video_is_named_and_the_record_is_of_no_machine(vggss, content, said):
    Path("videos/ccccccccccc_000020.webm").write_bytes(content)
    mcr("cut", "vggss", "set", "videos")
    assert said in record(vggss)["clips"]["ccccccccccc_000020"]["error"]
    assert str(vggss.resolve().parent) not in (vggss / "cut.json").read_text()


def test_clips_out_of_whole_uploads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("a/eval_segments.csv").write_text(
        '# c\n# c\n# YTID, start_seconds, end_seconds, positive_labels\nxy, 10.000, 14.000, "/m/1"\n'
    )
    video(Path("uploads/Yxy.mp4"), 20)
    assert "1 listed, 1 cut" in mcr("cut", "audioset", "a", "uploads", "--whole")
    sound = Path("a/audio/xy.wav").read_bytes()
    wave, rate = soundfile.read(io.BytesIO(sound))
    assert len(wave) / rate == pytest.approx(4, abs=0.1) and pitch(sound, 1) == pytest.approx(200 * 12, abs=3)
    assert not Path("a/frames").exists()

    Path("v").mkdir()
    Path("v/vggss.json").write_text(json.dumps([{"file": "zzzzzzzzzzz_000010", "class": "c", "bbox": [[0, 0, 1, 1]]}]))
    video(Path("uploads/zzzzzzzzzzz.mp4"), 25)
    with pytest.raises(UserError, match="has no video of them"):
        mcr("cut", "vggss", "v", "uploads")
    mcr("cut", "vggss", "v", "uploads", "--whole")
    assert grey(Path("v/frames/zzzzzzzzzzz_000010.jpg").read_bytes()) == pytest.approx(75, abs=1.5)  # 10 s + 5 s


def test_sounds_of_audiocaps_and_both_sides_of_an_extended_set(tmp_path, monkeypatch):
    """AudioCaps names a video and a second; a silent pair may name a sound that has no annotation of its own."""
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("a/test.csv").write_text("audiocap_id,youtube_id,start_time,caption\r\n7,-yyyyyyyyyy,3,A bell\r\n")
    video(Path("uploads/Y-yyyyyyyyyy.m4a"), 20, codecs=("", "aac"))
    assert "1 listed, 1 cut" in mcr("cut", "audiocaps", "a", "uploads", "--whole")
    sound = Path("a/audio/-yyyyyyyyyy_3.wav").read_bytes()
    wave, rate = soundfile.read(io.BytesIO(sound))
    assert len(wave) / rate == pytest.approx(10, abs=0.1) and pitch(sound, 1) == pytest.approx(200 * 5, abs=3)
    assert "1 listed; 1 audio, 1 captions" in mcr("prepare", "audiocaps", "a")

    Path("f/Annotations").mkdir(parents=True)
    Path("f/Annotations/1.xml").write_text("<annotation/>")
    Path("f/flickr_test_plus_silent.csv").write_text("video,audio,label\r\n1,2,non-sounding")
    for name in ("1", "2"):
        video(Path(f"uploads/{name}.mp4"), 1)
    assert "2 listed, 2 cut" in mcr("cut", "extended-flickr", "f", "uploads")


def test_music_solo_is_cut_into_its_frames_and_seconds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = [{"box": [1, 1, 2, 2], "normbox": [0.25, 0.5, 0.5, 0.75], "category_id": 1}]
    names = [
        f"zzzzzzzzzzz_0_1000/frame_{second:03d}/{number:05d}.jpg"
        for second, number in ((0, 3), (2, 10), (2, 13), (8, 41))
    ]
    names += ["gone0000000_0_1000/frame_000/00000.jpg", "fast0000000_0_1000/frame_001/00030.jpg"]
    Path("m").mkdir()
    Path("m/solotest.json").write_text(json.dumps({name: {"bbox": box, "wdith": 64, "height": 48} for name in names}))
    video(Path("uploads/zzzzzzzzzzz.mp4"), 4)
    video(Path("uploads/fast0000000.mp4"), 4)
    said = mcr("cut", "music-solo", "m", "uploads", "--whole")
    assert "3 listed, 1 cut, 0 were there, 1 without a video, 1 rejected" in said and "had another rate" in said
    assert grey(Path("m/frames/zzzzzzzzzzz_0_1000/frame_002/00013.jpg").read_bytes()) == pytest.approx(13, abs=1.5)
    sound = Path("m/audio/zzzzzzzzzzz_0_1000/frame_002.wav").read_bytes()
    assert pitch(sound, 0) == pytest.approx(600, abs=3)
    entry = record(Path("m"))["clips"]["zzzzzzzzzzz_0_1000"]
    assert (entry["frames"], entry["of"], entry["seconds"]) == (3, 4, 2)
    assert "6 listed; 2 audio, 3 image, 3 regions" in mcr("prepare", "music-solo", "m")
    assert "0 cut, 1 were there" in mcr("cut", "music-solo", "m", "uploads", "--whole")
    Path("m/audio/zzzzzzzzzzz_0_1000/frame_002.wav").unlink()
    assert "1 cut, 0 were there" in mcr("cut", "music-solo", "m", "uploads", "--whole")
    with pytest.raises(UserError, match="lists its frames"):
        mcr("cut", "music-solo", "m", "uploads", "--frame", "3")


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [("ave", "Annotations.txt", "Bark&v1&good&0&10\n"), ("flickr-soundnet", "Annotations/v1.xml", "<annotation/>")],
)
def test_sets_that_do_not_say_their_frame_get_the_middle_one_and_are_told_so(
    tmp_path, monkeypatch, name, file, content
):
    monkeypatch.chdir(tmp_path)
    Path("set", file).parent.mkdir(parents=True)
    Path("set", file).write_text(content)
    video(Path("videos/v1.mp4"), 10)
    with pytest.raises(UserError, match="does not say where its clips lie"):  # all of an upload was taken for the clip
        mcr("cut", name, "set", "videos", "--whole")
    assert "does not say which frame" in mcr("cut", name, "set", "videos")
    assert grey(Path("set/frames/v1.jpg").read_bytes()) == pytest.approx(25, abs=1.5)


def test_a_folder_of_any_sounds_becomes_unpaired_data(tmp_path, monkeypatch):
    """AAC in .m4a, Opus in .weba and videos: what libsndfile does not read becomes WAV, and a corpus."""
    monkeypatch.chdir(tmp_path)
    video(Path("mine/sub/a.m4a"), 2, codecs=("", "aac"))
    video(Path("mine/b.webm"), 2, codecs=("libvpx", "libopus"))
    av_as_weba = video(Path("mine/c.webm"), 2, codecs=("", "libopus"))
    av_as_weba.rename("mine/c.weba")
    Path("mine/notes.txt").write_text("no sound")
    tone = 0.3 * np.sin(np.arange(RATE) / 10)
    soundfile.write("mine/d.aiff", tone, RATE)
    soundfile.write("mine/e.opus", tone[: 48_000 // 2], 48_000, format="OGG", subtype="OPUS")
    soundfile.write("mine/f.mp3", tone, RATE)
    assert "6 listed, 6 cut" in mcr("cut", "sounds", "data/raw/sounds", "mine")
    assert sorted(path.name for path in Path("data/raw/sounds/audio").iterdir()) == [f"{each}.wav" for each in "abcdef"]
    wave, _ = soundfile.read("data/raw/sounds/audio/d.wav")
    np.testing.assert_allclose(wave, tone, atol=1e-4)
    samples, rejected, _ = shards(Path("data/raw/sounds"), tmp_path / "out", "audio")
    assert len(samples) == 6 and not rejected
    assert "1 listed, 1 cut" in mcr("cut", "pictures-and-sounds", "both", "mine")
    assert Path("both/frames/b.jpg").is_file()
    Path("mine/sub/a.m4a").unlink()
    assert "5 listed, 0 cut, 5 were there" in mcr("cut", "sounds", "data/raw/sounds", "mine")
    assert sorted(record(Path("data/raw/sounds"))["clips"]) == [*"abcdef"], "what is there is recorded"


def test_names_that_ffmpeg_takes_for_an_address_and_links_that_lead_nowhere(tmp_path, monkeypatch):
    """With `.` for the folder a time in a name looked like `scheme:`; a link to a drive that is gone ended the command."""
    monkeypatch.chdir(tmp_path)
    name = "12:30 a dog.m4a"
    video(tmp_path / "a.m4a", 1, codecs=("", "aac")).rename(name)
    Path("gone.mp4").symlink_to("/nowhere/gone.mp4")
    Path("folder.mp4").mkdir()
    for made in ("1 cut, 0 were", "0 cut, 1 were"):  # what was cut is not cut again
        assert f"1 listed, {made} there" in mcr("cut", "sounds", "out", ".")
        assert Path("out/audio/12:30 a dog.wav").is_file()


def test_two_videos_of_one_name_are_not_taken_for_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for camera in ("a", "b"):
        video(Path(f"videos/{camera}/0001.mp4"), 1)
    with pytest.raises(UserError, match="a/0001.mp4 and .*b/0001.mp4") as error:
        mcr("cut", "pictures-and-sounds", "out", "videos")
    assert "Rename" in error.value.hint and not Path("out/audio").exists()


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("vggss", "vggss.json", '[{"file": "no-second"}]'),
        ("vggss", "vggss.json", '[{"class": "a"}]'),
        ("vggss", "vggss.json", "[1]"),
        ("audioset", "eval_segments.csv", "xy, soon, 14.000, /m/1\n"),
    ],
)
def test_annotations_in_another_layout_are_the_users_to_put_right(tmp_path, monkeypatch, name, file, content):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    Path("videos").mkdir()
    Path("set", file).write_text(content)
    with pytest.raises(UserError, match="set") as error:
        mcr("cut", name, "set", "videos")
    assert "published" in error.value.message


@pytest.mark.parametrize("command", [("cut", "vgg-ss", "a", "b"), ("prepare", "audiocap", "a")])
def test_a_set_that_is_not_known_is_not_looked_for_in_the_parameters(command):
    with pytest.raises(UserError, match="^There is no (set of videos|evaluation set) ") as error:
        mcr(*command)
    assert "Did you mean" in error.value.hint


def test_the_known_sets_are_listed_and_what_is_missing_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [line.split(": ")[0] for line in mcr("cut").splitlines()] == list(VIDEO_SETS)
    for given, wanted in ((("ave",), "files"), (("ave", "."), "videos")):
        with pytest.raises(UserError, match=rf"^Where are the {wanted} of ave\?$"):
            mcr("cut", *given)


@pytest.mark.parametrize("frame", ["nan", "inf", "-inf", "soon", "1:30"])
def test_a_frame_is_a_moment(vggss, frame):
    """NaN lies after no frame: the last one was taken, unsaid."""
    with pytest.raises(UserError, match="is not a time"):
        mcr("cut", "vggss", "set", "videos", f"--frame={frame}")
    assert not Path("set/cut.json").exists()


def test_without_pyav_it_is_said_how_to_get_it(vggss, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="PyAV, which is not installed") as error:
        mcr("cut", "vggss", "set", "videos")
    assert "mcr-connect[video]" in error.value.hint
