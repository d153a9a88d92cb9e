"""Make large pictures smaller, once and always in the same way."""

import io

import PIL
from PIL import Image

from pipeline.decode.images import open_image, refuse_unscaled
from pipeline.errors import SampleError

# How a picture is written again: the same settings give the same bytes.
ENCODERS: dict[str, dict[str, int | bool]] = {
    "JPEG": {"quality": 92, "subsampling": 0, "optimize": False, "progressive": False},
    "PNG": {"compress_level": 6, "optimize": False},
    "WEBP": {"quality": 92, "method": 4},
}
# Formats that are written as another one; the first frame or page is all that is read of them.
WRITTEN_AS = {"MPO": "JPEG", "GIF": "PNG", "BMP": "PNG", "TIFF": "PNG"}
EXTENSION_OF = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
# What a PNG can hold; a TIFF may be in other colours.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_ORIENTATION = 0x0112


def image_fingerprint(max_side: int) -> dict[str, object]:
    """Everything that decides the bytes of a picture that was made smaller."""
    return {"max_side": max_side, "filter": "lanczos", "encoders": ENCODERS, "pillow": PIL.__version__}


def shrink(content: bytes, max_side: int) -> tuple[str, bytes] | None:
    """Extension and bytes of the picture with its longer side at most `max_side`; None if it is small enough already.

    The mark that the camera was turned stays as it is, and so does the format where it is one of `ENCODERS`. An
    animation becomes its first frame, as it does when it is embedded.

    Raises:
        SampleError: It is not a picture, a damaged or a far too large one, or its pixels have 32 bits.
    """
    try:
        with open_image(content) as image:
            return None if max(image.size) <= max_side else _smaller(image, max_side)
    except (SampleError, MemoryError):
        raise
    except Exception as error:  # each of Pillow's format plug-ins raises errors of its own
        raise SampleError("decode", f"damaged image ({type(error).__name__})") from error


def _smaller(image: Image.Image, max_side: int) -> tuple[str, bytes]:
    refuse_unscaled(image)  # the conversion below would cut all values to 0 to 255
    kind = WRITTEN_AS.get(image.format or "", image.format or "")
    turned = image.getexif().get(_ORIENTATION)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif kind == "PNG" and image.mode not in _PNG_MODES and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
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
