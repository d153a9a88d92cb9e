"""One task while it is measured: what all kinds of tasks begin and end with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from pipeline.evaluate.contenders import Contender, contenders_of, with_hub_correction
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.results.measured import Numbers, add_numbers
from pipeline.evaluate.results.tables import Tables
from pipeline.evaluate.settings import EvaluateSettings, MethodsTask
from pipeline.evaluate.views import Scorer
from pipeline.links import Link
from pipeline.progress import Progress

TaskSettings = TypeVar("TaskSettings", bound=MethodsTask)


@dataclass(frozen=True)
class TaskRun(Generic[TaskSettings]):
    """A task with everything that measuring it takes.

    Attributes:
        name: Of the task.
        task: Its settings.
        settings: How tasks are measured.
        folders: Where to read and write.
        connections: By name: the links of each connection.
        seed: Base of every draw.
        progress: Where the advance is shown.
        device: Where products of large matrices are computed.
        tables: Where the rows go.
    """

    name: str
    task: TaskSettings
    settings: EvaluateSettings
    folders: Folders
    connections: Mapping[str, Sequence[Link]]
    seed: int
    progress: Progress
    device: str
    tables: Tables

    @cached_property
    def contenders(self) -> list[Contender]:
        """What is compared.

        Raises:
            UserError: An unknown or unfinished connection, or one that does not fit the task.
        """
        most, task = self.settings.baseline_rows, self.task
        found = contenders_of(task, self.connections, self.folders, most, self.seed, self.device)
        temperature: float | None = getattr(task, "hub_temperature", None)
        if temperature:
            found = list(with_hub_correction(found, temperature, task, self.connections, self.folders, most))
        return found

    @property
    def spaces(self) -> tuple[set[str], set[str]]:
        """The frozen spaces through which the first and the second modality enter."""
        return {each.spaces[0] for each in self.contenders}, {each.spaces[1] for each in self.contenders}

    def scorers(self) -> Iterator[tuple[Contender, Scorer]]:
        """Every contender that is defined here, with its scorer; the progress advances as they are used."""
        self.progress.start(f"evaluate {self.name}", len(self.contenders), "methods")
        for contender in self.contenders:
            scorer = contender.build()
            if scorer is not None:
                yield contender, scorer
            self.progress.advance(1)

    def add(self, measured: Sequence[tuple[Contender, Numbers]], items: int) -> None:
        """Add what the contenders reached on a number of resampled `items` to the tables."""
        task, settings = self.task, self.settings
        add_numbers(self.name, task.dataset, task.pair, measured, items, settings.bootstrap, self.seed, self.tables)
