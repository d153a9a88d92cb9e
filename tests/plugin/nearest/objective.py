"""Objective of the made-up method: InfoNCE between a sample and its partner."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.links import Link
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.settings import ProjectorSettings, ScheduleSettings


class NearestTrainSettings(ScheduleSettings):
    """Schedule and temperature."""

    projector: ProjectorSettings = ProjectorSettings()
    temperature: float = Field(default=0.1, gt=0)


class Nearest:
    """See `Objective`."""

    terms: tuple[str, ...] = ("loss",)

    def __init__(self, link: Link, widths: Mapping[str, int], settings: NearestTrainSettings) -> None:
        self.temperature, self.spaces = settings.temperature, link.spaces
        self.columns = tuple(link.memory_column(space) for space in link.spaces)

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nothing to prepare."""
        return tables

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The loss for a batch of pairs."""
        first, second = (projectors[s](batch[c]) for s, c in zip(self.spaces, self.columns, strict=True))
        return {"loss": symmetric_info_nce(first, second, self.temperature)}
