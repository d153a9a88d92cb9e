"""Works for engines: parts made of samples that crash, hang or take memory. Worker processes import this module."""

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import UserError
from pipeline.progress import Progress
from pipeline.store import Failure, Made, Source, Work
from pipeline.store.parts.run import one_by_one
from pipeline.store.parts.work import Record


@dataclass(frozen=True)
class Plain:
    """Makes a part of its keys; what a key does is the word after its number: ``07 crash``."""

    keys: tuple[str, ...]
    seconds: float = 0.0

    def __call__(self, path: Path, progress: Progress) -> Made:
        kept = []
        for key in self.keys:
            live_with(key)
            time.sleep(self.seconds)
            kept.append(key)
            progress.advance(1)
        path.write_text("\n".join(kept))
        return Made(kept)


@dataclass(frozen=True)
class Divisible(Plain):
    """The same of samples that can be passed over."""

    passed_over: tuple[Failure, ...] = ()

    def __call__(self, path: Path, progress: Progress) -> Made:
        gone = {failure.key for failure in self.passed_over}
        made = Plain(tuple(key for key in self.keys if key not in gone), self.seconds)(path, progress)
        return Made(made.keys, self.passed_over)

    def try_samples(self, begin: Callable[[str], None], start: str) -> None:
        at = self.keys.index(start) if start else 0
        for key in self.keys[at:]:
            if key not in {failure.key for failure in self.passed_over}:
                begin(key)
                live_with(key)

    def without(self, passed_over: Sequence[Failure]) -> "Divisible":
        return replace(self, passed_over=tuple(passed_over))


def live_with(key: str) -> None:
    if key.endswith("crash"):
        ctypes.string_at(0)
    if key.endswith("hang"):
        time.sleep(3600)
    if key.endswith("hog"):
        held = []
        while True:
            held.append(bytearray(b"x" * (32 << 20)))
            time.sleep(0.01)
    if key.endswith("exit"):
        os._exit(3)
    if key.endswith("mistake"):
        raise UserError(f"{key} is a mistake.", "Correct it.")


def works(parts: int, samples: int = 5, seconds: float = 0.0, kind: type[Plain] = Plain, **sick: str) -> list[Work]:
    """Works of `samples` keys; ``sick={"p2s3": "crash"}`` makes sample 3 of part 2 one that crashes."""
    found = []
    for part in range(parts):
        keys = tuple(f"p{part}s{n} {sick.get(f'p{part}s{n}', 'fine')}" for n in range(samples))
        found.append(Work(f"{part:05d}.tar", Source(f"source {part}"), kind(keys, seconds), samples))
    return found


def two_ahead(folder: Path, asked: Iterable[Work], progress: Progress) -> Iterator[Record]:
    """Takes a work while the one before is not done yet, as encoding does."""
    waiting: list[Work] = []
    for work in asked:
        waiting.append(work)
        if len(waiting) == 2:
            yield from one_by_one(folder, [waiting.pop(0)], progress)
    yield from one_by_one(folder, waiting, progress)
