"""A made-up encoder of a modality that this program does not know: pictures of touched surfaces, and words about them."""

import numpy as np
import torch
from torch import Tensor

from letters.space import Letters
from pipeline.decode.images import decode_image


class Touch(Letters):
    """See `Space`."""

    modalities = ("text", "tactile")

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """The letters of a text, or the grey values [256] of a surface at 16 x 16 points."""
        if modality == "text":
            return super().preprocess(modality, payload)
        grey = decode_image(payload).convert("L").resize((16, 16))
        return torch.from_numpy(np.asarray(grey, np.float32).reshape(-1) / 255)
