"""Pictures resized by torch: what Pillow makes of them to two steps of 255, recorded, and nothing else changes."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP, set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg
from PIL import Image

from pipeline.errors import SampleError, UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.open_clip.resize import Resizer
from pipeline.spaces.open_clip.space import OpenClipSpace
from tests.spaces.open_clip.test_jpeg import picture
from tests.spaces.open_clip.test_open_clip import tiny, tokens_of


def model_of(**config: object) -> CLIP:
    """A small model for pictures of 32 pixels, or as `config` says."""
    model = tiny()
    set_model_preprocess_cfg(model, asdict(PreprocessCfg(**{"size": 32, **config})))  # type: ignore[arg-type]
    return model


def spaces_of(**config: object) -> tuple[OpenClipSpace, OpenClipSpace]:
    """By Pillow and by torch."""
    model = model_of(**config)
    by_pillow, by_torch = (
        OpenClipSpace(model, tokens_of, "fp32", "cpu", {}, None, "whole", way) for way in ("pillow", "torch")
    )
    return by_pillow, by_torch


@pytest.fixture(scope="module")
def spaces() -> tuple[OpenClipSpace, OpenClipSpace]:
    return spaces_of()


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (479, 641), (33, 900), (41, 37), (20, 11), (1, 1), (32, 31)])
@pytest.mark.parametrize("config", [{}, {"resize_mode": "squash"}, {"interpolation": "bilinear"}], ids=str)
def test_it_comes_within_two_steps_of_pillow(size: tuple[int, int], config: dict[str, object]) -> None:
    by_pillow, by_torch = (space.preprocess("image", picture(*size, "PNG")) for space in spaces_of(**config))
    assert (
        by_torch.shape == by_pillow.shape == (3, 32, 32) and by_torch.dtype == torch.uint8 and by_torch.is_contiguous()
    )
    difference = (by_torch.int() - by_pillow.int()).abs()
    assert difference.max() <= 2 and difference.float().mean() < 0.3


def test_embeddings_are_as_near(spaces: tuple[OpenClipSpace, OpenClipSpace]) -> None:
    payloads = [picture(200 + 13 * number, 300 - 7 * number) for number in range(12)]
    rows = [
        space.encode("image", torch.stack([space.preprocess("image", one) for one in payloads])) for space in spaces
    ]
    cosines = (rows[0] * rows[1]).sum(1)
    assert cosines.mean() > 0.9995 and cosines.min() > 0.995
    assert (rows[0] @ rows[0].T).min() < 0.99, "the model tells these pictures apart"


@pytest.mark.parametrize(("size", "mode"), [((90, 70), "L"), ((90, 70), "RGBA"), ((90, 70), "P"), ((32, 32), "RGB")])
def test_other_modes_and_pictures_of_the_right_size_stay_as_they_are(
    spaces: tuple[OpenClipSpace, OpenClipSpace], size: tuple[int, int], mode: str
) -> None:
    by_pillow, by_torch = (space.preprocess("image", picture(*size, "PNG", mode)) for space in spaces)
    assert torch.equal(by_pillow, by_torch)


def test_it_is_recorded_where_it_is_asked_for_only(spaces: tuple[OpenClipSpace, OpenClipSpace]) -> None:
    by_pillow, by_torch = (space.fingerprint("image")["preprocessing"] for space in spaces)
    assert by_torch == {**by_pillow, "resize": "torch"} and "resize" not in by_pillow
    assert spaces[0].fingerprint("text") == spaces[1].fingerprint("text")


def test_it_comes_from_the_options_of_a_space_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.spaces.open_clip.space.build_model", lambda files, options: model_of())
    monkeypatch.setattr("open_clip.get_tokenizer", lambda name: tokens_of)
    torch.save(tiny().state_dict(), tmp_path / "tiny.pt")
    spec = SpaceSpec("open_clip", str(tmp_path / "tiny.pt"), model="ViT-B-32")
    assert "resize" in str(load_space(replace(spec, options={"resize": "torch"})).fingerprint("image"))
    for value in ("gpu", True, 2, ""):
        with pytest.raises(UserError, match="resize is") as caught:
            load_space(replace(spec, options={"resize": value}))
        assert "pillow, torch" in caught.value.hint


def test_a_model_that_fits_pictures_otherwise_says_so() -> None:
    config = PreprocessCfg(size=32, resize_mode="longest")
    assert Resizer(config).steps
    with pytest.raises(UserError, match="longest"):
        Resizer(config, "torch")
    with pytest.raises(UserError, match="24 x 32"):
        Resizer(PreprocessCfg(size=(24, 32)), "torch")


def test_a_picture_that_takes_more_memory_than_there_is_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("pipeline.spaces.open_clip.resize.functional.resize", full)
    with pytest.raises(SampleError, match="can't allocate memory"):
        Resizer(PreprocessCfg(size=32), "torch")(Image.new("RGB", (1, 400)))
