"""Frames and sounds out of videos that PyAV writes: the right picture, the right span, and what is no video."""

import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.errors import SampleError, UserError
from pipeline.prepare.video import Cut, take
from tests.makers.walk import mcr
from tests.shard.makers import shards

av = pytest.importorskip("av")
RATE = 44_100


def video(
    path: Path, seconds: int, fps: int = 5, codecs: tuple[str, str] = ("mpeg4", "aac"), late: float = 0.0
) -> Path:
    """Frame n is grey of the value n; second s sounds at 200 (s + 1) Hz on the left and 3,000 Hz on the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if codecs[0]:
            pictures = container.add_stream(codecs[0], rate=fps, options={"g": "12"})
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            pictures.bit_rate = 2_000_000
        if codecs[1]:
            rate = 48_000 if codecs[1] == "libopus" else RATE
            sounds = container.add_stream(codecs[1], rate=rate, layout="stereo")
        for number in range(seconds * fps if codecs[0] else 0):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            frame.pts = number + round(late * fps)
            container.mux(pictures.encode(frame))
        if codecs[0]:
            container.mux(pictures.encode())
        if codecs[1]:
            time = np.arange(seconds * rate) / rate
            left, right = np.sin(2 * np.pi * 200 * (np.floor(time) + 1) * time), np.sin(2 * np.pi * 3000 * time)
            samples = (np.stack([left, right]) * 0.4).astype(np.float32)
            for start in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "stereo"
                )
                frame.rate, frame.pts = rate, start + round(late * rate)
                container.mux(sounds.encode(frame))
            container.mux(sounds.encode())
    return path


def grey(picture: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(picture))).mean())


def pitch(sound: bytes, second: float) -> float:
    """Frequency in the middle of a second, on the left."""
    wave, rate = soundfile.read(io.BytesIO(sound))
    piece = wave[int((second + 0.25) * rate) : int((second + 0.75) * rate), 0]
    return float(np.abs(np.fft.rfft(piece)).argmax() / len(piece) * rate)


@pytest.mark.parametrize(
    ("ending", "codecs"),
    [
        ("mp4", ("libx264", "aac")),
        ("mp4", ("mpeg4", "aac")),
        ("webm", ("libvpx", "libopus")),
        ("mkv", ("mpeg4", "aac")),
    ],
)
@pytest.mark.parametrize(
    ("cut", "frame", "first"),
    [
        (Cut(), 25, 0),  # in the middle
        (Cut(frame=0.0), 0, 0),
        (Cut(frame=7.1), 35, 0),  # shown from 7.0 s on
        (Cut(start=2, seconds=4), 20, 2),
        (Cut(start=2, seconds=4, frame=3.4), 27, 2),
    ],
)
def test_the_picture_and_the_span(tmp_path, ending, codecs, cut, frame, first):
    taken = take(video(tmp_path / f"v.{ending}", 10, codecs=codecs), cut)
    assert grey(taken.picture) == pytest.approx(frame, abs=1.5)
    assert taken.frame_at == pytest.approx(frame / 5, abs=0.03)
    wave, rate = soundfile.read(io.BytesIO(taken.sound))
    assert rate == taken.rate and wave.shape[1] == 2
    assert len(wave) / rate == pytest.approx(cut.seconds or 10, abs=0.1)
    for second in (0, 3):
        assert pitch(taken.sound, second) == pytest.approx(200 * (first + second + 1), abs=3)


def test_a_stream_that_begins_late_is_counted_from_its_beginning(tmp_path):
    taken = take(video(tmp_path / "v.mkv", 10, late=4.0), Cut(frame=3.0))
    assert grey(taken.picture) == pytest.approx(15, abs=1.5)
    assert pitch(taken.sound, 2) == pytest.approx(600, abs=3)


UNITY = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("matrix", "shape", "bright"),
    [
        ((65536, 0, 0, 0, 65536, 0, 0, 0), (48, 64), "top left"),
        ((0, 65536, 0, -65536, 0, 0, 48 << 16, 0), (64, 48), "top right"),
        ((-65536, 0, 0, 0, -65536, 0, 64 << 16, 48 << 16), (48, 64), "bottom right"),
        ((0, -65536, 0, 65536, 0, 0, 0, 64 << 16), (64, 48), "bottom left"),
    ],
)
def test_a_picture_is_upright_as_the_video_says(tmp_path, matrix, shape, bright):
    """By the matrix of the track header, ISO/IEC 14496-12: x' = a x + c y + tx, y' = b x + d y + ty. It was not read."""
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = 255
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file, header, track = path.read_bytes().partition(b"tkhd")
    path.write_bytes(file + header + track.replace(UNITY, struct.pack(">9i", *matrix, 1 << 30), 1))
    taken = take(path, Cut(frame=0.0), sound=False)
    grey = np.asarray(Image.open(io.BytesIO(taken.picture)).convert("L"), float)
    assert grey.shape == shape
    half, wide = grey.shape[0] // 2, grey.shape[1] // 2
    rows, columns = {"top": grey[:half], "bottom": grey[half:]}, {"left": slice(0, wide), "right": slice(wide, None)}
    means = {f"{y} {x}": rows[y][:, columns[x]].mean() for y in rows for x in columns}
    assert max(means, key=means.__getitem__) == bright and sorted(means.values())[2] < 20


@pytest.mark.parametrize(
    ("codecs", "cut", "said"),
    [
        (("mpeg4", ""), Cut(), "has no sound"),
        (("", "aac"), Cut(), "has no pictures"),
        (("mpeg4", "aac"), Cut(frame=11.0), "no frame at 11.000 s"),
        (("mpeg4", "aac"), Cut(start=12, seconds=2, frame=-2.5), "no sound from"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, codecs, cut, said):
    with pytest.raises(SampleError, match=said):
        take(video(tmp_path / "v.mkv", 10, codecs=codecs), cut)


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
    assert "3 listed, 3 cut" in mcr("cut", "sounds", "data/raw/sounds", "mine")
    assert sorted(path.name for path in Path("data/raw/sounds/audio").iterdir()) == ["a.wav", "b.wav", "c.wav"]
    samples, rejected, _ = shards(Path("data/raw/sounds"), tmp_path / "out", "audio")
    assert len(samples) == 3 and not rejected
    assert "1 listed, 1 cut" in mcr("cut", "pictures-and-sounds", "both", "mine")
    assert Path("both/frames/b.jpg").is_file()


def test_names_that_ffmpeg_takes_for_an_address_and_links_that_lead_nowhere(tmp_path, monkeypatch):
    """With `.` for the folder a time in a name looked like `scheme:`; a link to a drive that is gone ended the command."""
    monkeypatch.chdir(tmp_path)
    name = "12:30 a dog.m4a"
    video(tmp_path / "a.m4a", 1, codecs=("", "aac")).rename(name)
    Path("gone.mp4").symlink_to("/nowhere/gone.mp4")
    Path("folder.mp4").mkdir()
    assert "1 listed, 1 cut" in mcr("cut", "sounds", "out", ".")
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
