"""What shows through the transparent pixels of a picture: nothing is put there unless the space says so.

Dropping transparency, as the libraries do, shows the colours below it, which nobody was meant to see: often black, and
in some files arbitrary.
"""

from collections.abc import Mapping

from PIL import Image, ImageColor

from pipeline.decode.images import decode_image
from pipeline.errors import UserError

OPTION = "background"
Colour = tuple[int, int, int]


def background_of(options: Mapping[str, object]) -> Colour | None:
    """The colour that the option ``background`` names, such as ``white`` or ``'#808080'``; None without the option.

    Raises:
        UserError: It names no colour, or a transparent one.
    """
    if OPTION not in options:
        return None
    name = options[OPTION]
    try:
        colour: tuple[int, ...] = ImageColor.getrgb(str(name))
        if len(colour) == 3:
            return colour[0], colour[1], colour[2]
    except ValueError:
        pass
    raise UserError(
        f"The option {OPTION} is {name!r}, which is not a colour.",
        "Write a name such as white, or '#ffffff' in quotes.",
    )


def recorded(background: Colour | None) -> dict[str, object]:
    """What a fingerprint says of it: nothing where nothing is done, so that older embeddings stay valid."""
    return {OPTION: "#{:02x}{:02x}{:02x}".format(*background)} if background else {}


def picture_on(
    payload: bytes, background: Colour | None, mode: str = "RGB", at_least: tuple[int, int] | None = None
) -> Image.Image:
    """The picture in a file, see `decode_image`, which also says what `at_least` does; over `background` where it has transparent pixels.

    Raises:
        SampleError: The bytes cannot be used.
    """
    if background is None:
        return decode_image(payload, mode=mode, at_least=at_least)
    image = decode_image(payload, mode="", at_least=at_least)
    if not image.has_transparency_data:
        return image.convert(mode) if mode else image
    below = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
