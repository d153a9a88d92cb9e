"""What `onnx.json` says of the towers in its folder: which file, how its input is made, what it is called."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError

from pipeline.errors import UserError
from pipeline.files.reading import read_bytes
from pipeline.settings import Settings

DESCRIPTION = "onnx.json"

PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""Name of a file in the folder itself: it cannot lead out of it."""


class Tower(Settings):
    """One graph.

    Attributes:
        model: Its file.
        input: What the graph calls its input; may be left out where it has one only.
        output: What it calls the embeddings [B, D]; may be left out where it has one output only.
    """

    model: PlainName
    input: str = ""
    output: str = ""


class TextTower(Tower):
    """A graph of token ids [B, L], int64 or int32.

    Attributes:
        tokenizer: A file that the library tokenizers wrote.
        length: L: longer texts are cut as the tokenizer cuts them, shorter ones padded with `pad`.
        mask: What the graph calls the mask of the tokens that are not padding; empty if it takes none.
        pad: Id of the padding.
    """

    tokenizer: PlainName = "tokenizer.json"
    length: PositiveInt
    mask: str = ""
    pad: Annotated[int, Field(ge=0)] = 0


class PictureTower(Tower):
    """A graph of pixels [B, 3, `size`, `size`], (value / 255 - `mean`) / `std`.

    Attributes:
        size: Side in pixels: the shorter side of a picture is resized to it, and the middle is cut out.
        mean: Of each channel.
        std: Of each channel.
        resize: How Pillow resamples.
    """

    size: Annotated[int, Field(gt=0, le=4096)]
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    resize: Literal["bicubic", "bilinear", "lanczos", "nearest"] = "bicubic"


class WaveTower(Tower):
    """A graph of mono samples [B, `rate` x `seconds`], full scale 1.

    Attributes:
        rate: Samples in a second; other rates are resampled.
        seconds: Of a longer sound the middle is heard; a shorter one is followed by silence.
    """

    rate: Annotated[int, Field(ge=4000, le=384_000)]
    seconds: Annotated[float, Field(gt=0, le=600)]


AnyTower = TextTower | PictureTower | WaveTower
_KINDS: dict[str, type[AnyTower]] = {"length": TextTower, "size": PictureTower, "rate": WaveTower}


def towers_in(folder: Path) -> dict[str, AnyTower]:
    """The towers of `folder` by modality.

    Raises:
        UserError: It has no description, or one that cannot be used.
    """
    path = folder / DESCRIPTION
    try:
        towers = json.loads(read_bytes(path))
        if not isinstance(towers, dict) or not towers:
            raise ValueError("it must map modalities to towers")
        return {str(modality): _tower(modality, fields) for modality, fields in towers.items()}
    except FileNotFoundError:
        raise UserError(
            f"The ONNX space {folder} has no {DESCRIPTION}.",
            "Write one that names the graph of each modality and how its input is made: docs/weights.md.",
        ) from None
    except ValueError as error:
        raise UserError(
            f"{path} cannot be used: {str(error)[:200]}.", "Correct it: docs/weights.md lists its fields."
        ) from None


def _tower(modality: str, fields: object) -> AnyTower:
    """One tower. Its kind shows in one key, so that an error names that kind's fields alone."""
    kinds = [kind for key, kind in _KINDS.items() if isinstance(fields, dict) and key in fields]
    if len(kinds) != 1:
        raise ValueError(f"{modality} needs one of length (text), size (pictures) and rate (sounds)")
    try:
        return kinds[0].model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, (modality, *first['loc'])))}: {first['msg']}") from None
