"""Bring a folder to the parts that it is to have: reuse what is there, make what is not, adopt it."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.progress import Progress
from pipeline.store.parts.folder import PartFolder
from pipeline.store.parts.share import WHOLE, Share
from pipeline.store.parts.work import Record, Source, Work, write_part

Making = Callable[[Path, Iterable[Any], Progress], Generator[Any, None, None]]
"""What one process does with a stream of works, which arrive one at a time: it yields the record of each, in their order.
Picklable, so that an engine can run it elsewhere."""


class Engine(Protocol):
    """Decides where works are done; it adopts nothing."""

    def make(
        self, folder: Path, works: Iterable[Any], making: Making, progress: Progress
    ) -> Generator[Any, None, None]:
        """Do `works` by `making`, in any order, and yield their records. Works are taken from the stream as they are
        needed."""
        ...


class Here:
    """The engine that needs nothing: this process."""

    def make(
        self, folder: Path, works: Iterable[Any], making: Making, progress: Progress
    ) -> Generator[Any, None, None]:
        """One after the other."""
        return making(folder, iter(works), progress)


@dataclass(frozen=True)
class Execution:
    """How a command makes parts: no byte of them depends on it.

    Attributes:
        engine: Where they are made.
        share: Which of them.
    """

    engine: Engine = field(default_factory=Here)
    share: Share = WHOLE


ALONE = Execution()


def one_by_one(folder: Path, works: Iterable[Work], progress: Progress) -> Generator[Record, None, None]:
    """One part after the other."""
    for work in works:
        yield write_part(folder, work, progress)


def run_parts(
    parts: PartFolder,
    works: Iterable[Work],
    task: str,
    unit: str,
    progress: Progress,
    engine: Engine = ALONE.engine,
    making: Making = one_by_one,
    seen: Callable[[Work, Source], None] | None = None,
    in_order: bool = False,
) -> None:
    """Make every part of `works` that cannot be reused; `parts.finish` completes the folder.

    A part is committed as soon as its record comes in: what a kill costs are the parts in work.

    Args:
        parts: The folder.
        works: All parts that it is to have; those that are not in the folder's share are left to others.
        task: What is done, for the progress.
        unit: What the samples are called.
        progress: Told of the samples of the parts that are made.
        engine: Where the parts are made.
        making: How one process makes them.
        seen: Told once of every part what it was made from, in any order. Nothing of it is kept here, since it may be about
            every sample.
        in_order: Adopt parts in the order of `works` only, however they come in: for a folder whose next plan depends on
            which parts there are, so that a kill leaves no gap in them.
    """
    stale = []
    for work in parts.share.of(works):
        source = parts.reuse(work)
        if not source:
            stale.append(work)
        elif seen:
            seen(work, source)
    parts.plan(stale)
    progress.start(task, sum(work.samples for work in stale), unit)
    by_name = {work.name: work for work in stale}
    with closing(engine.make(parts.folder, map(parts.placed, stale), making, progress)) as records:
        for record in _sorted(records, by_name) if in_order else records:
            parts.adopt(record)
            if seen:
                seen(by_name[record.part.file_name], record.source)


def _sorted(records: Iterable[Record], names: Iterable[str]) -> Generator[Record, None, None]:
    """`records` in the order of `names`; those that come before their turn wait."""
    early: dict[str, Record] = {}
    due = iter(names)
    name = next(due, None)
    for record in records:
        early[record.part.file_name] = record
        while name in early:
            yield early.pop(name)
            name = next(due, None)
