"""What makes the pairs of a method: one file per method implements it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.retrieve.joined import JoinedPart
from pipeline.retrieve.pair_set import Sources
from pipeline.store import Rows

EXAMPLE_QUERIES, EXAMPLE_NEIGHBOURS = 24, 5


@dataclass(frozen=True)
class Neighbour:
    """One neighbour of one query: a row of the examples that the report shows.

    Attributes:
        query: Column of the query, such as ``clip_text``: what it is, and through which space.
        query_key: Its key.
        memory: Column of the neighbour.
        rank: From 1, the nearest.
        neighbour_key: Its key.
        score: Of the neighbour for the query.
        weight: Its share in the average, or the probability that it is drawn.
    """

    query: str
    query_key: str
    memory: str
    rank: int
    neighbour_key: str
    score: float
    weight: float


class PairMaker(Protocol):
    """The pairs of one set, made part by part.

    It is built from a `PairSet`, the device to compute on and the threads of FAISS.

    Attributes:
        parts: The parts to make, in order.
        shared: What every row depends on, such as a memory that rows are averages of: its change makes all parts again.
    """

    parts: list[JoinedPart]

    @property
    def shared(self) -> Sources:
        """What every row depends on."""
        ...

    def rows(self, part: JoinedPart) -> Rows:
        """Make the rows of `part`: equal inputs give equal rows, whatever was made before."""
        ...

    def examples(self) -> list[Neighbour]:
        """A few queries with their nearest neighbours in each memory."""
        ...


@runtime_checkable
class Solved(Protocol):
    """A maker that solves for some of its settings before it makes the first part; the manifest says what it found."""

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
    column: str, queries: Sequence[str], nearest: Mapping[str, Sequence[Sequence[tuple[str, float, float]]]]
) -> list[Neighbour]:
    """Examples from the neighbours (key, score, weight) of each query, which is of `column`, in each memory."""
    return [
        Neighbour(column, query, memory, rank, *neighbour)
        for place, query in enumerate(queries)
        for memory, lists in nearest.items()
        for rank, neighbour in enumerate(lists[place], 1)
    ]
