"""Files made ready for a space in a process of its own, which a file may crash, hold up or fill, and no more than that."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.errors import SampleError
from pipeline.modalities import TEXT
from pipeline.spaces.protocol import Space

Prepare = Callable[[Sequence[bytes]], list[Tensor | SampleError]]


def preprocess_apart(space: Space, modality: str, stack: ExitStack, limits: Limits | None = None) -> Prepare:
    """`space.preprocess` for some files at a time: their tensors, or what is wrong with them, in their order.

    Text is prepared here, since no foreign decoder reads it; so is everything where processes cannot be forked.

    Args:
        space: Whose `preprocess` is called.
        modality: Of the files.
        stack: Ends the process when it is left.
        limits: Of each file.
    """

    def here(payloads: Sequence[bytes]) -> list[Tensor | SampleError]:
        found: list[Tensor | SampleError] = []
        for payload in payloads:
            try:
                found.append(space.preprocess(modality, payload))
            except SampleError as error:
                found.append(error)
            except MemoryError:
                found.append(SampleError("decode", "the decoder asks for more memory than there is"))
        return found

    if modality == TEXT or not POSSIBLE:
        return here
    apart: Isolated[bytes, np.ndarray] = stack.enter_context(
        Isolated(
            lambda payload: space.preprocess(modality, payload).numpy(),
            limits=limits,
            # A forked process must not use the threads of PyTorch's arithmetic, which were not forked.
            at_start=lambda: torch.set_num_threads(1),
        )
    )
    return lambda payloads: [
        found if isinstance(found, SampleError) else torch.from_numpy(found) for found in apart(payloads)
    ]
