"""What a method of making pseudo-pairs offers to the stage: one file per method implements it."""

from dataclasses import dataclass
from typing import Protocol

from pipeline.retrieve.joined import JoinedPart
from pipeline.store import Rows


@dataclass(frozen=True)
class Example:
    """One neighbour of one query: a row of the examples that the report shows."""

    query_key: str
    memory: str
    rank: int
    neighbour_key: str
    score: float
    weight: float


class PairMethod(Protocol):
    """The pseudo-pairs of one connection, made part by part.

    Attributes:
        parts: The parts to make, in order.
    """

    parts: list[JoinedPart]

    def rows(self, part: JoinedPart) -> Rows:
        """Make the rows of `part`: equal inputs give equal rows, whatever was made before."""
        ...

    def examples(self) -> list[Example]:
        """A few queries with their nearest neighbours in each memory."""
        ...
