"""Transparent pixels: what the libraries do by default, and a recorded colour where a space asks for one."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.background import background_of, picture_on
from tests.spaces.test_conformance import folders  # noqa: F401 (a fixture)
from tests.spaces.transformers.make_models import make_clip

COLOUR, BELOW = (10, 200, 30), (250, 0, 120)


def stamp(mode: str = "RGBA", form: str = "PNG", background: tuple[int, int, int] | None = None) -> bytes:
    """A disc on transparent pixels, whose colours nobody was meant to see, or the same disc on `background`."""
    y, x = np.mgrid[:32, :32]
    disc = (x - 16) ** 2 + (y - 16) ** 2 < 100
    pixels = np.where(disc[..., None], [*COLOUR, 255], [*(background or BELOW), 255 if background else 0]).astype(
        np.uint8
    )
    picture = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if mode == "P":
        indexed = Image.fromarray(disc.astype(np.uint8)).convert("P")
        indexed.putpalette([*BELOW, *COLOUR])
        indexed.save(buffer, form, transparency=0)
    else:
        picture.convert(mode).save(buffer, form, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "form"), [("RGBA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "WEBP"), ("RGBA", "TIFF")]
)
def test_the_colour_shows_wherever_a_format_keeps_transparency(mode: str, form: str) -> None:
    picture = picture_on(stamp(mode, form), background_of({"background": "#808080"}))
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (128, 128, 128) and picture.getpixel((16, 16)) == COLOUR
    assert picture_on(stamp(mode, form), None).getpixel((0, 0)) == BELOW, "what the libraries do"


def test_half_transparent_pixels_are_mixed_and_opaque_pictures_are_left_alone() -> None:
    half = Image.new("RGBA", (2, 2), (200, 100, 0, 128))
    buffer = io.BytesIO()
    half.save(buffer, "PNG")
    mixed = picture_on(buffer.getvalue(), (0, 0, 0)).getpixel((0, 0))
    assert np.abs(np.subtract(mixed, (100, 50, 0))).max() <= 1
    grey = io.BytesIO()
    Image.new("L", (2, 2), 77).save(grey, "PNG")
    assert picture_on(grey.getvalue(), (255, 0, 0), mode="").mode == "L"


@pytest.mark.parametrize("name", ["no-colour", "#12", 7, "rgba(1,2,3,0)"])
def test_what_is_no_colour_is_said(name: object) -> None:
    with pytest.raises(UserError, match="not a colour"):
        background_of({"background": name})


@pytest.mark.parametrize("family", ["open_clip", "compact", "transformers"])
def test_a_space_with_a_background_sees_the_picture_on_it_and_records_it(
    family: str,
    folders: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = make_clip(tmp_path / "clip") if family == "transformers" else folders / family
    plain = load_space(SpaceSpec(family, str(folder)))
    white = load_space(SpaceSpec(family, str(folder), options={"background": "white"}))
    on_white = stamp("RGB", background=(255, 255, 255))
    assert torch.equal(white.preprocess("image", stamp()), plain.preprocess("image", on_white))
    assert not torch.equal(white.preprocess("image", stamp()), plain.preprocess("image", stamp()))
    assert "background" not in str(plain.fingerprint("image")), "older embeddings stay valid"
    assert "#ffffff" in str(white.fingerprint("image")) and "#ffffff" not in str(white.fingerprint("text"))
    with pytest.raises(UserError, match="not a colour"):
        load_space(SpaceSpec(family, str(folder), options={"background": "nocolour"}))
