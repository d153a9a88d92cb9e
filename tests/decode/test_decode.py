"""Bytes to pictures, sounds, points and text: round trips, limits, and words for what is wrong."""

import io
import struct

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.decode import audio, images, text
from pipeline.decode.audio import decode_audio
from pipeline.decode.clouds import checks
from pipeline.decode.clouds.points import decode_points
from pipeline.decode.images import decode_image
from pipeline.decode.text import decode_text
from pipeline.errors import SampleError


def image_bytes(mode="RGB", size=(5, 4), kind="PNG"):
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def audio_bytes(samples, rate=8000, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **options})
    return buffer.getvalue()


def npy_bytes(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "PNG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP")]
)
def test_any_image_becomes_rgb(mode, kind):
    image = decode_image(image_bytes(mode, kind=kind))
    assert (image.mode, image.size) == ("RGB", (5, 4))


@pytest.mark.parametrize(
    ("payload", "message"),
    [(b"", "not an image"), (b"hello", "not an image"), (image_bytes(size=(64, 64))[:900], "damaged")],
)
def test_bad_images(payload, message):
    with pytest.raises(SampleError, match=message) as error:
        decode_image(payload)
    assert error.value.step == "decode"


def test_the_pixel_limit_is_read_from_the_header(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 59_999)
    header = image_bytes(size=(300, 200))[:60]  # the pixels are missing: decoding them would be another error
    with pytest.raises(SampleError, match="300 x 200"):
        decode_image(header)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_sound_round_trip_and_mean_of_channels(kind):
    samples = np.random.default_rng(0).integers(-30000, 30000, (50, 2)).astype(np.int16)
    sound = decode_audio(audio_bytes(samples, 44100, format=kind))
    assert sound.rate == 44100 and sound.wave.dtype == np.float32
    np.testing.assert_allclose(sound.wave, samples.mean(axis=1) / 32768, atol=1e-6)


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_lossy_sounds_sound_the_same(kind):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050).astype(np.float32)
    sound = decode_audio(audio_bytes(tone, 22_050, format=kind, subtype=None))
    assert sound.rate == 22_050 and sound.wave.shape == tone.shape
    np.testing.assert_allclose(sound.wave[2000:-2000], tone[2000:-2000], atol=0.02)


def test_bad_sounds(monkeypatch):
    good = audio_bytes(np.zeros(50, np.int16))
    for payload, message in [
        (b"", "not audio"),
        (b"hello", "not audio"),
        (audio_bytes(np.zeros(0, np.int16)), "without a single frame"),
        (audio_bytes(np.array([0.5, np.nan]), subtype="FLOAT"), "not finite"),
    ]:
        with pytest.raises(SampleError, match=message):
            decode_audio(payload)
    monkeypatch.setattr(audio, "MAX_FRAMES", 49)
    with pytest.raises(SampleError, match="50 frames, the limit is 49"):
        decode_audio(good)


def test_a_cut_flac_is_refused():
    samples = np.random.default_rng(0).integers(-30000, 30000, 20000).astype(np.int16)
    payload = audio_bytes(samples, format="FLAC")
    with pytest.raises(SampleError):
        decode_audio(payload[: len(payload) // 2])


def test_points_round_trip():
    points = np.random.default_rng(0).random((7, 6), dtype=np.float32)
    np.testing.assert_array_equal(decode_points(npy_bytes(points)), points)
    np.testing.assert_array_equal(decode_points(npy_bytes(np.asfortranarray(points))), points)
    assert decode_points(npy_bytes(points[:, :3].astype(np.float16))).shape == (7, 3)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "neither"),
        (npy_bytes(np.array([{"a": 1}], dtype=object), allow_pickle=True), "pickle"),
        (npy_bytes(np.zeros((4, 5))), "shape"),
        (npy_bytes(np.zeros((0, 3))), "without a single point"),
        (npy_bytes(np.full((2, 3), np.inf)), "not finite"),
        (npy_bytes(np.zeros((9, 3)))[:-1], "fewer bytes"),
        (b"\x93NUMPY\x01\x00\xff", "damaged"),
        (b"ply\nformat ascii 1.0\n", "end of its header"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "without x, y, z"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n4 5 six\n",
            "not all numbers",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n123",
            "ends before",
        ),
    ],
)
def test_bad_points(payload, message):
    with pytest.raises(SampleError, match=message):
        decode_points(payload)


def test_the_point_limit_is_read_from_the_header(monkeypatch):
    monkeypatch.setattr(checks, "MAX_POINTS", 8)
    with pytest.raises(SampleError, match="the limit is 8"):
        decode_points(npy_bytes(np.zeros((9, 3))))


@pytest.mark.parametrize(("form", "order"), [("ascii", ""), ("binary_little_endian", "<"), ("binary_big_endian", ">")])
def test_ply(form, order):
    rows = [(1.0, 2.0, 3.0, 255, 0, 51), (4.0, 5.0, 6.0, 0, 255, 0)]
    header = (
        f"ply\nformat {form} 1.0\ncomment by hand\nelement vertex 2\n"
        + "".join(f"property float {axis}\n" for axis in "xyz")
        + "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue"))
        + "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if form == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
    else:
        body = b"".join(struct.pack(f"{order}fffBBB", *row) for row in rows)
    expected = np.array(rows, np.float32)
    expected[:, 3:] /= 255
    np.testing.assert_allclose(decode_points(header.encode() + body), expected)


def test_text(monkeypatch):
    assert decode_text("\ufeff a red caf\u00e9 \n".encode()) == "a red caf\u00e9"
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 10)
    for payload, message in [(b"\xff\xfe", "byte 0"), (b" \n", "without a character"), (b"a" * 11, "the limit is 10")]:
        with pytest.raises(SampleError, match=message):
            decode_text(payload)
