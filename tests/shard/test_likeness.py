"""Copies that were saved anew are found; what is only alike is called so; old corpora are compared as far as they can be."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT
from pipeline.progress import Silent
from pipeline.shard import likeness as module
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.shard.likeness import likeness
from pipeline.store.content.leaks import described, find_leaks, not_looked_at
from pipeline.store.content.likeness import ALIKE, LIKENESS_NAME, unit_looks


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


def corpus(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    modality = {"png": IMAGE, "jpg": IMAGE, "flac": AUDIO, "wav": AUDIO}[next(iter(files)).rpartition(".")[2]]
    build_shards(
        folder, folder.with_name(f"{folder.name}-shards"), ShardSettings((modality,), 2, "error", 0.0), Silent()
    )
    return folder.with_name(f"{folder.name}-shards")


def test_copies_between_corpora_are_found_and_named(tmp_path):
    evaluation = corpus(tmp_path / "e", {f"e{seed}.png": saved(scene(seed), "PNG") for seed in range(5)})
    training = corpus(
        tmp_path / "t",
        {
            "a.png": saved(scene(0), "PNG"),
            "b.png": saved(scene(1), "PNG", compress_level=1),
            "c.jpg": saved(scene(2), "JPEG", quality=60),
            "d.png": saved(scene(50), "PNG"),
            "e4.png": saved(scene(51), "PNG"),
        },
    )
    leaks = find_leaks(evaluation, {"t": training})
    assert [(leak.key, leak.evaluation_key, leak.reason) for leak in leaks] == [
        ("a", "e0", "bytes"),
        ("b", "e1", "content"),
        ("c", "e2", "look"),
        ("e4", "e4", "key"),
    ]
    same, looks = described("e", leaks)
    assert same.startswith(
        "3 samples of t are also in the evaluation set e, 1 with the same bytes, 1 with the same content"
    )
    assert looks.startswith("1 pictures of t look like one of the evaluation set e (such as c and e2)")
    sounds = corpus(tmp_path / "s", {"x.wav": sound(format="WAV")})
    tests = corpus(tmp_path / "h", {"y.flac": sound(format="FLAC")})
    assert [(leak.key, leak.modality, leak.reason) for leak in find_leaks(tests, {"s": sounds})] == [
        ("x", AUDIO, "content")
    ]


def test_a_shard_is_looked_at_once(tmp_path, monkeypatch):
    files = {f"e{seed}.png": saved(scene(seed), "PNG") for seed in range(5)}
    shards = corpus(tmp_path / "e", files)
    before = (shards / LIKENESS_NAME).read_bytes()
    seen = []
    whole = module._likeness_of
    monkeypatch.setattr(module, "_likeness_of", lambda shard, *rest: seen.append(shard.name) or whole(shard, *rest))
    settings = ShardSettings((IMAGE,), 2, "error", 0.0)
    build_shards(tmp_path / "e", shards, settings, Silent())
    assert not seen and (shards / LIKENESS_NAME).read_bytes() == before
    (tmp_path / "e" / "e2.png").write_bytes(saved(scene(9), "PNG"))
    build_shards(tmp_path / "e", shards, settings, Silent())
    assert seen == ["00001.tar"]


def test_corpora_of_an_earlier_version_are_compared_by_bytes_and_named(tmp_path):
    files = {"a.png": saved(scene(0), "PNG")}
    evaluation, training = corpus(tmp_path / "e", files), corpus(tmp_path / "t", files)
    assert not not_looked_at(evaluation, {"t": training})
    (training / LIKENESS_NAME).unlink()
    assert [leak.reason for leak in find_leaks(evaluation, {"t": training})] == ["bytes"]
    assert not_looked_at(evaluation, {"t": training}) == ["t"]
