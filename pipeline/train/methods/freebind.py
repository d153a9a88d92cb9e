"""FreeBind (arXiv 2405.04883): a mixture of projectors from a leaf into its base, each trained on another choice of pairs."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from pipeline.connect.projectors import MixtureProjector
from pipeline.links import Link
from pipeline.store import Store
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.methods.completion import complete, completion_variances, draw_noise, noise_width
from pipeline.train.objective import DrawsFirst, project_together
from pipeline.train.settings import FreeBindSettings
from pipeline.train.tables import load_tables


class FreeBind(DrawsFirst):
    """L = sum over projectors g_i of the mean of InfoNCE(g_i(a), t), (g_i(a), v), (g_i(s), t), (g_i(s), v).

    With a the leaf's own modality, s the overlapping one there, t and v the overlapping modality and the memory of the base, which
    are fixed targets. The pairs are those of Ex-MCR, three sets by whose samples are queries. There is a projector for each choice of
    at least one set (``overlap``, ``overlap+leaf``, ...), and it learns from those sets alone: no two have a weight in common, so
    that training them together is training each by itself. A choice with fewer pairs comes round more often.

    The authors published the projectors' form, the choices of pairs and the combination, and no training: the loss is Ex-MCR's
    without its term of f_l, which a projector that takes both modalities has not.
    """

    repeats = True

    def __init__(self, link: Link, widths: Mapping[str, int], settings: FreeBindSettings) -> None:
        base, self._leaf = link.spaces
        self._settings, self._sets = settings, link.sets
        self._read = (
            link.memory_column(self._leaf),
            link.overlap_column(self._leaf),
            link.overlap_column(base),
            link.memory_column(base),
        )
        variance = completion_variances(settings, widths)
        self._variances = (variance[self._leaf], variance[self._leaf], variance[base], variance[base])
        self.columns = tuple("+".join(choice) for choice in choices(link.sets))
        self.terms: tuple[str, ...] = ("loss", *self.columns)
        self.noise_width = noise_width(
            (widths[space], variance[space]) for _ in self.columns for space in (self._leaf, self._leaf, base, base)
        )
        self._tables: dict[str, Tensor] = {}

    def rows(self, stores: Sequence[Store]) -> int:
        """Pairs of all sets."""
        return sum(len(store) for store in stores)

    def load(self, stores: Sequence[Store], device: str) -> dict[str, Tensor]:
        """Keep the embeddings of all sets on `device`, and return the rows that each projector learns from."""
        self._tables = load_tables(stores, self._read, device)
        start, rows_of = 0, {}
        for name, store in zip(self._sets, stores, strict=True):
            rows_of[name] = torch.arange(start, start + len(store), device=device)
            start += len(store)
        each = torch.arange(start, device=device)
        items = {}
        for column, choice in zip(self.columns, choices(self._sets), strict=True):
            rows = torch.cat([rows_of[name] for name in choice])
            items[column] = rows[each % len(rows)]
        return items

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Noise for every choice and column."""
        return {
            f"{choice} {name}": draw_noise(len(batch[choice]), self._tables[name], variance, generator)
            for choice in self.columns
            for name, variance in zip(self._read, self._variances, strict=True)
        }

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss for a batch of rows of every choice."""
        mixture, temperature = projectors[self._leaf], self._settings.temperature
        assert isinstance(mixture, MixtureProjector)
        terms: dict[str, Tensor] = {}
        for member, column in zip(mixture.members, self.columns, strict=True):
            own, shared, *targets = (
                complete(self._tables[name][batch[column]], variance, drawn[f"{column} {name}"])
                for name, variance in zip(self._read, self._variances, strict=True)
            )
            ours = project_together(member, [own, shared], self._settings.batch_statistics)
            pairs = [symmetric_info_nce(one, target, temperature) for one in ours for target in targets]
            terms[column] = torch.stack(pairs).mean()
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def choices(sets: Sequence[str]) -> list[tuple[str, ...]]:
    """Every choice of at least one of `sets`, the smallest first."""
    return [choice for count in range(1, len(sets) + 1) for choice in combinations(sets, count)]
