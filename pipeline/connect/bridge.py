"""The training-free bridge as a connected space: an item beside its profile in the other space, both centred.

With at(v) the profile of an image v in CLAP (`pipeline.connect.text_profile`), ct(a) that of a sound a in CLIP, and the means m
of the memories and of their profiles, the vectors are

    v -> [v - m_V ; at(v) - m_AT] / sqrt 2        a -> [ct(a) - m_CT ; a - m_A] / sqrt 2

with each half scaled to length one. Their inner product is the mean of two cosines, one in each space; without the means
the gap between the modalities would decide it. Texts have means of their own.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.connect.config import ConnectionConfig
from pipeline.connect.projected import checked_file
from pipeline.connect.text_profile import BLOCK_TEXTS, profiles
from pipeline.errors import UserError

MEANS_NAME = "bridge.safetensors"
ROWS = 2048


def texts_name(space: str) -> str:
    """File with the overlapping modality as `space` embeds it, [T, D] float32."""
    return f"texts-{space}.npy"


class Bridge:
    """See `Connected`. The texts stay on disk and are read a block at a time, once for every 2,048 rows.

    Raises:
        UserError: A file is missing.
        CorruptError: A file is not the one that was written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        [link] = config.links
        self._spaces, self._device, self._connection = link.spaces, device, config.connection

        def file(name: str) -> Path:
            return checked_file(config, folder, config.file_of(link.name, name))

        self._means = {name: tensor.to(device) for name, tensor in load_file(file(MEANS_NAME)).items()}
        self._texts = {space: np.load(file(texts_name(space)), mmap_mode="r") for space in link.spaces}
        self.dimension = sum(config.spaces[space].dimension for space in link.spaces)

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """See `Connected`.

        Raises:
            UserError: The modality is not said, or is none of those whose mean is known.
        """
        if f"{space}.{modality}.own" not in self._means:
            known = [
                name.split(".")[1] for name in self._means if name.startswith(f"{space}.") and name.endswith("own")
            ]
            raise UserError(
                f"The connection {self._connection} has no mean of {modality} by {space}.",
                f"Pass a modality that it was made from: {', '.join(known)}.",
            )
        made = [self._vectors(space, block, str(modality)) for block in torch.split(rows, ROWS)]
        return torch.cat(made) if made else rows.new_empty(0, self.dimension)

    def _vectors(self, space: str, rows: Tensor, modality: str) -> Tensor:
        temperature = float(self._means[f"{space}.temperature"])
        there, _ = profiles(rows, self._blocks(space), temperature)
        own = normalize(rows - self._means[f"{space}.{modality}.own"], dim=1)
        other = normalize(there - self._means[f"{space}.{modality}.profile"], dim=1)
        halves = (own, other) if space == self._spaces[0] else (other, own)
        return torch.cat(halves, 1) / math.sqrt(2)

    def _blocks(self, space: str) -> Iterator[tuple[Tensor, Tensor]]:
        first, second = self._spaces
        here, there = self._texts[space], self._texts[second if space == first else first]
        for start in range(0, len(here), BLOCK_TEXTS):
            block = slice(start, start + BLOCK_TEXTS)
            yield tuple(torch.from_numpy(np.array(table[block])).to(self._device) for table in (here, there))  # type: ignore[misc]
