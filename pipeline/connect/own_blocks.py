"""Frozen spaces kept as blocks of their own beside the connected one: one vector, one inner product, nothing is lost.

An item that the frozen space s embeds as x, and a connection as y, becomes

    z = [0 ; sqrt(a) x ; 0 ; sqrt(1 - a) y],

with one block for each space and zeros in those that do not embed it. Two items of one space are compared by
a x.x' + (1 - a) y.y', which the frozen cosine decides for a near 1; two of different spaces by sqrt((1 - a)(1 - a')) y.y' alone, so
that no a ever changes the order between them. A base has no block: it is the connected space, its rows keep every bit and are padded
with zeros.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.connect.config import ConnectionConfig
from pipeline.connect.projected import Connected
from pipeline.errors import UserError


class OwnBlocks:
    """A `Connected` with blocks beside another one's coordinates.

    Args:
        config: Of the connection.
        connected: What maps into the connected space.
        weight: a, between 0 and 1; one for all spaces, or by space.

    Attributes:
        dimension: Width of all blocks and of the connected space together.

    Raises:
        UserError: A weight is not between 0 and 1, or not every space has one.
    """

    def __init__(self, config: ConnectionConfig, connected: Connected, weight: float | Mapping[str, float]) -> None:
        self._connected, self._base = connected, config.base
        self._blocks: dict[str, slice] = {}
        self._start = 0
        for space, record in config.spaces.items():
            if space != config.base:
                self._blocks[space] = slice(self._start, self._start + record.dimension)
                self._start += record.dimension
        self.dimension = self._start + connected.dimension
        self._weights = dict(weight) if isinstance(weight, Mapping) else dict.fromkeys(self._blocks, weight)
        if self._weights.keys() != self._blocks.keys():
            raise UserError(
                f"Weights are given for {', '.join(self._weights)}, but blocks are kept of {', '.join(self._blocks)}.",
                "Give one weight for all, or one for each space that has a block; a base has none.",
            )
        for space, share in self._weights.items():
            if not isinstance(share, int | float) or not 0 < share < 1:
                raise UserError(
                    f"The weight of the frozen space {space} is {share}.", "Choose one above 0 and below 1."
                )

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """See `Connected`."""
        made = rows.new_zeros(len(rows), self.dimension)
        shared = self._connected(space, rows, modality)
        if space == self._base:
            made[:, self._start :] = shared
            return made
        weight = self._weights[space]
        made[:, self._blocks[space]] = normalize(rows, dim=1) * weight**0.5
        made[:, self._start :] = shared * (1 - weight) ** 0.5
        return made

    def joined(self, towers: Mapping[str, Tensor], combined: Tensor | None = None) -> Tensor:
        """Unit rows [N, E] of items that several spaces embed; every space fills its block.

        The connected part is the mean direction of the towers', or that of a base where there is one.

        Args:
            towers: By space what `__call__` made of the same N items.
            combined: The connected part [N, E'], unit rows, where the method itself makes one of all towers.
        """
        made = torch.stack(list(towers.values())).sum(0)
        left = [1 - self._weights[space] for space in towers if space != self._base]
        scale = (sum(left) / len(left)) ** 0.5
        if self._base in towers:
            # A base's row is whole where a leaf's is scaled by sqrt(1 - a): the blocks grow by as much.
            for space in towers.keys() - {self._base}:
                made[:, self._blocks[space]] /= (1 - self._weights[space]) ** 0.5
            made[:, self._start :] = towers[self._base][:, self._start :] if combined is None else combined
        else:
            made[:, self._start :] = (
                normalize(made[:, self._start :], dim=1) if combined is None else combined
            ) * scale
        return normalize(made, dim=1)

    def across(self, rows: Tensor) -> Tensor:
        """Unit rows [N, E] with every block zero: queries that meet all modalities of a mixed gallery on equal terms."""
        masked = rows.clone()
        masked[:, : self._start] = 0
        return normalize(masked, dim=1)
