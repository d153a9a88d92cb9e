"""The bytes of one file as a picture. Every picture of this program is opened here."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.decode.signatures import named_format
from pipeline.errors import SampleError

MAX_PIXELS = 64_000_000
# Pillow knows some forty formats, and starts other programs for a few of them. Its reader of JPEG also opens MPO.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Our own limit is checked before the pixels are read, and is the lower one.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def open_image(payload: bytes) -> Image.Image:
    """The first picture of an image file, in the colours of the file, of which only the header has been read.

    Of an animation, of an MPO and of a TIFF with pages this is the first frame, picture or page.

    Raises:
        SampleError: It is of no format in `FORMATS`, its header is damaged, or it has more than `MAX_PIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(payload), formats=FORMATS)
    except UnidentifiedImageError:
        message = f"not an image of a format that is read ({len(payload)} bytes{named_format(payload)})"
        raise SampleError("decode", message) from None
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's format plug-ins raises errors of its own
        raise _damaged(error) from error
    width, height = image.size
    if not width * height:
        raise SampleError("decode", "image without a pixel")
    if width * height > MAX_PIXELS:
        raise SampleError("decode", f"image of {width} x {height} pixels, the limit is {MAX_PIXELS} pixels")
    return image


def decode_image(payload: bytes, mode: str = "RGB", at_least: tuple[int, int] | None = None) -> Image.Image:
    """The first picture of an image file in the colours of `mode`; in those of the file where that is empty.

    Grey of 16 bits becomes grey of 8, white staying white. Transparency is dropped with the conversion to RGB, and a
    mark that the camera was turned is not acted upon, both as in OpenCLIP.

    A JPEG is decoded at a half, a quarter or an eighth of its size, whichever is the smallest that has the width and height
    `at_least`, where these are given.

    Raises:
        SampleError: See `open_image`; damaged or cut pixels, or pixels of 32 bits.
    """
    image = open_image(payload)
    try:
        # At its whole size it would be decoded less exactly for nothing. Only the reader of JPEG knows what this is.
        if at_least and min(size // least for size, least in zip(image.size, at_least, strict=True)) > 1:
            image.draft(None, at_least)
        image.load()
        refuse_unscaled(image)
        if image.mode.startswith("I;16"):
            image = _eight_bits(image)
        return image.convert(mode) if mode else image
    except (SampleError, MemoryError):
        raise
    except Exception as error:  # as above
        raise _damaged(error) from error


def refuse_unscaled(image: Image.Image) -> None:
    """Refuse a picture whose pixels are integers or floats of 32 bits.

    Raises:
        SampleError: It is one.
    """
    if image.mode in ("I", "F"):
        raise SampleError("decode", "image with pixels of 32 bits, of which nobody knows what is white")


def has_transparency(payload: bytes) -> bool:
    """Whether the picture in a file has an alpha channel or a transparent colour, by its header; false if it cannot be
    read."""
    if payload.startswith((b"\xff\xd8", b"BM")):  # JPEG and BMP have none, and are most of all pictures
        return False
    try:
        return open_image(payload).has_transparency_data
    except SampleError:
        return False


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as grey of 8; Pillow's own conversion makes everything above 255 white."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8))


def _damaged(error: Exception) -> SampleError:
    return SampleError("decode", f"damaged image: {error or type(error).__name__}"[:200])
