"""Headers of JPEG: as Pillow reads them, and nothing that two decoders might read differently."""

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.decode.jpeg_header import JpegHeader, plain_jpeg

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)).resize((70, 50))
FRAME = b"\xff\xc0\0\x11"


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    """The picture as a file; Pillow writes all three ways of sampling colours."""
    buffer = io.BytesIO()
    PICTURE.convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"comment": b"\xff\xda" * 9}, {"exif": b"x" * 999}]
)
def test_size_and_scans(mode: str, options: dict[str, Any]) -> None:
    assert plain_jpeg(jpeg(mode, **options)) == JpegHeader(70, 50, 1)
    many = JpegHeader(70, 50, 10 if mode == "RGB" else 6)  # libjpeg's usual ones
    assert plain_jpeg(jpeg(mode, progressive=True, **options)) == many


def test_the_scans_of_a_small_picture_in_the_header_do_not_count() -> None:
    small = b"Exif\0\0" + jpeg(progressive=True)
    assert plain_jpeg(jpeg(exif=small)) == JpegHeader(70, 50, 1)


@pytest.mark.parametrize("more", [1, 2, 2500])
def test_a_baseline_file_may_have_many_scans_as_well(more: int) -> None:
    assert plain_jpeg(jpeg()[:-2] + b"\xff\xda\0\2" * more + jpeg()[-2:]) == JpegHeader(70, 50, 1 + more)


def changed(old: bytes, new: bytes, source: bytes | None = None) -> bytes:
    source = source or jpeg()
    assert source.count(old) == 1
    return source.replace(old, new)


OTHERS = {
    "empty": b"",
    "only ends": b"\xff\xd8\xff\xd9",
    "inks": jpeg("CMYK"),
    "red, green, blue": jpeg(keep_rgb=True),
    "12 bits": changed(FRAME + b"\x08", FRAME + b"\x0c"),
    "arithmetic": changed(FRAME, b"\xff\xc9\0\x11"),
    "lossless": changed(FRAME, b"\xff\xc3\0\x11"),
    "extended": changed(FRAME, b"\xff\xc1\0\x11"),
    "no height": changed(FRAME + b"\x08\0\x32", FRAME + b"\x08\0\0"),
    "sampled by threes": changed(b"\x01\x22\0", b"\x01\x31\0"),
    "two frames": jpeg()[:2] + FRAME + b"\x08\0\x32\0\x46\x03\1\x22\0\2\x11\1\3\x11\1" + jpeg()[2:],
    "Adobe's other colours": jpeg()[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + jpeg()[2:],
    "something after the end": jpeg() + b"\0",
    "no end": jpeg()[:-2],
    "no frame": b"\xff\xd8" + jpeg()[jpeg().index(b"\xff\xda") :],
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_left_to_one_decoder(name: str) -> None:
    assert plain_jpeg(OTHERS[name]) is None
    assert plain_jpeg(jpeg()[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1" + jpeg()[2:]), "YCbCr, as Adobe says it"


def test_a_cut_file_is_never_whole_even_behind_a_small_picture() -> None:
    """Cameras put one into the header, with an end of its own."""
    for whole in (jpeg(), jpeg(progressive=True), jpeg(exif=b"Exif\0\0" + jpeg())):
        assert plain_jpeg(whole)
        assert not [length for length in range(len(whole)) if plain_jpeg(whole[:length])]


def test_what_is_found_in_damaged_headers_is_what_pillow_finds() -> None:
    draw, found = random.Random(0), 0
    for _ in range(3000):
        content = bytearray(jpeg(progressive=draw.random() < 0.5))
        head = content.index(b"\xff\xda")
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(2, head)] = draw.randrange(256)
        header = plain_jpeg(bytes(content))
        if header:
            found += 1
            try:
                image: Any = Image.open(io.BytesIO(content))
            except Exception:
                continue  # refused by Pillow, and by whoever decodes
            assert (image.size, image.bits) == (header[:2], 8) and image.mode in ("RGB", "L")
    assert found > 100
