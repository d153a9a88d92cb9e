"""What every frozen space can do, whatever library it comes from."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Fingerprint = dict[str, object]
# By how much the length of an embedding may differ from 1: rows of 16 bits are off by a few thousandths.
LENGTH_OFF = 0.02


@dataclass(frozen=True)
class SpaceSpec:
    """What identifies a frozen space: enough to load it again anywhere.

    Attributes:
        encoder: Encoder family, one of `pipeline.spaces.known_encoders`.
        checkpoint: File, folder or hub reference of the weights.
        model: Architecture name within the family, where one is needed.
        sha256: Expected hash of the checkpoint; empty means "record, do not check".
        precision: a key of `pipeline.precision.PRECISIONS`: the type of the weights and activations.
        options: Settings of the family, such as ``crop`` or ``points``.
    """

    encoder: str
    checkpoint: str
    model: str = ""
    sha256: str = ""
    precision: str = "fp32"
    options: dict[str, str | int | float | bool] = field(default_factory=dict)


class Space(Protocol):
    """A frozen multi-modal contrastive representation (MCR).

    Attributes:
        modalities: The modalities that it embeds.
        dimension: Width D of its embeddings.

    One that decodes many files at a time on its device has ``on_device``: by modality, what makes of the bytes of some files
    what `preprocess` would, there, or None for each file that is left to `preprocess`.
    """

    modalities: tuple[str, ...]
    dimension: int

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`, as JSON values: checkpoint hash, resolved
        preprocessing, precision, crop and sampling policy, code version, versions of packages."""
        ...

    def preprocess(self, modality: str, payload: bytes) -> "Tensor":
        """Decode the bytes of one file to the tensor that `encode` stacks; deterministic, on the CPU.

        Raises:
            SampleError: The bytes cannot be used.
        """
        ...

    def encode(self, modality: str, batch: "Tensor") -> "Tensor":
        """Embed a stacked batch [B, ...] as unit vectors [B, D], float32 on the CPU.

        A row that the model maps to zero comes back as zero and is rejected by the caller.
        """
        ...


@contextmanager
def left_on_device() -> Iterator[None]:
    """Within it `unit_rows` does not wait for a GPU: its rows stay there, for a caller who fetches them later."""
    token = _LEFT.set(True)
    try:
        yield
    finally:
        _LEFT.reset(token)


_LEFT: ContextVar[bool] = ContextVar("left on device", default=False)


def unit_rows(embeddings: "Tensor") -> "Tensor":
    """Rows of `embeddings` [B, D] as float32 unit vectors on the CPU; a zero row stays zero."""
    import torch

    rows = torch.nn.functional.normalize(embeddings.float(), dim=-1)
    return rows if _LEFT.get() else rows.cpu()
