"""JPEGs decoded by torchvision where the model is: near Pillow's, and whatever is doubtful is Pillow's."""

import io
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image

from pipeline.decode.jpeg_header import plain_jpeg
from pipeline.errors import SampleError, UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.open_clip import jpeg_decoder
from pipeline.spaces.open_clip.jpeg_decoder import JpegDecoder
from pipeline.spaces.open_clip.list_size import ListSize
from pipeline.spaces.open_clip.space import OpenClipSpace
from pipeline.testing.fake_cuda import fake_cuda
from tests.spaces.open_clip.test_jpeg import picture
from tests.spaces.open_clip.test_open_clip import tiny, tokens_of
from tests.spaces.open_clip.test_resize import model_of

GOOD = [picture(200 + 13 * number, 300 - 7 * number) for number in range(12)]


@pytest.fixture(scope="module")
def spaces() -> tuple[OpenClipSpace, OpenClipSpace]:
    """By Pillow, and on the device."""
    model = model_of()
    by_pillow, there = (OpenClipSpace(model, tokens_of, "fp32", "cpu", {}, None, way) for way in ("whole", "device"))
    return by_pillow, there


@pytest.fixture
def pictures() -> JpegDecoder:
    return JpegDecoder(PreprocessCfg(size=32), "cpu")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files torchvision is given at a time."""
    import torchvision.io

    decode, asked = torchvision.io.decode_jpeg, list[int]()

    def spy(files: list[torch.Tensor], *others: Any) -> Any:
        asked.append(len(files))
        return decode(files, *others)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", spy)
    return asked


def again(payload: bytes, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(payload)).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


@pytest.mark.cuda
def test_a_gpu_makes_nearly_the_same_pictures_also_while_it_computes(pictures: JpegDecoder) -> None:
    files = [again(one, progressive=number % 3 == 0) for number, one in enumerate(GOOD * 8)]
    there, busy = JpegDecoder(PreprocessCfg(size=32), "cuda"), torch.randn(4096, 4096, device="cuda")
    for _ in range(5):
        for _ in range(20):
            busy = torch.nn.functional.normalize(busy @ busy)
        found = there([*files, OTHERS["broken"]])
        assert found.pop() is None
        for one, expected in zip(found, pictures(files), strict=True):
            assert (one.cpu().float() - expected.float()).abs().mean() < 4
    assert busy.isfinite().all()


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (33, 900), (41, 37), (20, 11), (1, 1), (32, 32)])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"mode": "L"}], ids=str)
def test_it_comes_within_two_steps_of_pillow(pictures, spaces, size, options: dict[str, Any]) -> None:
    mode = options.get("mode", "RGB")
    payload = again(picture(*size, mode=mode), **{name: value for name, value in options.items() if name != "mode"})
    [found] = pictures([payload])
    expected = spaces[0].preprocess("image", payload)
    assert found.shape == expected.shape and found.dtype == torch.uint8 and found.is_contiguous()
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 2 and difference.float().mean() < 0.3
    assert torch.equal(found, spaces[1].preprocess("image", payload)), "alone as in a list"


def test_embeddings_are_as_near(spaces: tuple[OpenClipSpace, OpenClipSpace]) -> None:
    found = spaces[1].on_device["image"](GOOD)
    rows = [spaces[0].encode("image", torch.stack([spaces[0].preprocess("image", one) for one in GOOD]))]
    rows.append(spaces[1].encode("image", torch.stack(found)))  # type: ignore[arg-type]
    cosines = (rows[0] * rows[1]).sum(1)
    assert cosines.mean() > 0.9995 and cosines.min() > 0.995
    assert (rows[0] @ rows[0].T).min() < 0.99, "the model tells these pictures apart"


# A header that seems whole, before a body that no decoder reads: the factors of its numbers are missing.
BROKEN = GOOD[0].replace(b"\xff\xdb", b"\xff\xfe")
OTHERS = {
    "cut": GOOD[0][:-500],
    "no end": GOOD[0][:-2],
    "broken": BROKEN,
    "png": picture(60, 50, "PNG"),
    "webp": picture(60, 50, "WEBP"),
    "inks": picture(60, 50, mode="CMYK"),
    "words": b"no picture",
    "nothing": b"",
    "bomb": GOOD[0].replace(b"\xff\xc0\0\x11\x08\1\x2c\0\xc8", b"\xff\xc0\0\x11\x08\xff\xff\xff\xff"),
}


def outcome(space: OpenClipSpace, payload: bytes) -> torch.Tensor | tuple[str, str]:
    try:
        return space.preprocess("image", payload)
    except SampleError as error:
        return error.step, error.message


@pytest.mark.parametrize("name", OTHERS)
def test_others_and_their_faults_are_pillows_and_harm_no_neighbour(pictures, spaces, name: str) -> None:
    before, found, after = pictures([GOOD[1], OTHERS[name], GOOD[2]])
    assert found is None
    assert torch.equal(before, pictures([GOOD[1]])[0]) and torch.equal(after, pictures([GOOD[2]])[0])
    by_pillow, there = (outcome(space, OTHERS[name]) for space in spaces)
    assert torch.equal(by_pillow, there) if isinstance(by_pillow, torch.Tensor) else by_pillow == there
    assert isinstance(by_pillow, torch.Tensor) == (name in ("png", "webp", "inks"))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_bomb_and_endless_scans_reach_no_decoder(pictures, asked: list[int], progressive: bool) -> None:
    endless = again(GOOD[0], progressive=progressive).replace(b"\xff\xd9", b"\xff\xda\0\2" * 20_000 + b"\xff\xd9")
    assert pictures([OTHERS["bomb"], endless]) == [None, None] and not asked


@pytest.mark.parametrize("size", [(6000, 1), (1, 6000)])
def test_a_thin_picture_that_would_be_resized_to_a_huge_one_reaches_no_decoder(asked: list[int], size: Any) -> None:
    pictures, thin = JpegDecoder(PreprocessCfg(size=224), "cpu"), picture(*size)
    asked.clear()
    assert pictures([thin]) == [None] and not asked
    [squashed] = JpegDecoder(PreprocessCfg(size=224, resize_mode="squash"), "cpu")([thin])
    assert squashed is not None, "it has the model's size at once"


def test_damaged_files_have_one_fate_with_and_without_it(spaces: tuple[OpenClipSpace, OpenClipSpace]) -> None:
    draw, kinds = random.Random(1), set()
    for _ in range(300):
        content = bytearray(again(picture(40, 30), progressive=draw.random() < 0.5))
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        by_pillow, there = (outcome(space, bytes(content)) for space in spaces)
        kinds.add(type(by_pillow))
        if isinstance(by_pillow, torch.Tensor) and isinstance(there, torch.Tensor):
            assert (by_pillow.int() - there.int()).abs().max() <= 2
        else:
            assert by_pillow == there
    assert kinds == {torch.Tensor, tuple}


def test_lists_hold_no_more_pixels_than_they_may(pictures, asked: list[int]) -> None:
    alone = [pictures([one])[0] for one in GOOD]
    asked.clear()
    pictures.list_size = ListSize(3 * 200 * 300)
    assert all(map(torch.equal, pictures(GOOD), alone))
    assert sum(asked) == 12 and 1 < max(asked) < 5


def test_pictures_of_one_size_are_resized_together(pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, with the same numbers."""
    payloads = [picture(90, 70), GOOD[0], again(picture(90, 70), quality=20), picture(70, 90)]
    alone, shapes, resize = pictures(payloads), [], jpeg_decoder.Resizer.by_torch

    def spy(resizer: Any, pixels: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(pixels.shape))
        return resize(resizer, pixels)

    monkeypatch.setattr(jpeg_decoder.Resizer, "by_torch", spy)
    pictures.stacks = True
    assert all(map(torch.equal, pictures(payloads), alone))
    assert sorted(shapes) == [(1, 3, 90, 70), (1, 3, 300, 200), (2, 3, 70, 90)]


@pytest.fixture
def on_gpu(pictures, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """As if `pictures` were decoded on a GPU with memory for `room` of them; returns what is done there."""
    import torchvision.io

    decode, done = torchvision.io.decode_jpeg, list[str]()

    def of(room: int) -> list[str]:
        def full(files: list[torch.Tensor], mode: Any, device: torch.device) -> Any:
            done.append(f"decode {len(files)}")
            assert device.type == "cuda"
            if len(files) > room:
                raise RuntimeError("Error while decoding JPEG images: Failed to decode batch: 5")
            return decode(files, mode, "cpu")

        class Stream:
            def synchronize(self) -> None:
                done.append("wait")

            def __enter__(self) -> None:
                done.append("begin")

            def __exit__(self, *_: object) -> None:
                done.append("end")

        monkeypatch.setattr(torchvision.io, "decode_jpeg", full)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("free"))
        pictures.device = torch.device("cuda")
        return done

    return of


def test_pictures_that_do_not_fit_together_are_decoded_in_halves_and_in_shorter_lists_then(pictures, on_gpu) -> None:
    alone = [pictures([one])[0] for one in GOOD]
    done, size = on_gpu(3), pictures.list_size
    most = size.pixels
    assert all(map(torch.equal, pictures(GOOD), alone))
    fits = ["begin", "wait", "decode 3", "wait", "end"]
    half = ["begin", "wait", "decode 6", "end", "free", *fits, *fits]
    assert done == ["begin", "wait", "decode 12", "end", "free", *half, *half]
    together = size.pixels
    assert together < 0.4 * sum(one.width * one.height for one in map(plain_jpeg, GOOD) if one)
    done.clear()
    pictures(GOOD)
    assert "decode 12" not in done and "decode 6" not in done and size.pixels > together, "and grows again"
    for _ in range(64):
        pictures(GOOD[:1])
    assert size.pixels == most


def test_lists_that_fail_at_the_same_time_make_the_next_ones_shorter_once() -> None:
    size = ListSize(1000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(size.too_many, [800] * 40))
    assert size.pixels == 400
    size.too_many(1)
    assert size.pixels == 1, "never 0"


def test_on_a_gpu_pictures_are_resized_where_they_are(pictures) -> None:
    pictures.stacks = True
    with fake_cuda():
        sizes = [(50, 40), (50, 40), (32, 32), (20, 90)]
        found = pictures._resized([torch.zeros(3, *size, dtype=torch.uint8, device="cuda") for size in sizes])
        assert {(one.device.type, one.dtype, one.shape) for one in found} == {("cuda", torch.uint8, (3, 32, 32))}


def test_a_single_one_that_does_not_fit_is_said_in_a_sentence(pictures, on_gpu) -> None:
    on_gpu(0)
    with pytest.raises(UserError, match="does not fit into the memory of the GPU"):
        pictures(GOOD)


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        (lambda *_: (_ for _ in ()).throw(RuntimeError("torchvision not compiled with nvJPEG support")), "nvJPEG"),
        (lambda *_: (_ for _ in ()).throw(ImportError("cannot import name 'decode_jpeg'")), "cannot import"),
        (lambda files, *_: [torch.zeros(3, 256, 256, dtype=torch.uint8) for _ in files], "differ from Pillow's"),
    ],
    ids=["no nvJPEG", "no decoder", "black"],
)
def test_a_torchvision_that_cannot_is_refused_when_the_space_is_loaded(pictures, monkeypatch, decoder, said) -> None:
    monkeypatch.setattr("torchvision.io.decode_jpeg", decoder)
    with pytest.raises(UserError, match=said) as caught:
        OpenClipSpace(model_of(), tokens_of, "fp32", "cpu", {}, None, "device")
    assert "jpeg: device" in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_in_a_sentence(pictures) -> None:
    with pytest.raises(UserError, match="cannot decode JPEGs on cuda"):
        JpegDecoder(PreprocessCfg(size=32), "cuda")


def test_what_the_decoder_refuses_is_said_once(pictures, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        pictures([BROKEN, BROKEN])
        pictures([BROKEN])
    assert caplog.text.count("refuses a JPEG") == 1


def test_it_is_recorded_where_it_is_asked_for_only(spaces: tuple[OpenClipSpace, OpenClipSpace]) -> None:
    by_pillow, there = (space.fingerprint("image")["preprocessing"] for space in spaces)
    assert there == {**by_pillow, "jpeg": "device"} and "jpeg" not in by_pillow  # type: ignore[dict-item]
    assert not spaces[0].on_device
    assert spaces[0].fingerprint("text") == spaces[1].fingerprint("text")


def test_it_comes_from_the_options_of_a_space_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.get_tokenizer", lambda name: tokens_of)
    torch.save(tiny().state_dict(), tmp_path / "tiny.pt")
    spec = SpaceSpec("open_clip", str(tmp_path / "tiny.pt"), model="ViT-B-32", options={"jpeg": "device"})
    monkeypatch.setattr("pipeline.spaces.open_clip.space.build_model", lambda files, options: model_of())
    assert "image" in load_space(spec).on_device  # type: ignore[attr-defined]
    longest = lambda files, options: model_of(resize_mode="longest")  # noqa: E731
    monkeypatch.setattr("pipeline.spaces.open_clip.space.build_model", longest)
    with pytest.raises(UserError, match="longest") as caught:
        load_space(spec)
    assert "jpeg: device" in caught.value.hint
