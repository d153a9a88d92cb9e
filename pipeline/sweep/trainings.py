"""The trainings of a sweep as works that any engine can do: each is independent of all others."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.links import Link
from pipeline.progress import Progress
from pipeline.train.run import train_connection


@dataclass(frozen=True)
class Training:
    """One connection with one seed.

    Attributes:
        name: Folder of the model, below that of all models.
        links: What is joined, and how each is trained.
        method: Of the connection.
        pairs: Folder of all pairs.
        seed: Of every draw.
        threads: Threads of the arithmetic.
        device: Where it is trained.
    """

    name: str
    links: Sequence[tuple[Link, Any]]
    method: str
    pairs: Path
    seed: int
    threads: int
    device: str

    @property
    def divisible(self) -> None:
        """It has no samples that could be passed over."""


def train_each(folder: Path, works: Iterable[Training], progress: Progress) -> Generator[str, None, None]:
    """Train one after the other into `folder`; one that was begun goes on. Yields the name of each when it is done.

    Raises:
        UserError: One cannot be trained; its name is in front of the reason.
    """
    for work in works:
        try:
            train_connection(
                list(work.links),
                work.method,
                work.pairs,
                folder / work.name,
                seed=work.seed,
                threads=work.threads,
                device=work.device,
                progress=_Alive(progress),
            )
        except UserError as error:
            # All trainings of a sweep are of one connection: what it says is wrong is so with one row of it.
            raise UserError(f"{work.name}: {error.message}", error.hint) from error
        yield work.name


class _Alive:
    """Progress of a training as a sign of life: what is counted are trainings, not steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, task: str, total: int, unit: str) -> None:
        """The sweep counts for itself."""

    def advance(self, count: int, **seconds: float) -> None:
        """Say that it goes on."""
        self._progress.advance(0, train=sum(seconds.values()))
