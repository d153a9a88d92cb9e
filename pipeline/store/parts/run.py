"""Bring a folder to the parts that it is to have: reuse what is there, make what is not, adopt it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.progress import Progress
from pipeline.store.parts.folder import PartFolder
from pipeline.store.parts.work import Record, Source, Work, write_part

Engine = Callable[[Path, Sequence[Work], Progress], Iterator[Record]]
"""Makes parts in a folder, anywhere and in any order, and yields their records; it adopts nothing."""


def one_by_one(folder: Path, works: Sequence[Work], progress: Progress) -> Iterator[Record]:
    """The engine that needs nothing: this process, one part after the other."""
    for work in works:
        yield write_part(folder, work, progress)


def run_parts(
    parts: PartFolder,
    works: Sequence[Work],
    task: str,
    unit: str,
    progress: Progress,
    engine: Engine = one_by_one,
    seen: Callable[[Work, Source], None] | None = None,
) -> None:
    """Make every part of `works` that cannot be reused; `parts.finish` completes the folder.

    A part is committed as soon as its record comes in: what a kill costs are the parts in work.

    Args:
        parts: The folder.
        works: All parts that it is to have.
        task: What is done, for the progress.
        unit: What the samples are called.
        progress: Told of the samples of the parts that are made.
        engine: Where the parts are made.
        seen: Told once of every part what it was made from, in any order. Nothing of it is kept here, since it may be about
            every sample.
    """
    stale = []
    for work in works:
        source = parts.reuse(work)
        if not source:
            stale.append(work)
        elif seen:
            seen(work, source)
    parts.plan(stale)
    progress.start(task, sum(work.samples for work in stale), unit)
    by_name = {work.name: work for work in stale}
    for record in engine(parts.folder, stale, progress):
        parts.adopt(record)
        if seen:
            seen(by_name[record.part.name], record.source)
