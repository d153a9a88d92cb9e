"""Coupling: contrast real samples with partners drawn for them, and keep the overlapping modality aligned."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.connect.projectors import DecoupledProjector
from pipeline.links import Link
from pipeline.store import Store
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.methods.completion import complete, completion_variances, draw_noise, noise_width
from pipeline.train.methods.coupled import Coupled, items_per_epoch, of_kind
from pipeline.train.objective import DrawsFirst, project_together
from pipeline.train.settings import CouplingTrainSettings

ITEM, TEXTS = "item", "rows of the overlapping modality"


class Coupling(DrawsFirst):
    """L = pseudo_weight x InfoNCE(samples, drawn partners) + overlap_weight x InfoNCE(overlap, overlap).

    Both sides of the first term are real samples: they get no noise, are not averages, and there is no gap between
    averages and samples for an intra-MCR term to close. Noise completes the overlapping modality alone. An item is a
    sample of either memory; at every step one of the partners that were drawn for it is picked anew, and as many other
    rows of the overlapping modality as there are items.

    A space without a projector is a base that stays as it is: its embeddings are fixed targets and get no noise.
    """

    columns: tuple[str, ...] = (ITEM,)
    terms: tuple[str, ...] = ("loss", "overlap", "pseudo")
    repeats = True

    def __init__(self, link: Link, widths: Mapping[str, int], settings: CouplingTrainSettings) -> None:
        self.link = link
        self.settings = settings
        self.variances = completion_variances(settings, widths)
        self.noise_width = noise_width((widths[space], self.variances[space]) for space in link.projected)
        self._coupled: Coupled | None = None

    def rows(self, stores: Sequence[Store]) -> int:
        """Items of one epoch."""
        (store,) = stores
        return items_per_epoch([len(of_kind(store, self.link.memory_column(space))) for space in self.link.spaces])

    def load(self, stores: Sequence[Store], device: str) -> dict[str, Tensor]:
        """Keep all tables on `device` and return the items: rows of the first memory, then of the second."""
        (store,) = stores
        coupled = Coupled.load(store, self.link, device)
        self._coupled = coupled
        first, second = (len(samples) for samples in coupled.samples)
        each = torch.arange(items_per_epoch((first, second)) // 2, device=device)
        return {ITEM: torch.cat([each % first, first + each % second])}

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """By space the rows of its memory and noise, and rows of the overlapping modality."""
        assert self._coupled is not None
        coupled, items = self._coupled, batch[ITEM]
        drawn = dict(zip(self.link.spaces, draw_pairs(coupled, items, generator), strict=True))
        drawn[TEXTS] = draw_overlap(coupled, len(items), generator)
        for space, overlap in zip(self.link.spaces, coupled.overlap, strict=True):
            if space in self.link.projected:
                drawn[f"noise {space}"] = draw_noise(len(items), overlap, self.variances[space], generator)
        return drawn

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss for a batch of items."""
        assert self._coupled is not None
        settings, coupled = self.settings, self._coupled
        projected = []
        for number, space in enumerate(self.link.spaces):
            overlap, samples = coupled.overlap[number][drawn[TEXTS]], coupled.samples[number][drawn[space]]
            if space not in projectors:
                projected.append([overlap, samples])
                continue
            projector: nn.Module | Callable[[Tensor], Tensor] = projectors[space]
            overlap = complete(overlap, self.variances[space], drawn[f"noise {space}"])
            if isinstance(projector, DecoupledProjector):  # The overlapping modality skips its first layer.
                samples, projector = projector.intra(samples), projector.inter
            projected.append(project_together(projector, [overlap, samples], settings.batch_statistics))
        (overlap_first, first), (overlap_second, second) = projected
        overlap_loss = symmetric_info_nce(overlap_first, overlap_second, settings.temperature_overlap)
        pseudo_loss = symmetric_info_nce(first, second, settings.temperature_pseudo)
        loss = settings.overlap_weight * overlap_loss + settings.pseudo_weight * pseudo_loss
        return {"loss": loss, "overlap": overlap_loss, "pseudo": pseudo_loss}


def draw_pairs(coupled: Coupled, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of the first and of the second memory [B] for `items` [B], each with one of its partners."""
    first = len(coupled.samples[0])
    draws = coupled.partners[0].shape[1]
    drawn = torch.randint(draws, items.shape, generator=generator, device=items.device)
    of_first = items < first
    # Rows are clamped where the other direction's item is looked up in vain; `where` then leaves it out.
    here, there = items.clamp_max(first - 1), (items - first).clamp_min(0)
    return (
        torch.where(of_first, here, coupled.partners[1][there, drawn].long()),
        torch.where(of_first, coupled.partners[0][here, drawn].long(), there),
    )


def draw_overlap(coupled: Coupled, count: int, generator: torch.Generator) -> Tensor:
    """`count` different rows of the overlapping modality; where it has fewer, all of them over and over."""
    rows = len(coupled.overlap[0])
    order = torch.randperm(rows, generator=generator, device=coupled.overlap[0].device)
    return order[torch.arange(count, device=order.device) % rows]
