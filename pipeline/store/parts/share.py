"""The share of one process among several that were started beside each other, such as the tasks of a job array."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

SHARES_NAME = "_slices"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Every `count`-th part of a folder, from part `number` on.

    Which parts these are depends on nothing that is there already, so that processes which start at different times agree.

    Attributes:
        number: From 1 to `count`.
        count: How many processes share the work.
    """

    number: int = 1
    count: int = 1

    def of(self, works: Iterable[Item]) -> Iterator[Item]:
        """Those of `works` that are in the share."""
        return islice(works, self.number - 1, None, self.count)

    def folder(self, folder: Path) -> Path:
        """Where the parts of the share wait for being adopted; `folder` itself if it is all of the work."""
        return folder / SHARES_NAME / f"{self.number}-of-{self.count}" if self.partial else folder

    @property
    def partial(self) -> bool:
        """Whether others have a share, too."""
        return self.count > 1


WHOLE = Share()
