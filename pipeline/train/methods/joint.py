"""Joint coupling: one shared space for all spaces of a graph, contrasted over all of its links at every step."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.links import Link
from pipeline.store import Store
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.methods.completion import complete, completion_variances, draw_noise, noise_width
from pipeline.train.methods.coupled import Coupled, items_per_epoch
from pipeline.train.methods.coupling import draw_overlap, draw_pairs
from pipeline.train.objective import DrawsFirst, project_together
from pipeline.train.settings import JointTrainSettings

BLOCK_ROWS = 65_536


class JointCoupling(DrawsFirst):
    """L = sum over links of weight x [InfoNCE(samples, drawn partners) + overlap_weight x InfoNCE(overlap, overlap)].

    Each space has one projector, whatever links it is in. Everything is centred before it is projected: from an embedding the
    mean of its modality in its space is taken away, and what is left is scaled to length one. The means are those of the
    unpaired data. So no projector has to learn to close the gap between two modalities of its space.

    An epoch goes once through the samples of the largest memory; a smaller link comes round more often. A link with a `share`
    takes only so much of each batch: a link of little weight need not cost as much as the others.

    Attributes:
        centres: Mean embedding [D] by ``<space>.<modality>``, known once the tables are loaded.
    """

    def __init__(self, links: Sequence[Link], widths: Mapping[str, int], settings: JointTrainSettings) -> None:
        self.links, self.settings = links, settings
        self._link_settings = {link.name: settings.for_link(link.name) for link in links}
        self.columns: tuple[str, ...] = tuple(link.name for link in links)
        self.terms: tuple[str, ...] = (
            "loss",
            *(f"{link.name}_{term}" for link in links for term in ("overlap", "pseudo")),
        )
        self.variances = completion_variances(settings, widths)
        self.noise_width = noise_width(
            (self._link_settings[link.name].share * widths[space], self.variances[space])
            for link in links
            for space in link.spaces
        )
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
        self._coupled = [Coupled.load(store, link, device) for store, link in zip(stores, self.links, strict=True)]
        self.centres = _centres(self.links, self._coupled)
        centred: set[int] = set()
        for name, table in _tables(self.links, self._coupled):
            if id(table) not in centred:  # In one hop a table is both a memory and the overlapping modality.
                _centre(table, self.centres[name])
            centred.add(id(table))
        each = torch.arange(self.rows(stores) // 2, device=device)
        items = {}
        for link, coupled in zip(self.links, self._coupled, strict=True):
            first, second = (len(samples) for samples in coupled.samples)
            items[link.name] = torch.cat([each % first, first + each % second])
        return items

    def _share(self, link: Link, items: Tensor) -> Tensor:
        """The first of `items` [B], which are in random order; at least two, without which there is nothing to contrast."""
        return items[: max(2, round(self._link_settings[link.name].share * len(items)))]

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """By link rows of its memories and of its overlapping modality, and noise for each of its spaces."""
        drawn: dict[str, Tensor] = {}
        for link, coupled in zip(self.links, self._coupled, strict=True):
            items = self._share(link, batch[link.name])
            pairs, drawn[link.name] = (
                draw_pairs(coupled, items, generator),
                draw_overlap(coupled, len(items), generator),
            )
            for space, rows, overlap in zip(link.spaces, pairs, coupled.overlap, strict=True):
                drawn[f"{link.name} {space}"] = rows
                drawn[f"{link.name} {space} noise"] = draw_noise(len(items), overlap, self.variances[space], generator)
        return drawn

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss for a batch of items of every link."""
        inputs: dict[str, list[Tensor]] = defaultdict(list)
        for link, coupled in zip(self.links, self._coupled, strict=True):
            for space, samples, texts in zip(link.spaces, coupled.samples, coupled.overlap, strict=True):
                noise = drawn[f"{link.name} {space} noise"]
                overlap = complete(texts[drawn[link.name]], self.variances[space], noise)
                inputs[space] += [overlap, samples[drawn[f"{link.name} {space}"]]]
        projected = {
            space: iter(project_together(projectors[space], rows, self.settings.batch_statistics))
            for space, rows in inputs.items()
        }
        terms: dict[str, Tensor] = {}
        loss = torch.zeros((), device=next(iter(batch.values())).device)
        for link in self.links:
            settings = self._link_settings[link.name]
            (first_overlap, first), (second_overlap, second) = (
                (next(projected[space]), next(projected[space])) for space in link.spaces
            )
            overlap = symmetric_info_nce(first_overlap, second_overlap, settings.temperature_overlap)
            pseudo = symmetric_info_nce(first, second, settings.temperature_pseudo)
            loss = loss + settings.weight * (pseudo + settings.overlap_weight * overlap)
            terms |= {f"{link.name}_overlap": overlap, f"{link.name}_pseudo": pseudo}
        return {"loss": loss, **terms}


def _tables(links: Sequence[Link], read: Sequence[Coupled]) -> Iterator[tuple[str, Tensor]]:
    """Every table with ``<space>.<modality>``, memories before the overlapping modality."""
    for link, tables in zip(links, read, strict=True):
        for number, space in enumerate(link.spaces):
            yield f"{space}.{link.memories[space].modality}", tables.samples[number]
            yield f"{space}.{link.overlap}", tables.overlap[number]


def _centres(links: Sequence[Link], read: Sequence[Coupled]) -> dict[str, Tensor]:
    """By space and modality the mean of all its rows in the links, summed in float64 a block at a time."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = defaultdict(int)
    for name, table in _tables(links, read):
        for rows in torch.split(table, BLOCK_ROWS):
            sums[name] = sums.get(name, 0) + rows.sum(0, dtype=torch.float64)
        counts[name] += len(table)
    return {name: (total / counts[name]).float() for name, total in sums.items()}


def _centre(table: Tensor, mean: Tensor) -> None:
    """Take `mean` [D] from the rows [N, D] and scale them to length one, where they lie: there may be millions."""
    for rows in torch.split(table, BLOCK_ROWS):
        rows.sub_(mean)
        rows.div_(rows.norm(dim=1, keepdim=True).clamp_min(1e-12))
