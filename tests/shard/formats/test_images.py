"""Large pictures are made smaller once, always with the same bytes."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import SampleError
from pipeline.shard.formats import images
from pipeline.shard.formats.images import shrink
from pipeline.shard.members import Conversion
from tests.shard.makers import picture, shards


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_the_longer_side_is_reduced_and_the_format_stays(kind, extension):
    content = picture(1, kind, (300, 200))
    result = shrink(content, 100)
    assert result is not None and result[0] == extension
    image = Image.open(io.BytesIO(result[1]))
    assert image.size == (100, 67) and image.format == kind
    assert shrink(content, 100) == result


def test_a_small_picture_keeps_its_bytes():
    assert shrink(picture(1, "JPEG", (100, 60)), 100) is None


def test_what_is_seen_stays_the_same():
    gradient = np.linspace(0, 255, 400, dtype=np.uint8)[None, :, None].repeat(200, 0).repeat(3, 2)
    buffer = io.BytesIO()
    Image.fromarray(gradient).save(buffer, "JPEG", quality=95)
    small = np.asarray(Image.open(io.BytesIO(shrink(buffer.getvalue(), 100)[1])), np.float32)
    np.testing.assert_allclose(small[25, :, 0], np.linspace(0, 255, 100), atol=4)


def test_the_mark_of_a_turned_picture_stays():
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera's name"
    Image.open(io.BytesIO(picture(1, "PNG", (300, 200)))).save(buffer, "JPEG", exif=exif)
    found = Image.open(io.BytesIO(shrink(buffer.getvalue(), 100)[1])).getexif()
    assert dict(found) == {0x0112: 6}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_pixel(mode):
    image = (
        Image.fromarray(np.arange(40_000, dtype=np.uint16).reshape(200, 200))
        if mode == "I;16"
        else Image.new(mode, (200, 200))
    )
    result = shrink(saved(image, "PNG"), 50)
    assert result is not None and Image.open(io.BytesIO(result[1])).size == (50, 50)


@pytest.mark.parametrize(
    "content",
    [
        b"nothing",
        picture(1, "PNG", (200, 200))[:500],
        saved(Image.new("RGB", (200, 200)), "ICO"),
        saved(Image.new("RGB", (200, 200)), "GIF")[:-40],
        saved(Image.new("RGB", (200, 200)), "TGA"),
    ],
)
def test_what_cannot_be_decoded_is_a_reject(content):
    with pytest.raises(SampleError):
        shrink(content, 100)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_32_bits_are_not_cut_to_8(dtype):
    values = np.random.default_rng(0).random((200, 200)).astype(dtype)
    with pytest.raises(SampleError, match="32 bits"):
        shrink(saved(Image.fromarray(values), "TIFF"), 100)


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    """13,300 x 13,300 pixels in half a megabyte would take 500 MB."""
    monkeypatch.setattr(images, "_smaller", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SampleError):
        shrink(saved(Image.new("1", (13_300, 13_300)), "PNG"), 100)


def test_a_corpus_records_how_and_is_made_again_when_that_changes(photos, tmp_path):
    (photos / "large.jpeg").write_bytes(picture(1, "JPEG", (300, 200)))
    small, _, manifest = shards(photos, tmp_path / "out", "image", conversion=Conversion(max_side=64))
    assert list(small["large"]) == ["jpg"]
    assert small["p000"] == {"png": (photos / "p000.png").read_bytes()}
    assert manifest.fingerprint["convert"]["image"]["max_side"] == 64
    (photos / "broken.png").write_bytes(picture(1, "PNG", (300, 200))[:400])
    _, rejected, manifest = shards(photos, tmp_path / "out", "image", conversion=Conversion(max_side=32))
    assert "damaged" in rejected["broken"]
    assert (manifest.rows, manifest.rejected) == (26, 1)
