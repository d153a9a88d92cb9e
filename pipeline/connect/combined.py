"""FreeBind's bonds (arXiv 2405.04883): leaves are carried into a base and combined with what the base itself says.

Every leaf has a mixture of projectors g_1 ... g_n, see `pipeline.connect.projectors`. An item of modality m that the base embeds
as b and leaves as x becomes, with the factor f of its modality::

    e = normalise(mean of all normalise(g_i(x)), over all leaves)        z = normalise(f e + (1 - f) b)

An item that no leaf embeds stays b, to the last bit, and one that the base does not embed is e. Where the base is a unified space
and the leaves are experts, that is the combination bond; where the base is an expert and the unified space a leaf, the
displacement bond. The factors are chosen after training: a large one makes an expert of the leaf, a small one keeps the base.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.connect.config import ConnectionConfig
from pipeline.connect.projected import Projected
from pipeline.connect.projectors import MixtureProjector
from pipeline.errors import UserError

# Of the published code (models/uni_spaces.py): text and audio of InternVL_IB_PP, image of InternVL_IB. A point cloud is ours.
FACTORS: Mapping[str, float] = {"text": 0.1, "audio": 0.5, "image": 0.2, "point": 0.5}
OTHERWISE = 0.5


class Combined(Projected):
    """See `Connected` and `Combining`.

    Raises:
        UserError: The files do not fit the configuration.
        CorruptError: The weights are not the ones that were written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        super().__init__(config, folder, device)
        self._factors: dict[str, float] = dict(FACTORS)

    def combine(self, factors: Mapping[str, float]) -> None:
        """See `Combining`.

        Raises:
            UserError: A factor is not between 0 and 1, or of a modality that no space embeds.
        """
        known = {modality for record in self._config.spaces.values() for modality in record.modalities}
        for modality, factor in factors.items():
            if modality not in known:
                raise UserError(
                    f"The connection {self._config.connection} embeds no {modality!r}.",
                    f"Give factors of: {', '.join(sorted(known))}.",
                )
            if not 0 <= factor <= 1:
                raise UserError(
                    f"The factor of {modality} is {factor:g}.", "Choose one from 0 (the base) to 1 (the leaves)."
                )
        self._factors |= factors

    def together(self, frozen: Mapping[str, Tensor], modality: str) -> Tensor:
        """See `Combining`."""
        factor = self._factors.get(modality, OTHERWISE)
        base = frozen.get(self._config.base)
        leaves = {space: rows for space, rows in frozen.items() if space != self._config.base}
        if base is not None and (not leaves or factor == 0):
            return base
        made = torch.cat([self._members(space, rows) for space, rows in leaves.items()])
        expert = normalize(made.mean(0), dim=1)
        return expert if base is None else normalize(factor * expert + (1 - factor) * base, dim=1)

    def _members(self, space: str, rows: Tensor) -> Tensor:
        """What each projector of the mixture of `space` makes of `rows` [N, D]: [n, N, E]."""
        mixture = self._projectors[space]
        assert isinstance(mixture, MixtureProjector)
        return torch.stack([member(rows) for member in mixture.members])
