"""From the bytes of one file to the input of a graph, as `onnx.json` says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.decode.audio import MAX_FRAMES, decode_audio
from pipeline.decode.text import decode_text
from pipeline.errors import SampleError, UserError
from pipeline.spaces.background import Colour, picture_on
from pipeline.spaces.onnx.description import AnyTower, PictureTower, TextTower, WaveTower
from pipeline.spaces.strips import refuse_strip

Preparation = Callable[[bytes], Tensor]


def preparation(tower: AnyTower, folder: Path, background: Colour | None) -> Preparation:
    """The function that prepares files for `tower`; it raises `SampleError` for bytes that cannot be used.

    Raises:
        UserError: The tokenizer cannot be read.
    """
    if isinstance(tower, TextTower):
        return _tokens(tower, folder)
    if isinstance(tower, PictureTower):
        return lambda payload: _pixels(picture_on(payload, background), tower)
    return lambda payload: _wave(payload, tower)


def _tokens(tower: TextTower, folder: Path) -> Preparation:
    """Ids and mask of a text, int64 [2, L]."""
    path = folder / tower.tokenizer
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(
            f"{path} is not a tokenizer that can be read: {str(error)[:200]}.",
            "Put tokenizer.json of the model there, or name the right file in onnx.json.",
        ) from error
    tokenizer.enable_truncation(tower.length)
    tokenizer.enable_padding(length=tower.length, pad_id=tower.pad)

    def prepare(payload: bytes) -> Tensor:
        found = tokenizer.encode(decode_text(payload))
        return torch.tensor([found.ids, found.attention_mask])

    return prepare


def _pixels(image: Image.Image, tower: PictureTower) -> Tensor:
    """Pixels float32 [3, size, size]."""
    side, (width, height) = tower.size, image.size
    refuse_strip(image)
    if (width, height) != (side, side):
        # As torchvision's Resize and CenterCrop, which most graphs were exported behind.
        wide = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
        image = image.resize(wide, Image.Resampling[tower.resize.upper()])
        left, top = (round((length - side) / 2) for length in wide)
        image = image.crop((left, top, left + side, top + side))
    values = np.array(image.convert("RGB"), np.float32) / 255
    values = (values - np.array(tower.mean, np.float32)) / np.array(tower.std, np.float32)
    return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1).contiguous()


def _wave(payload: bytes, tower: WaveTower) -> Tensor:
    """Samples float32 [rate x seconds]."""
    sound = decode_audio(payload)
    wave, length = sound.wave, round(tower.rate * tower.seconds)
    if sound.rate != tower.rate:
        if len(wave) * tower.rate > MAX_FRAMES * sound.rate:
            raise SampleError("preprocess", f"audio of over {MAX_FRAMES} frames at {tower.rate} Hz")
        wave = soxr.resample(wave, sound.rate, tower.rate, quality="HQ")
    if not len(wave):
        raise SampleError("preprocess", "audio without a single frame after resampling")
    first = max(0, (len(wave) - length) // 2)
    fitted = np.zeros(length, np.float32)
    heard = wave[first : first + length]
    fitted[: len(heard)] = heard
    return torch.from_numpy(fitted)
