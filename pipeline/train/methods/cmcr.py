"""C-MCR: connect two spaces over the modality that both embed (arXiv 2305.14381)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.links import Link
from pipeline.train.losses import intra_alignment, symmetric_info_nce
from pipeline.train.methods.completion import complete, completion_variances, draw_noise, noise_width
from pipeline.train.objective import DrawsFirst, project_together
from pipeline.train.settings import TrainSettings


class CMCR(DrawsFirst):
    """L = L_ttc + L_avc + lambda L_intra on semantically enhanced embeddings (C-MCR, section 3.3).

    L_ttc joins the overlapping modality as both spaces embed it, L_avc the two pseudo-partners of each query, L_intra
    closes the gap between overlapping modality and pseudo-partner within each space. Gradients flow through both
    projectors in every term.
    """

    terms: tuple[str, ...] = ("loss", "overlap", "pseudo", "intra")
    repeats = True

    def __init__(self, link: Link, widths: Mapping[str, int], settings: TrainSettings) -> None:
        self.settings = settings
        self.columns_of = {space: (link.overlap_column(space), link.memory_column(space)) for space in link.spaces}
        self.columns = tuple(column for pair in self.columns_of.values() for column in pair)
        self.variances = completion_variances(settings, widths)
        self.noise_width = noise_width(
            (widths[space], self.variances[space]) for space, columns in self.columns_of.items() for _ in columns
        )

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalise the aggregated pseudo-partners, where the settings ask for it."""
        if self.settings.renormalise_pseudo:
            for _, memory in self.columns_of.values():
                tables[memory] = normalize(tables[memory], dim=-1)
        return tables

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Noise for every column."""
        return {
            column: draw_noise(len(batch[column]), batch[column], self.variances[space], generator)
            for space, columns in self.columns_of.items()
            for column in columns
        }

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss for a batch of queries with their pseudo-partners."""
        settings = self.settings
        pairs = []
        for space, columns in self.columns_of.items():
            inputs = [complete(batch[column], self.variances[space], drawn[column]) for column in columns]
            overlap, memory = project_together(projectors[space], inputs, settings.batch_statistics)
            pairs.append((overlap, memory))
        (overlap_first, memory_first), (overlap_second, memory_second) = pairs
        overlap_loss = symmetric_info_nce(overlap_first, overlap_second, settings.temperature_overlap)
        pseudo_loss = symmetric_info_nce(memory_first, memory_second, settings.temperature_pseudo)
        intra_loss = intra_alignment(pairs, settings.intra_norm)
        loss = (
            settings.overlap_weight * overlap_loss
            + settings.pseudo_weight * pseudo_loss
            + settings.intra_weight * intra_loss
        )
        return {"loss": loss, "overlap": overlap_loss, "pseudo": pseudo_loss, "intra": intra_loss}
