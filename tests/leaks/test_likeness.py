"""What samples hold is the same whatever file it is in, and differs where the content does."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.leaks.likeness import likeness
from pipeline.leaks.tables import ALIKE, unit_looks
from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT


def scene(seed: int, side: int = 200) -> Image.Image:
    """A smooth random picture with some hard edges, as photographs have them."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 255, (6, 6, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    for _ in range(4):
        x, y = draw.integers(0, side - 40, 2)
        small.paste(tuple(draw.integers(0, 255, 3).tolist()), (x, y, x + 40, y + 30))
    return small


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def alike(first: bytes, second: bytes) -> float:
    looks = [likeness("k", IMAGE, content).look for content in (first, second)]
    vectors = unit_looks(look for look in looks if look is not None)
    return float(vectors[0] @ vectors[1])


RESAVED = {
    "jpeg": lambda image: saved(image, "JPEG", quality=75),
    "poor jpeg": lambda image: saved(image, "JPEG", quality=30),
    "webp": lambda image: saved(image, "WEBP", quality=70),
    "half": lambda image: saved(image.resize((100, 100), Image.Resampling.LANCZOS), "PNG"),
    "larger jpeg": lambda image: saved(image.resize((500, 500), Image.Resampling.BICUBIC), "JPEG"),
    "other shape": lambda image: saved(image.resize((256, 144)), "JPEG"),
    "brighter": lambda image: saved(image.point(lambda value: 10 + value * 9 // 10), "PNG"),
    "palette": lambda image: saved(image.quantize(256), "PNG"),
}


@pytest.mark.parametrize("way", RESAVED)
def test_a_picture_saved_anew_looks_like_itself(way):
    for seed in range(20):
        assert alike(saved(scene(seed), "PNG"), RESAVED[way](scene(seed))) >= ALIKE


def test_different_pictures_do_not_look_alike():
    looks = unit_looks(likeness("k", IMAGE, saved(scene(seed, 64), "PNG")).look for seed in range(600))
    products = looks @ looks.T - 2 * np.eye(600)
    assert products.max() < ALIKE - 0.05


def test_pictures_without_contrast_look_like_nothing():
    page = Image.new("RGB", (200, 200), "white")
    assert likeness("k", IMAGE, saved(page, "PNG")).look is None


SAME = {
    IMAGE: [
        saved(scene(1), "PNG"),
        saved(scene(1), "PNG", compress_level=0),
        saved(scene(1), "WEBP", lossless=True),
        saved(scene(1), "BMP"),
        saved(scene(1), "TIFF"),
    ],
    TEXT: ["Ein Café, am Meer!", "ein cafe\u0301 am meer", " EIN  CAFÉ — am\nMeer. ", "ein ｃａｆé am meer"],
}


def sound(**options: object) -> bytes:
    wave = np.round(np.random.default_rng(3).normal(0, 3000, 5000)).astype(np.int16)
    buffer = io.BytesIO()
    values = wave / 32768 if options.get("subtype") == "FLOAT" else wave
    soundfile.write(buffer, values, 16_000, **options)
    return buffer.getvalue()


SAME[AUDIO] = [sound(format="WAV"), sound(format="FLAC"), sound(format="AIFF"), sound(format="WAV", subtype="FLOAT")]


def cloud(dtype: str = "f4", order: slice = slice(None)) -> bytes:
    points = np.random.default_rng(5).normal(size=(300, 3)).astype("f4").astype(dtype)
    buffer = io.BytesIO()
    np.save(buffer, points[order])
    return buffer.getvalue()


def ply() -> bytes:
    points = np.random.default_rng(5).normal(size=(300, 3)).astype("<f4")
    fields = "".join(f"property float {name}\n" for name in "xyz")
    return f"ply\nformat binary_little_endian 1.0\nelement vertex 300\n{fields}end_header\n".encode() + points.tobytes()


SAME[POINT] = [cloud(), cloud("f8"), cloud(order=slice(None, None, -1)), ply()]
OTHER = {
    IMAGE: saved(scene(2), "PNG"),
    TEXT: "ein Café am Meere".encode(),
    AUDIO: sound(format="WAV")[:-2] + b"\x01\x00",
    POINT: cloud()[:-1] + b"\x00",
}


@pytest.mark.parametrize("modality", SAME)
def test_equal_content_in_other_files_is_equal(modality):
    encoded = [one.encode() if isinstance(one, str) else one for one in SAME[modality]]
    assert len(set(encoded)) == len(encoded), "the bytes differ"
    found = {likeness("k", modality, content).content for content in encoded}
    assert len(found) == 1 and None not in found
    assert likeness("k", modality, OTHER[modality]).content not in found


def test_a_jpeg_with_a_comment_is_the_same():
    first = saved(scene(4, 400), "JPEG", quality=80)
    second = first[:2] + b"\xff\xfe\x00\x09comment" + first[2:]
    assert likeness("k", IMAGE, first).content == likeness("k", IMAGE, second).content


@pytest.mark.parametrize("modality", SAME)
def test_what_cannot_be_decoded_is_left_to_others(modality):
    for content in (
        b"",
        b"fLaC" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"\xff\xd8\xff\xe0" + bytes(50),
        b"\xff",
    ):
        if modality != TEXT or content in (b"", b"\xff"):
            assert likeness("k", modality, content).content is None
