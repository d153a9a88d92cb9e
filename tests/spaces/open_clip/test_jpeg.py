"""Large JPEGs decoded at a part of their size: near the whole ones, recorded, and nothing else changes."""

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg
from PIL import Image, ImageFilter

from pipeline.errors import UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.open_clip.space import OpenClipSpace
from tests.spaces.open_clip.test_open_clip import tiny, tokens_of


@pytest.fixture(scope="module")
def spaces() -> tuple[OpenClipSpace, OpenClipSpace]:
    """Whole and reduced; of 32 pixels, so that 64 are twice what the model takes."""
    model = tiny()
    set_model_preprocess_cfg(model, asdict(PreprocessCfg(size=32)))
    whole, reduced = (OpenClipSpace(model, tokens_of, "fp32", "cpu", {}, None, jpeg) for jpeg in ("whole", "reduced"))
    return whole, reduced


def picture(width: int, height: int, form: str = "JPEG", mode: str = "RGB") -> bytes:
    """Blots of all sizes under some noise, as a camera sees them."""
    generator = np.random.default_rng(width + height)
    image = Image.new("RGB", (width, height))
    for cells in (4, 8, 16):
        grid = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), np.uint8))
        image = Image.blend(image, grid.resize((width, height), Image.Resampling.BICUBIC), 0.5)
    noisy = np.asarray(image, np.float32) + generator.normal(0, 4, (height, width, 1))
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": 90} if form == "JPEG" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(128, 130), (256, 300), (512, 520), (600, 130)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_one_comes_near(spaces, size, mode) -> None:
    whole, reduced = (space.preprocess("image", picture(*size, mode=mode)).float() for space in spaces)
    difference = (whole - reduced).abs()
    assert 0 < difference.mean() < 1.0 and difference.max() < 24  # of 255


@pytest.mark.parametrize(
    "payload",
    [
        picture(80, 60),
        picture(127, 300),
        picture(300, 126),
        picture(260, 260, "PNG"),
        picture(260, 260, "WEBP"),
    ],
    ids=["small", "narrow", "flat", "png", "webp"],
)
def test_all_others_stay_as_they_are(spaces, payload) -> None:
    whole, reduced = (space.preprocess("image", payload) for space in spaces)
    assert torch.equal(whole, reduced)


def test_it_is_recorded_where_it_is_asked_for_only(spaces) -> None:
    whole, reduced = (space.fingerprint("image")["preprocessing"] for space in spaces)
    assert reduced == {**whole, "jpeg": "reduced"} and "jpeg" not in whole
    assert spaces[0].fingerprint("text") == spaces[1].fingerprint("text")


@pytest.mark.parametrize("value", ["half", 2, True, ""])
def test_another_value_is_refused(tmp_path: Path, value: object) -> None:
    torch.save(tiny().state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(UserError, match="jpeg is"):
        load_space(SpaceSpec("open_clip", str(tmp_path / "tiny.pt"), model="ViT-B-32", options={"jpeg": value}))
