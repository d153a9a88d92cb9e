"""A made-up encoder, as somebody else's package would bring it: the letters of a text, counted and mapped."""

import torch
from torch import Tensor

from pipeline.decode.text import decode_text
from pipeline.errors import UserError
from pipeline.precision import dtype_of
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows
from pipeline.spaces.weights.checkpoints import find_checkpoint, read_tensors


class Letters:
    """See `Space`. Its weights are one file with a matrix ``letters`` [256, D]."""

    modalities: tuple[str, ...] = ("text",)

    def __init__(self, weights: Tensor, sha256: str, precision: str) -> None:
        self.weights, self.sha256, self.precision = weights, sha256, precision
        self.dimension = weights.shape[1]

    @classmethod
    def load(cls, spec: SpaceSpec, device: str) -> "Letters":
        """Read the weights that `spec` names."""
        if spec.options:
            raise UserError("This space has no options.", "Remove them.")
        dtype = dtype_of(spec.precision)
        found = find_checkpoint(spec.checkpoint, spec.sha256)
        return cls(read_tensors(found)["letters"].to(device, dtype), found.sha256, spec.precision)

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that the rows depend on; the version and the hash of this code are added to it."""
        return {"sha256": self.sha256, "precision": self.precision}

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """How often each byte occurs [256]."""
        counts = torch.zeros(256)
        for letter in decode_text(payload).encode():
            counts[letter] += 1
        return counts

    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Unit rows [B, D]."""
        return unit_rows(batch.to(self.weights) @ self.weights)
