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
from pipeline.links import Link

MEANS_NAME = "bridge.safetensors"
ROWS = 2048


def texts_name(space: str) -> str:
    """File with the overlapping modality as `space` embeds it, [T, D] float32."""
    return f"texts-{space}.npy"


class BridgedLink:
    """What the bridge keeps of one link: texts in both spaces, means and temperatures.

    The texts stay on disk and are read a block at a time, once for every 2,048 rows.

    Attributes:
        spaces: The two spaces.

    Raises:
        UserError: A file is missing.
        CorruptError: A file is not the one that was written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, link: Link, device: str) -> None:
        self.spaces, self._device, self._connection = link.spaces, device, config.connection

        def file(name: str) -> Path:
            return checked_file(config, folder, config.file_of(link.name, name))

        self._means = {name: tensor.to(device) for name, tensor in load_file(file(MEANS_NAME)).items()}
        self._texts = {space: np.load(file(texts_name(space)), mmap_mode="r") for space in link.spaces}

    def means(self, space: str, modality: str | None) -> tuple[Tensor, Tensor]:
        """Mean embedding [D] and mean profile [D'] in the other space of a modality.

        Raises:
            UserError: The modality is not said, or is none of those whose mean is known.
        """
        if f"{space}.{modality}.own" not in self._means:
            known = ", ".join(self.modalities(space))
            raise UserError(
                f"The connection {self._connection} has no mean for {modality} in {space}.",
                f"Pass a modality that it was made from: {known}.",
            )
        return self._means[f"{space}.{modality}.own"], self._means[f"{space}.{modality}.profile"]

    def modalities(self, space: str) -> list[str]:
        """Those whose mean by `space` is known."""
        return [name.split(".")[1] for name in self._means if name.startswith(f"{space}.") and name.endswith("own")]

    def profiles(self, space: str, rows: Tensor) -> Tensor:
        """Profiles in the other space [N, D'] of embeddings [N, D] by `space`, unit rows."""
        found, _ = profiles(rows, self._blocks(space), float(self._means[f"{space}.temperature"]))
        return found

    def _blocks(self, space: str) -> Iterator[tuple[Tensor, Tensor]]:
        first, second = self.spaces
        here, there = self._texts[space], self._texts[second if space == first else first]
        for start in range(0, len(here), BLOCK_TEXTS):
            block = slice(start, start + BLOCK_TEXTS)
            yield tuple(torch.from_numpy(np.array(table[block])).to(self._device) for table in (here, there))  # type: ignore[misc]


class Bridge:
    """See `Connected`.

    Raises:
        UserError: A file is missing.
        CorruptError: A file is not the one that was written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        [link] = config.links
        self._link = BridgedLink(config, folder, link, device)
        self.dimension = sum(config.spaces[space].dimension for space in link.spaces)

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """See `Connected`.

        Raises:
            UserError: The modality is not said, or is none of those whose mean is known.
        """
        means = self._link.means(space, modality)
        made = [self._vectors(space, block, means) for block in torch.split(rows, ROWS)]
        return torch.cat(made) if made else rows.new_empty(0, self.dimension)

    def _vectors(self, space: str, rows: Tensor, means: tuple[Tensor, Tensor]) -> Tensor:
        own = normalize(rows - means[0], dim=1)
        other = normalize(self._link.profiles(space, rows) - means[1], dim=1)
        halves = (own, other) if space == self._link.spaces[0] else (other, own)
        return torch.cat(halves, 1) / math.sqrt(2)


class BridgeToBase:
    """See `Connected`: a base that stays as it is, and any number of leaves that are told by their profiles in it.

    A sound a becomes ct(a) - m_CT, its centred profile in the base, without what it has along the means of the base's own
    modalities, at length one. So the base's rows need not be centred, and keep every bit: with m.y = 0 the score v.y is
    (v - m).y. Only one of the bridge's two cosines is left, since a base holds no profiles in its leaves.

    Raises:
        UserError: A file is missing.
        CorruptError: A file is not the one that was written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        self._base, self.dimension = config.base, config.dimension
        self._links = {link.projected[0]: BridgedLink(config, folder, link, device) for link in config.links}
        self._across: dict[str, Tensor] = {}
        for leaf, link in self._links.items():
            means = torch.stack([link.means(self._base, modality)[0] for modality in link.modalities(self._base)], 1)
            self._across[leaf] = torch.linalg.qr(means.double()).Q.float()

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """See `Connected`.

        Raises:
            UserError: The modality is not said, or is none of those whose mean is known.
        """
        if space == self._base:
            return rows
        _, mean = self._links[space].means(space, modality)
        made = []
        for block in torch.split(rows, ROWS):
            centred = self._links[space].profiles(space, block) - mean
            made.append(normalize(centred - centred @ self._across[space] @ self._across[space].T, dim=1))
        return torch.cat(made) if made else rows.new_empty(0, self.dimension)
