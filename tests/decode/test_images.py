"""Pictures: one policy for each format, the same whether a picture is embedded, made smaller or shown."""

import ast
import io
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.decode.images import MAX_PIXELS, decode_image
from pipeline.errors import SampleError
from pipeline.shard.formats.images import shrink
from pipeline.thumbnails import shrink_picture

ROOT = Path(__file__).parents[2]
RED, BLUE = Image.new("RGB", (60, 40), (200, 30, 20)), Image.new("RGB", (60, 40), (10, 20, 220))
GREY = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # Pillow leaves settings of the last format in a picture
    return buffer.getvalue()


def colour(content: bytes) -> np.ndarray:
    """Mean of the pixels."""
    return np.asarray(decode_image(content), float).mean(axis=(0, 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_are_told_by_their_bytes(kind):
    image = decode_image(saved(RED, kind))
    assert (image.mode, image.size) == ("RGB", (60, 40))
    assert np.abs(np.asarray(image, float) - (200, 30, 20)).max() < 6


SEVERAL = {
    "MPO": saved(RED, "MPO", save_all=True, append_images=[BLUE.copy()]),
    "WEBP": saved(RED, "WEBP", save_all=True, append_images=[BLUE.copy()], lossless=True),
    "APNG": saved(RED, "PNG", save_all=True, append_images=[BLUE.copy()]),
    "GIF": saved(RED, "GIF", save_all=True, append_images=[BLUE.copy()]),
    "TIFF": saved(RED, "TIFF", save_all=True, append_images=[BLUE.copy()]),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_of_several_pictures_the_first_is_taken_whether_made_smaller_or_not(kind):
    content = SEVERAL[kind]
    assert getattr(Image.open(io.BytesIO(content)), "n_frames", 1) == 2
    extension, small = shrink(content, 20)
    assert Image.open(io.BytesIO(small)).size == (20, 13)
    assert getattr(Image.open(io.BytesIO(small)), "n_frames", 1) == 1
    assert extension == {"MPO": "jpg", "WEBP": "webp"}.get(kind, "png")
    for one in (content, small, shrink_picture(content)):
        assert np.abs(colour(one) - (200, 30, 20)).max() < 6


GREYS = {
    "png": saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "tiff": saved(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"),
    "tiff, compressed": saved(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF", compression="tiff_deflate"),
    "big endian tiff": b"MM\0*" + struct.pack(">IH", 8, 8)
    + b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">I", value) if kind == 4 else struct.pack(">HH", value, 0))
        for tag, kind, value in [(256, 4, 60), (257, 4, 40), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 110), (278, 4, 40), (279, 4, 4800)]
    )
    + bytes(4) + (GREY.astype(">u2") * 257).tobytes(),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREYS)
@pytest.mark.parametrize("mode", ["", "RGB"])
def test_grey_of_16_bits_is_the_same_picture_as_grey_of_8(kind, mode):
    image = decode_image(GREYS[kind], mode=mode)
    assert image.mode == (mode or "L")
    np.testing.assert_array_equal(np.asarray(image.convert("L")), GREY)


def test_any_grey_of_16_bits_is_rounded_to_the_nearest_of_8():
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    found = np.asarray(decode_image(saved(Image.fromarray(values), "PNG"), mode="L"), float)
    assert np.abs(found - values / 257).max() <= 0.5


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused(dtype):
    with pytest.raises(SampleError, match="32 bits"):
        decode_image(saved(Image.fromarray(GREY.astype(dtype)), "TIFF"))


def test_transparency_is_dropped_and_leaves_the_colours_below_it():
    clear = np.dstack([np.asarray(RED), np.zeros((40, 60), np.uint8)])
    for content in (
        saved(Image.fromarray(clear), "PNG"),
        saved(Image.fromarray(clear), "WEBP", lossless=True, exact=True),
    ):
        np.testing.assert_array_equal(colour(content), (200, 30, 20))
    grey = Image.fromarray(np.dstack([GREY, np.zeros_like(GREY)]))
    np.testing.assert_array_equal(np.asarray(decode_image(saved(grey, "PNG"), mode="L")), GREY)
    palette = RED.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_allclose(colour(saved(palette, "PNG", transparency=0)), (200, 30, 20), atol=4)


def test_two_colours_and_inks():
    black_white = Image.fromarray(GREY > 127)
    np.testing.assert_array_equal(np.asarray(decode_image(saved(black_white, "PNG")))[..., 0], (GREY > 127) * 255)
    for kind in ("JPEG", "TIFF"):
        np.testing.assert_allclose(colour(saved(RED.convert("CMYK"), kind)), (200, 30, 20), atol=6)


def test_a_turned_camera_is_not_acted_upon_where_it_is_embedded_and_is_where_people_look():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(RED, "JPEG", exif=exif)
    assert decode_image(content).size == (60, 40)
    assert decode_image(shrink(content, 30)[1]).size == (30, 20)
    assert Image.open(io.BytesIO(shrink(content, 30)[1])).getexif()[0x0112] == 6
    assert Image.open(io.BytesIO(shrink_picture(content))).size == (40, 60)


NOT_READ = {
    kind: saved(RED, kind) for kind in ("ICO", "TGA", "PCX", "PPM", "SGI", "DDS", "JPEG2000", "EPS", "PDF")
} | {"PSD": b"8BPS\0\1" + bytes(200), "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_READ)
def test_all_other_formats_are_refused_and_start_no_other_program(kind, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    for use in (decode_image, lambda content: shrink(content, 20), shrink_picture):
        with pytest.raises(SampleError, match="not an image of a format that is read"):
            use(NOT_READ[kind])


def test_the_reason_names_a_format_that_is_not_read():
    for content, name in [(b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"), (b"\0\0\0\x18ftypheic", "HEIF"), (b"\0\0\0\x1cftypavif", "AVIF"), (b"<!DOCTYPE html><html>", "web page")]:  # fmt: skip
        with pytest.raises(SampleError, match=f"seems to be .*{name}"):
            decode_image(content)


def png_of(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\x20IDAT" + bytes(40)


def patched(content: bytes, at: int, values: bytes) -> bytes:
    return content[:at] + values + content[at + len(values) :]


BOMBS = {
    "png": png_of(60_000, 60_000),
    "png, barely": png_of(MAX_PIXELS // 8 + 1, 8),
    "gif": patched(saved(RED, "GIF"), 6, struct.pack("<HH", 60_000, 60_000)),
    "bmp": patched(saved(RED, "BMP"), 18, struct.pack("<ii", 60_000, 60_000)),
    "tiff": saved(Image.new("1", (9_000, 9_000)), "TIFF", compression="group4"),
    "jpeg": patched(saved(RED, "JPEG"), saved(RED, "JPEG").index(b"\xff\xc0") + 5, struct.pack(">HH", 60_000, 60_000)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_by_their_header(kind, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for use in (decode_image, lambda content: shrink(content, 20), shrink_picture):
        with pytest.raises(SampleError, match="pixels|bomb"):
            use(BOMBS[kind])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_pictures_are_refused(kind, share):
    content = saved(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)), kind)
    with pytest.raises(SampleError):
        decode_image(content[: int(len(content) * share)])


def test_pictures_and_sounds_are_opened_in_one_place():
    opened = {"Image": {"open"}, "soundfile": {"read", "SoundFile", "blocks", "info"}}
    found = {
        str(path.relative_to(ROOT))
        for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in opened.get(node.value.id, ())
    }
    assert found == {"pipeline/decode/images.py", "pipeline/decode/audio.py"}
