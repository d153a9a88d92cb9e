"""Ex-MCR: project a leaf into a base that stays as it is (arXiv 2310.08884)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.connect.projectors import DecoupledProjector
from pipeline.links import Link
from pipeline.train.losses import mean_distance, symmetric_info_nce
from pipeline.train.methods.completion import complete, completion_variances, draw_noise, noise_width
from pipeline.train.objective import DrawsFirst, project_together
from pipeline.train.settings import DENSE, LeafTrainSettings


class ExMCR(DrawsFirst):
    """L = L_dense + lambda L_intra on semantically enhanced embeddings (Ex-MCR, section 3.4).

    With a^A the leaf's own modality, t^A the overlapping one there, t^I and v^I the base's, which are fixed targets::

        a = f_m(f_l(a^A)),  t = f_m(t^A)
        L_dense = mean of InfoNCE(a, t^I), InfoNCE(a, v^I), InfoNCE(t, t^I), InfoNCE(t, v^I)
        L_intra = mean || f_l(a^A) - t^A ||

    L_intra has no negatives and reaches f_l only: it closes the gap between the leaf's modalities.
    """

    repeats = True

    def __init__(self, link: Link, widths: Mapping[str, int], settings: LeafTrainSettings) -> None:
        base, self.leaf = link.spaces
        self.settings = settings
        self.dense = tuple(term for term in DENSE if term in settings.terms)
        self.terms: tuple[str, ...] = ("loss", *self.dense, "intra")
        self.columns: tuple[str, ...] = (
            link.memory_column(self.leaf),
            link.overlap_column(self.leaf),
            link.overlap_column(base),
            link.memory_column(base),
        )
        scaled = completion_variances(settings, widths)
        on_base = scaled[base] if settings.noise_on_base else 0.0
        self.variances = (scaled[self.leaf], scaled[self.leaf], on_base, on_base)
        spaces = (self.leaf, self.leaf, base, base)
        self.noise_width = noise_width((widths[space], self.variances[n]) for n, space in enumerate(spaces))

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalise the aggregated embeddings, where the settings ask for it; each column is one in some set."""
        if self.settings.renormalise_pseudo:
            for column in self.columns:
                tables[column] = normalize(tables[column], dim=-1)
        return tables

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Noise for every column."""
        return {
            column: draw_noise(len(batch[column]), batch[column], variance, generator)
            for column, variance in zip(self.columns, self.variances, strict=True)
        }

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss for a batch of rows that have all four embeddings."""
        settings, projector = self.settings, projectors[self.leaf]
        assert isinstance(projector, DecoupledProjector)
        own, shared, target_overlap, target_base = (
            complete(batch[column], variance, drawn[column])
            for column, variance in zip(self.columns, self.variances, strict=True)
        )
        moved = projector.intra(own)
        leaf, overlap = project_together(projector.inter, [moved, shared], settings.batch_statistics)
        ours = {"leaf": leaf, "overlap": overlap}
        targets = {"overlap": target_overlap, "base": target_base}
        terms: dict[str, Tensor] = {}
        for term in self.dense:
            side, target = term.split("_")
            terms[term] = symmetric_info_nce(ours[side], targets[target], settings.temperature)
        dense = torch.stack(list(terms.values()))
        if settings.intra_normalise:
            moved = normalize(moved, dim=-1)
        intra = mean_distance(moved, shared, settings.intra_norm)
        loss = (dense.mean() if settings.dense == "mean" else dense.sum()) + settings.intra_weight * intra
        return {"loss": loss, **terms, "intra": intra}
