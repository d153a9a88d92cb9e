"""What a method of making pseudo-pairs offers to the stage: one file per method implements it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.retrieve.joined import JoinedPart
from pipeline.store import Rows

EXAMPLE_QUERIES, EXAMPLE_NEIGHBOURS = 24, 5


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


@runtime_checkable
class Solved(Protocol):
    """A method that solves for some of its settings before it makes the first part; the manifest says what it found."""

    @property
    def solved(self) -> Mapping[str, float]:
        """What was found, by name."""
        ...


def spread(parts: Sequence[JoinedPart]) -> Iterator[tuple[JoinedPart, list[int]]]:
    """A few rows, spread evenly over all `parts`, as row numbers within each part that has any."""
    count = sum(len(part.keys) for part in parts)
    chosen = sorted({row * count // EXAMPLE_QUERIES for row in range(EXAMPLE_QUERIES)})
    for part in parts:
        here = [row - part.first_row for row in chosen if 0 <= row - part.first_row < len(part.keys)]
        if here:
            yield part, here


def listed(
    queries: Sequence[str], nearest: Mapping[str, Sequence[Sequence[tuple[str, float, float]]]]
) -> list[Example]:
    """Examples from the neighbours (key, score, weight) of each query in each memory."""
    return [
        Example(query, memory, rank, *neighbour)
        for place, query in enumerate(queries)
        for memory, lists in nearest.items()
        for rank, neighbour in enumerate(lists[place], 1)
    ]
