"""Make large pictures smaller, once and always in the same way."""

import io
import warnings

import PIL
from PIL import Image

from pipeline.errors import SampleError
from pipeline.shard.limits import MAX_PIXELS

# How a picture is written again: the same settings give the same bytes.
ENCODERS: dict[str, dict[str, int | bool]] = {
    "JPEG": {"quality": 92, "subsampling": 0, "optimize": False, "progressive": False},
    "PNG": {"compress_level": 6, "optimize": False},
    "WEBP": {"quality": 92, "method": 4},
}
EXTENSION_OF = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_ORIENTATION = 0x0112


def image_fingerprint(max_side: int) -> dict[str, object]:
    """Everything that decides the bytes of a picture that was made smaller."""
    return {"max_side": max_side, "filter": "lanczos", "encoders": ENCODERS, "pillow": PIL.__version__}


def shrink(content: bytes, max_side: int) -> tuple[str, bytes] | None:
    """Extension and bytes of the picture with its longer side at most `max_side`; None if it is small enough already.

    Format and orientation mark stay as they are.

    Raises:
        SampleError: It is no picture, a damaged, an animated or a far too large one.
    """
    try:
        with warnings.catch_warnings():
            # Our own limit is checked below, before the pixels are read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=tuple(ENCODERS))
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise SampleError("decode", f"image of {width} x {height} pixels, the limit is {MAX_PIXELS} pixels")
            if max(width, height) <= max_side:
                return None
            if getattr(image, "n_frames", 1) > 1:
                raise SampleError("decode", "animated image")
            return _smaller(image, max_side)
    except SampleError:
        raise
    except Exception as error:  # each of Pillow's format plug-ins raises errors of its own
        raise SampleError("decode", f"damaged image ({type(error).__name__})") from error


def _smaller(image: Image.Image, max_side: int) -> tuple[str, bytes]:
    kind = image.format or ""
    turned = image.getexif().get(_ORIENTATION)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    # The decoder of JPEG can give a picture at a fraction of its size, which is far faster than to shrink the whole.
    # It cannot with 16 bits.
    gap = None if image.mode.startswith("I") else 2.0
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=gap)
    exif = Image.Exif()
    if turned:
        exif[_ORIENTATION] = turned
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif, **ENCODERS[kind])
    return EXTENSION_OF[kind], buffer.getvalue()
