"""Joint coupling: one shared space for all spaces of a graph, contrasted over all of its links at every step."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.links import Link
from pipeline.store import Store
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.methods.completion import complete, completion_variance
from pipeline.train.methods.coupled import Coupled, items_per_epoch
from pipeline.train.methods.coupling import draw_overlap, draw_pairs
from pipeline.train.objective import project_together
from pipeline.train.settings import JointTrainSettings


class JointCoupling:
    """L = sum over links of weight x [InfoNCE(samples, drawn partners) + overlap_weight x InfoNCE(overlap, overlap)].

    Each space has one projector, whatever links it is in. Everything is centred before it is projected: from an embedding the
    mean of its modality in its space is taken away, and what is left is scaled to length one. The means are those of the
    unpaired data. So no projector has to learn to close the gap between two modalities of its space.

    An epoch goes once through the samples of the largest memory; a smaller link comes round more often.

    Attributes:
        centres: Mean embedding [D] by ``<space>.<modality>``, known once the tables are loaded.
    """

    def __init__(self, links: Sequence[Link], widths: Mapping[str, int], settings: JointTrainSettings) -> None:
        self.links, self.settings = links, settings
        self.columns: tuple[str, ...] = tuple(link.name for link in links)
        self.terms: tuple[str, ...] = (
            "loss",
            *(f"{link.name}_{term}" for link in links for term in ("overlap", "pseudo")),
        )
        self.variances = {
            space: completion_variance(settings.noise_variance, settings.noise_scaling, width)
            for space, width in widths.items()
        }
        self.centres: dict[str, Tensor] = {}
        self._coupled: list[Coupled] = []

    def rows(self, stores: Sequence[Store]) -> int:
        """Items of one epoch: those of the link that has most."""
        return max(
            items_per_epoch([Coupled.rows(store, link.memory_column(space)) for space in link.spaces])
            for store, link in zip(stores, self.links, strict=True)
        )

    def load(self, stores: Sequence[Store], device: str) -> dict[str, Tensor]:
        """Keep all tables on `device`, centred, and return the items of every link."""
        read = [Coupled.load(store, link, device) for store, link in zip(stores, self.links, strict=True)]
        self.centres = _centres(self.links, read)
        self._coupled = [self._centred(link, tables) for link, tables in zip(self.links, read, strict=True)]
        each = torch.arange(self.rows(stores) // 2, device=device)
        items = {}
        for link, coupled in zip(self.links, self._coupled, strict=True):
            first, second = (len(samples) for samples in coupled.samples)
            items[link.name] = torch.cat([each % first, first + each % second])
        return items

    def _centred(self, link: Link, tables: Coupled) -> Coupled:
        def each(rows: tuple[Tensor, Tensor], modalities: Sequence[str]) -> tuple[Tensor, Tensor]:
            first, second = (
                normalize(table - self.centres[f"{space}.{modality}"], dim=1)
                for table, space, modality in zip(rows, link.spaces, modalities, strict=True)
            )
            return first, second

        samples = each(tables.samples, [link.memories[space].modality for space in link.spaces])
        return Coupled(samples, tables.partners, each(tables.overlap, [link.overlap] * 2))

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nothing to prepare."""
        return tables

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Terms of the loss for a batch of items of every link."""
        inputs: dict[str, list[Tensor]] = defaultdict(list)
        for link, coupled in zip(self.links, self._coupled, strict=True):
            items = batch[link.name]
            pairs, texts = draw_pairs(coupled, items, generator), draw_overlap(coupled, len(items), generator)
            for number, space in enumerate(link.spaces):
                overlap = complete(coupled.overlap[number][texts], self.variances[space], generator)
                inputs[space] += [overlap, coupled.samples[number][pairs[number]]]
        projected = {
            space: iter(project_together(projectors[space], rows, self.settings.batch_statistics))
            for space, rows in inputs.items()
        }
        terms: dict[str, Tensor] = {}
        loss = torch.zeros((), device=next(iter(batch.values())).device)
        for link in self.links:
            said = self.settings.terms_of(link.name)
            (first_overlap, first), (second_overlap, second) = (
                (next(projected[space]), next(projected[space])) for space in link.spaces
            )
            overlap = symmetric_info_nce(first_overlap, second_overlap, said.temperature_overlap)
            pseudo = symmetric_info_nce(first, second, said.temperature_pseudo)
            loss = loss + said.weight * (pseudo + said.overlap_weight * overlap)
            terms |= {f"{link.name}_overlap": overlap, f"{link.name}_pseudo": pseudo}
        return {"loss": loss, **terms}


def _centres(links: Sequence[Link], read: Sequence[Coupled]) -> dict[str, Tensor]:
    """By space and modality the mean of all its rows in the links, summed in float64."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = defaultdict(int)
    for link, tables in zip(links, read, strict=True):
        for number, space in enumerate(link.spaces):
            seen = {link.memories[space].modality: tables.samples[number], link.overlap: tables.overlap[number]}
            for modality, rows in seen.items():
                name = f"{space}.{modality}"
                sums[name] = sums.get(name, 0) + rows.sum(0, dtype=torch.float64)
                counts[name] += len(rows)
    return {name: (total / counts[name]).float() for name, total in sums.items()}
