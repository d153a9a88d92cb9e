"""Decoded pictures brought to the size that a model takes: by Pillow, as OpenCLIP does it, or by torch, which is several times as fast.

Both resize bytes by the same filter, and differ in how they round between its two passes.
"""

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL.Image import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.v2 import functional

from pipeline.errors import SampleError, UserError

OPTION, WAYS = "resize", ("pillow", "torch")


class Resizer:
    """What OpenCLIP's transform does before it makes numbers of a picture.

    Args:
        config: Of the model.
        way: One of `WAYS`.

    Raises:
        UserError: The model's pictures are not resized in a way that torch has.
    """

    def __init__(self, config: PreprocessCfg, way: str = "pillow") -> None:
        size = config.size if isinstance(config.size, tuple | list) else (config.size,) * 2
        self.size = (size[1], size[0])
        self.way = way
        # The last three steps (mode, tensor, normalise) are done elsewhere: the mode here or by the decoder, the others on the
        # whole batch, so that a picture travels as bytes.
        self.steps = image_transform_v2(config, is_train=False).transforms[:-3]
        if way == "torch" and not isinstance(self.steps[0], transforms.Resize):
            raise UserError(
                f"torch cannot resize pictures as this model takes them ({config.resize_mode}, {size[0]} x {size[1]} pixels).",
                f"Leave the option {OPTION}: torch or jpeg: device out.",
            )

    def __call__(self, image: Image) -> Tensor:
        """The picture as bytes [3, H, W].

        Raises:
            SampleError: It cannot be resized.
        """
        try:
            if image.size == self.size:
                return _bytes(image.convert("RGB"))
            # In the library's order: palettes and transparency are resized as they are, and become RGB afterwards.
            if self.way == "torch" and image.mode == "RGB":
                # Not contiguous: the kernel is fastest where the colours of a pixel lie side by side.
                return self.by_torch(torch.from_numpy(np.array(image)).permute(2, 0, 1))
            for step in self.steps:
                image = step(image)
            return _bytes(image.convert("RGB"))
        except (ValueError, OSError, RuntimeError) as error:  # torch says by the last that there is no memory
            raise SampleError("preprocess", f"picture of mode {image.mode}: {error}") from error

    def pixels(self, width: int, height: int) -> int:
        """Of the largest picture that `by_torch` makes of one of this size; it resizes the width first. It crops at the end,
        so of a thin picture this is many times what the model takes."""
        size = self.steps[0].size
        if isinstance(size, int):  # of the shorter side
            new = tuple(size * side // min(width, height) for side in (width, height))
        else:
            new = size[1], size[0]
        return int(new[0] * max(new[1], height))

    def by_torch(self, pixels: Tensor) -> Tensor:
        """Pictures of bytes [..., 3, H, W], resized where they lie; for the way ``torch`` only."""
        first, *others = self.steps
        resized: Tensor = functional.resize(pixels, first.size, first.interpolation, antialias=True)
        for step in others:
            resized = step(resized)
        return resized.contiguous()


def _bytes(image: Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
