"""Sounds: whole or refused, whatever their headers say."""

import contextlib
import io
import struct

import numpy as np
import pytest
import soundfile

from pipeline.decode import audio
from pipeline.decode.audio import decode_audio
from pipeline.errors import SampleError

RATE = 48_000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32)


def saved(samples: np.ndarray, kind: str = "WAV", rate: int = RATE, subtype: str | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype, **options)
    return buffer.getvalue()


def untagged(content: bytes) -> bytes:
    """An MP3 whose first frame no longer says how many follow."""
    return content.replace(b"Xing", bytes(4), 1).replace(b"Info", bytes(4), 1)


def mpeg_frames(content: bytes) -> int:
    """Frames of an MPEG 1 layer III file, counted one after the other."""
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    at = count = 0
    while at + 4 <= len(content):
        assert content[at] == 0xFF
        frequency = (44_100, 48_000, 32_000)[content[at + 2] >> 2 & 3]
        at += 144_000 * rates[content[at + 2] >> 4] // frequency + (content[at + 2] >> 1 & 1)
        count += 1
    return count


LOUD_FIRST = np.concatenate([NOISE[: RATE // 4], 1e-3 * np.tile(NOISE, 5)])
QUIET_FIRST = LOUD_FIRST[::-1].copy()
MP3 = {
    "variable, loud first": untagged(saved(LOUD_FIRST, "MP3", bitrate_mode="VARIABLE")),
    "variable, loud last": untagged(saved(QUIET_FIRST, "MP3", bitrate_mode="VARIABLE")),
    "average": untagged(saved(LOUD_FIRST, "MP3", bitrate_mode="AVERAGE")),
    "constant": untagged(saved(NOISE, "MP3", bitrate_mode="CONSTANT")),
    "stereo": untagged(saved(np.stack([LOUD_FIRST] * 2, 1), "MP3", bitrate_mode="VARIABLE")),
    "44.1 kHz": untagged(saved(LOUD_FIRST, "MP3", 44_100, bitrate_mode="VARIABLE")),
}


@pytest.mark.parametrize("kind", MP3)
def test_an_mp3_without_its_length_is_read_to_its_end(kind):
    content = MP3[kind]
    assert len(decode_audio(content).wave) == 1152 * mpeg_frames(content)


def test_in_most_of_them_libsndfile_guesses_wrong():
    guesses = {kind: soundfile.info(io.BytesIO(content)).frames for kind, content in MP3.items()}
    wrong = [kind for kind, content in MP3.items() if guesses[kind] != 1152 * mpeg_frames(content)]
    assert {"variable, loud first", "variable, loud last"} <= set(wrong)


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(300)])
def test_an_mp3_with_its_length_is_what_libsndfile_reads(mode, tail):
    content = saved(LOUD_FIRST, "MP3", bitrate_mode=mode) + tail
    np.testing.assert_array_equal(decode_audio(content).wave, soundfile.read(io.BytesIO(content), dtype="float32")[0])
    assert len(decode_audio(content).wave) == len(LOUD_FIRST)


@pytest.mark.parametrize(
    "junk", [bytes(100), b"ICY 200 OK\r\n" * 90, b"\xff\xf0" * 40 + b"\xff" * 40, b"ID3\4\0\0\x7f\x7f\x7f\x7f"]
)
def test_what_stands_before_the_first_frame_of_an_mp3_is_passed_over(junk):
    content = saved(NOISE, "MP3", bitrate_mode="CONSTANT")
    found, clean = decode_audio(junk + content).wave, decode_audio(content).wave
    # Where the first frame is missed, with what it says of the length, the rest follows.
    assert len(found) >= len(clean) - 1152
    tail = clean[-RATE:]
    shifts = [np.abs(found[len(found) - RATE - shift : len(found) - shift] - tail).max() for shift in range(0, 3000)]
    assert min(shifts) < 1e-4


CUT = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "OPUS", "MP3"]


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.97])
def test_cut_sounds_are_refused(kind, share):
    content = saved(NOISE, "OGG" if kind == "OPUS" else kind, subtype="OPUS" if kind == "OPUS" else None)
    assert abs(len(decode_audio(content).wave) - len(NOISE)) < 1000
    with pytest.raises(SampleError):
        decode_audio(content[: int(len(content) * share)])


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000])
def test_a_wav_from_a_pipe_is_whole(size):
    content = bytearray(saved(NOISE))
    content[4:8] = struct.pack("<I", min(size + 36, 0xFFFFFFFF))
    content[40:44] = struct.pack("<I", size)
    np.testing.assert_array_equal(decode_audio(bytes(content)).wave, decode_audio(saved(NOISE)).wave)


def test_a_wav_with_more_after_its_samples_is_whole():
    content = saved(NOISE) + b"LIST" + struct.pack("<I", 4) + b"abcd" + bytes(300)
    assert len(decode_audio(content).wave) == len(NOISE)


@pytest.mark.parametrize(
    ("scale", "subtype"), [(13_000, "FLOAT"), (127, "FLOAT"), (2**31, "FLOAT"), (32_768, "DOUBLE")]
)
def test_float_samples_on_the_scale_of_integers_are_refused(scale, subtype):
    with pytest.raises(SampleError, match="where 1 is full scale"):
        decode_audio(saved(NOISE * scale, subtype=subtype))


def test_float_samples_somewhat_beyond_full_scale_are_kept():
    np.testing.assert_array_equal(decode_audio(saved(NOISE * 3, subtype="FLOAT")).wave, NOISE * 3)


@pytest.mark.parametrize("rate", [1, 3_999, 384_001, 10_000_000])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(SampleError, match="samples a second"):
        decode_audio(saved(NOISE[:1000], rate=rate))


@pytest.mark.parametrize("rate", [4_000, 8_000, 384_000])
def test_rates_at_the_ends_are_read(rate):
    assert decode_audio(saved(NOISE[:1000], rate=rate)).rate == rate


def test_frames_and_channels_are_counted_before_anything_is_read(monkeypatch):
    many = saved(np.zeros((1000, 256), np.float32))
    assert len(decode_audio(many).wave) == 1000
    monkeypatch.setattr(audio, "MAX_VALUES", 255_999)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(SampleError, match="1000 frames in 256 channels"):
        decode_audio(many)
    monkeypatch.setattr(audio, "MAX_FRAMES", 10)
    with pytest.raises(SampleError, match="the limit is 10 frames"):
        decode_audio(saved(NOISE))


def test_an_mp3_is_not_read_beyond_the_limit(monkeypatch):
    monkeypatch.setattr(audio, "MAX_FRAMES", 50_000)
    with pytest.raises(SampleError, match="the limit is 50000 frames"):
        decode_audio(MP3["variable, loud first"])


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "OPUS"), ("AIFF", None), ("AU", None), ("CAF", None), ("W64", None), ("RF64", None)])  # fmt: skip
def test_other_formats_of_libsndfile_are_read(kind, subtype):
    wave = decode_audio(saved(0.5 * np.sin(np.arange(RATE) / 20).astype(np.float32), kind, subtype=subtype)).wave
    assert abs(len(wave) - RATE) < 1000
    assert 0.3 < np.sqrt(np.square(wave).mean()) < 0.4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_in_any_channel(value):
    samples = np.stack([NOISE[:1000]] * 2, 1)
    samples[700, 1] = value
    with pytest.raises(SampleError, match="not finite"):
        decode_audio(saved(samples, subtype="FLOAT"))


def test_formats_that_are_not_read_are_named():
    for content, name in [(b"\0\0\0\x20ftypM4A \0\0\0\0", "m4a"), (b"\x30\x26\xb2\x75" + bytes(60), "Windows Media"), (b"#!AMR\n" + bytes(60), "AMR"), (b"\x1a\x45\xdf\xa3" + bytes(60), "Matroska")]:  # fmt: skip
        with pytest.raises(SampleError, match=name):
            decode_audio(content)


def test_a_header_that_leads_before_the_start_prints_no_traceback(capfd):
    for kind in ("AIFF", "AU", "CAF", "WAV", "FLAC", "OGG"):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.zeros(64), 8000, format=kind)
        whole = buffer.getvalue()
        for place in range(4, min(len(whole), 60)):
            with contextlib.suppress(SampleError):
                decode_audio(whole[:place] + b"\x7f\xff\xff\xff" + whole[place + 4 :])
    assert "Traceback" not in capfd.readouterr().err
