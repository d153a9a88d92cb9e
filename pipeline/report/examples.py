"""Examples that a reader can see and hear: what was found for a query, and what a pseudo-pair is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.links import Link
from pipeline.report.connection_files import ConnectionFiles, Record
from pipeline.report.figures.media import Gallery, Need, Shown
from pipeline.report.inputs import Inputs
from pipeline.report.settings import ReportSettings
from pipeline.report.table import split_direction

Queries = dict[str, list[Record]]
"""Rows of the neighbours by key of the query."""


@dataclass(frozen=True)
class QueriesOf:
    """The first queries of one column of a set of pairs, with their neighbours.

    Attributes:
        link: The link that the set belongs to.
        column: Space and modality of the queries, such as ``clip_text``.
        queries: Rows of the neighbours by key of the query.
    """

    link: Link
    column: str
    queries: Queries

    def query(self, key: str) -> Need:
        """The sample of a query."""
        return self._need(self.column, key)

    def neighbour(self, record: Record) -> Need:
        """The sample of a neighbour."""
        return self._need(str(record["memory"]), str(record["neighbour_key"]))

    def _need(self, column: str, key: str) -> Need:
        space, _, modality = column.rpartition("_")
        return Need(key, modality, self.link.corpora_of(space, modality))


@dataclass(frozen=True)
class Found:
    """One neighbour of a query.

    Attributes:
        weight: Its share in the averaged embedding, or the probability that it is drawn; None in retrieval.
        truth: Whether it belongs to the query.
    """

    shown: Shown
    rank: int
    score: float
    weight: float | None = None
    truth: bool = False


@dataclass(frozen=True)
class Example:
    """A query, its neighbours, nearest first, and the rank of the first that belongs to it."""

    query: Shown
    neighbours: Sequence[Found]
    true_rank: float


@dataclass(frozen=True)
class Direction:
    """Examples of one retrieval direction, found by one connection."""

    source: str
    target: str
    task: str
    connection: str
    examples: Sequence[Example]


@dataclass(frozen=True)
class ShownPair:
    """A query with its neighbours in each memory, of which its partner is made or drawn."""

    query: Shown
    memories: Mapping[str, Sequence[Found]]


class Examples:
    """Chooses the examples, says which samples they need, and builds them once those are read."""

    def __init__(self, inputs: Inputs, settings: ReportSettings) -> None:
        main = inputs.main
        self._most = settings.neighbours
        self._tasks = inputs.tasks
        self._retrieval: dict[tuple[str, tuple[str, str]], Queries] = {}
        self._shown: dict[str, str] = {}
        records = inputs.examples or []
        for task, direction in dict.fromkeys((str(r["task"]), str(r["direction"])) for r in records):
            there = [r for r in records if (r["task"], r["direction"]) == (task, direction)]
            names = dict.fromkeys(str(r["connection"]) for r in there)
            # Where the connection that the page is about was not measured, the first that was.
            self._shown[task] = main.name if main and main.name in names else next(iter(names))
            count = settings.examples if main and self._shown[task] == main.name else -(-settings.examples // 2)
            if sides := split_direction(direction):
                own = [r for r in there if r["connection"] == self._shown[task]]
                self._retrieval[task, sides] = _first_queries(own, count)
        self._columns = _columns(main, settings.pseudo_pairs) if main else []

    def needs(self) -> list[Need]:
        """Everything that the page shows."""
        needs = []
        for (task, (source, target)), queries in self._retrieval.items():
            for query, rows in queries.items():
                needs.append(self._sample(task, query, source))
                needs += [self._sample(task, str(r["neighbour_key"]), target) for r in rows]
        for each in self._columns:
            for query, rows in each.queries.items():
                needs += [each.query(query), *(each.neighbour(r) for r in rows)]
        return needs

    def directions(self, gallery: Gallery) -> Iterator[Direction]:
        """Retrieval examples by direction."""
        for (task, (source, target)), queries in self._retrieval.items():
            examples = []
            for query, rows in queries.items():
                shown = gallery.show(self._sample(task, query, source))
                found = [
                    Found(
                        gallery.show(self._sample(task, str(r["neighbour_key"]), target)),
                        int(r["rank"]),
                        float(r["score"]),
                        truth=bool(r["relevant"]),
                    )
                    for r in sorted(rows, key=lambda r: int(r["rank"]))[: self._most]
                ]
                examples.append(Example(shown, found, float(rows[0]["true_rank"])))
            if examples:
                yield Direction(source, target, task, self._shown[task], examples)

    def pairs(self, gallery: Gallery) -> Iterator[ShownPair]:
        """Queries with their nearest neighbours in every memory."""
        for each in self._columns:
            for query, rows in each.queries.items():
                shown = gallery.show(each.query(query))
                memories: dict[str, list[Found]] = {}
                for r in sorted(rows, key=lambda r: (str(r["memory"]), int(r["rank"]))):
                    found = memories.setdefault(str(r["memory"]), [])
                    if len(found) < self._most:
                        sample = gallery.show(each.neighbour(r))
                        found.append(Found(sample, int(r["rank"]), float(r["score"]), float(r["weight"])))
                yield ShownPair(shown, memories)

    def _sample(self, task: str, key: str, modality: str) -> Need:
        corpus = self._tasks.get(task, {}).get(modality)
        return Need(key, modality, (corpus,) if corpus else ())


def _columns(main: ConnectionFiles, count: int) -> list[QueriesOf]:
    """The columns of `main` that queries come from; they share the `count` queries that are shown."""
    found: list[tuple[Link, str, list[Record]]] = []
    for part in main.parts:
        for name in part.pairs:
            by_column: dict[str, list[Record]] = {}
            for record in part.neighbours(name) or []:
                by_column.setdefault(str(record.get("query", "")), []).append(record)
            by_column.pop("", None)  # Written by an earlier version, which did not say what a query is.
            found += [(part.link, column, rows) for column, rows in by_column.items()]
    share = -(-count // max(len(found), 1))
    return [QueriesOf(link, column, _first_queries(rows, share)) for link, column, rows in found]


def _first_queries(rows: Sequence[Record], count: int) -> Queries:
    """The first `count` queries in the order of the file: never chosen by how well they went."""
    queries: Queries = {}
    for record in rows:
        queries.setdefault(str(record["query_key"]), []).append(record)
    return dict(list(queries.items())[:count])
