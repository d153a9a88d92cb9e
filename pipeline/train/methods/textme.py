"""TextME (arXiv 2602.03098): texts alone carry a leaf into an anchor space of text; its other modality follows by its mean.

In a contrastive space the modalities differ by a nearly constant offset. So a projector that was trained on centred texts also
takes centred sounds: from each the mean of its modality is taken away, and what is left is scaled to length one.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.links import Link
from pipeline.store import Store
from pipeline.train.objective import DrawsFirst
from pipeline.train.settings import TextMESettings
from pipeline.train.tables import load_tables


class TextME(DrawsFirst):
    """L = hard-negative InfoNCE(projected centred texts of the leaf, the same texts in the anchor).

    Attributes:
        centres: Mean embedding [D] by ``<leaf>.<modality>``, known once the tables are loaded.
    """

    terms: tuple[str, ...] = ("loss",)

    def __init__(self, link: Link, widths: Mapping[str, int], settings: TextMESettings) -> None:
        self._anchor, self._leaf = link.spaces
        self._link, self._settings = link, settings
        self.columns = tuple(link.overlap_column(space) for space in link.spaces)
        self.centres: dict[str, Tensor] = {}

    def rows(self, stores: Sequence[Store]) -> int:
        """Texts."""
        return len(stores[0])

    def load(self, stores: Sequence[Store], device: str) -> dict[str, Tensor]:
        """Texts of the anchor, and centred ones of the leaf."""
        texts, means = stores
        tables = load_tables([texts], self.columns, device)
        rows = means.read()
        for key, mean in zip(rows.keys, rows.vectors[f"{self._leaf}_mean"], strict=True):
            modality = key.removeprefix(f"{self._leaf}_")
            self.centres[f"{self._leaf}.{modality}"] = torch.from_numpy(mean.copy()).to(device)
        _, column = self.columns
        centre = self.centres[f"{self._leaf}.{self._link.overlap}"]
        return {**tables, column: normalize(tables[column] - centre, dim=1)}

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The loss for a batch of texts."""
        anchor, leaf = (batch[column] for column in self.columns)
        settings = self._settings
        made = projectors[self._leaf](leaf)
        return {
            "loss": hard_negative_info_nce(made, anchor, settings.temperature, (settings.easiest, settings.hardest))
        }


def hard_negative_info_nce(first: Tensor, second: Tensor, temperature: float, margins: tuple[float, float]) -> Tensor:
    """InfoNCE from `first` to `second` in which negatives count that are neither too easy nor too hard.

    With p_i the cosine of row i to its partner, row j is a negative of it where low x p_i <= cos_ij <= high x p_i: what is nearer
    may mean the same, and what is farther teaches nothing. Rows without a negative are left out of the mean.

    All of it is computed in the type of the rows, also within `torch.autocast`: 16 bits would blur the margins.

    Args:
        first: Unit rows [B, E].
        second: Their partners [B, E].
        temperature: Of the softmax.
        margins: low and high.
    """
    with torch.autocast(first.device.type, enabled=False):
        cosines = first @ second.T
    own = cosines.diagonal()
    with torch.no_grad():
        low, high = (margin * own[:, None] for margin in margins)
        negative = (cosines >= low) & (cosines <= high)
        negative.fill_diagonal_(False)
        counted = negative.any(1)
        kept = negative.clone()
        kept.fill_diagonal_(True)
    scores = (cosines / temperature).masked_fill(~kept, -torch.inf)
    losses = torch.logsumexp(scores, 1) - own / temperature
    return torch.where(counted, losses, torch.zeros_like(losses)).sum() / counted.sum().clamp_min(1)
