"""What a method is, as the training loop sees it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pipeline.store import Store


class Objective(Protocol):
    """One method of connecting spaces: which columns it reads and what it minimises over a batch of them.

    Attributes:
        columns: Columns of the pseudo-pairs that it reads.
        terms: Names of what it reports per step; the first is ``loss``.

    One that does the same operations at every step, and keeps no count of its own in Python, can say so with
    ``repeats = True``: on a GPU its step is then recorded once and repeated as a CUDA graph.
    """

    columns: tuple[str, ...]
    terms: tuple[str, ...]

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do once what does not change from step to step; `tables` [N, D] by column."""
        ...

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Terms of the loss for `batch`, rows [B, D] by column; `generator` is the source of all noise."""
        ...


class DrawsFirst(ABC):
    """An objective that draws all that is random before it computes: the rest is a function of tensors, which can be compiled.

    Attributes:
        noise_width: Numbers of noise, in float32, that it draws for one item of a batch; they stay until the step ends.
    """

    noise_width: int = 0

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `Objective`; by default nothing is prepared."""
        return tables

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Noise, and rows picked at random, for `batch`, rows [B, D] by column; by default nothing is random."""
        return {}

    @abstractmethod
    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss for `batch` and what was drawn for it; the same operations on the same shapes at every step."""

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Terms of the loss for `batch`; `generator` is the source of all noise."""
        return self.loss_terms(projectors, batch, self.draw(batch, generator))


@runtime_checkable
class OwnTables(Protocol):
    """An objective whose pairs are not one table with all of its columns in every part."""

    def rows(self, stores: Sequence[Store]) -> int:
        """Rows of one epoch."""
        ...

    def load(self, stores: Sequence[Store], device: str) -> dict[str, Tensor]:
        """The tables [N, ...] that batches are picked from, by column, on `device`."""
        ...


@runtime_checkable
class Centring(Protocol):
    """An objective whose projectors expect centred embeddings."""

    @property
    def centres(self) -> Mapping[str, Tensor]:
        """Mean embedding [D] by ``<space>.<modality>``; known once the tables are loaded."""
        ...


def project_together(projector: Callable[[Tensor], Tensor], inputs: list[Tensor], statistics: str) -> list[Tensor]:
    """Project `inputs`, each [B, D] with a B of its own, by one forward pass over all of them (``joint``) or by one each (``separate``).

    It decides what BatchNorm normalises by, and its running statistics: jointly, both modalities share one mean.
    """
    if statistics == "separate":
        return [projector(rows) for rows in inputs]
    return list(torch.split(projector(torch.cat(inputs)), [len(rows) for rows in inputs]))
