"""One picture and one span of sound: the right ones, upright, and what is not there is said."""

import io
import struct

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.errors import SampleError
from pipeline.prepare.seconds import take_seconds
from pipeline.prepare.video import Cut, take
from tests.makers.videos import av, grey, pitch, video


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


def test_frames_by_their_numbers_and_sounds_by_their_seconds(tmp_path):
    """As DTaoo/Discriminative-Sounding-Objects-Localization, music-exp/data/cut_videos.py numbers them: from 0, at the video's own rate."""
    path = video(tmp_path / "v.mp4", 6, fps=8)
    found = take_seconds(path, {0: [0, 7], 2: [16, 18, 20], 5: [40], 9: [72]})
    assert sorted(found.pictures) == [0, 7, 16, 18, 20, 40] and sorted(found.sounds) == [0, 2, 5], "9 is beyond the end"
    for number, picture in found.pictures.items():
        assert grey(picture) == pytest.approx(number, abs=1.5)
    for second, sound in found.sounds.items():
        wave, rate = soundfile.read(io.BytesIO(sound))
        assert len(wave) == rate and pitch(sound, 0) == pytest.approx(200 * (second + 1), abs=3)


@pytest.mark.parametrize(
    ("codecs", "wanted", "said"),
    [
        (
            ("mpeg4", "aac"),
            {2: [60]},
            "frame 60 is not in second 2 at 8.00 frames in a second: the annotated video had another",
        ),
        (("mpeg4", "aac"), {1: [0, 8]}, "frame 0 is not in second 1"),
        (("mpeg4", "aac"), {9: [72]}, "no frame 72"),
        (("mpeg4", ""), {0: [0]}, "no sound"),
        (("", "aac"), {0: [0]}, "no pictures"),
    ],
)
def test_frames_that_cannot_be_those_that_were_annotated(tmp_path, codecs, wanted, said):
    with pytest.raises(SampleError, match=said):
        take_seconds(video(tmp_path / "v.mp4", 3, fps=8, codecs=codecs), wanted)


def test_frames_of_a_video_that_does_not_say_its_rate_are_not_guessed(tmp_path):
    """As FFmpeg writes ASF."""
    with pytest.raises(SampleError, match="does not say its frame rate") as error:
        take_seconds(video(tmp_path / "v.asf", 3, fps=8, codecs=("mpeg4", "")), {0: [0, 7]})
    assert error.value.step == "decode"
