"""Encoding in batches that fit into the memory of the device."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.encode.in_flight import begin_encode
from pipeline.errors import UserError
from pipeline.spaces import Space

log = logging.getLogger(__name__)


class FittingEncoder:
    """Encodes batches of one modality; one that does not fit is halved until it does, and so are all that follow."""

    def __init__(self, space: Space, modality: str) -> None:
        self.space, self.modality = space, modality
        self.largest: int | None = None  # samples in a forward pass; None: as many as come

    def __call__(self, batch: Tensor) -> Tensor:
        """Unit vectors [B, D] of a stacked batch [B, ...], float32 on the CPU.

        Raises:
            UserError: Not even one sample fits.
        """
        return self.begin(batch)()

    def begin(self, batch: Tensor) -> Callable[[], Tensor]:
        """Begin to encode a batch, and return what waits for its unit vectors. A GPU computes them meanwhile; until
        they are there, `batch` has to stay as it is.

        Raises:
            UserError: Not even one sample fits.
        """
        pieces: list[Callable[[], Tensor]] = []
        done = 0
        while done < len(batch):
            size = min(self.largest or len(batch), len(batch) - done)
            piece = self._try(batch[done : done + size])
            if piece is not None:
                pieces.append(piece)
                done += size
            elif size == 1:
                raise UserError(
                    f"A single {self.modality} sample does not fit into the memory of the device beside the model.",
                    "Close other programs that use it, set the space's `precision: bf16`, or run with `run.device: cpu`.",
                )
            else:
                self.largest = size // 2
                log.warning(
                    "%d %s samples do not fit into the memory of the device; continuing with %d at a time. "
                    "A smaller batch_size avoids this.",
                    size, self.modality, self.largest,
                )  # fmt: skip
                torch.cuda.empty_cache()
        return lambda: torch.cat([piece() for piece in pieces])

    def _try(self, piece: Tensor) -> Callable[[], Tensor] | None:
        # Only when this function has returned is the traceback gone, which holds what the failed pass had allocated.
        try:
            return begin_encode(self.space, self.modality, piece)
        except torch.OutOfMemoryError:
            return None
