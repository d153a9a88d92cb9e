"""Examples that a reader can see and hear: what was found for a query, and what a pseudo-pair is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.inputs import Inputs, Record, Sources
from pipeline.report.media import Gallery, Need, Shown
from pipeline.report.settings import ReportSettings
from pipeline.report.table import split_direction

Queries = dict[str, list[Record]]
"""Rows of the neighbours by key of the query."""


@dataclass(frozen=True)
class Found:
    """One neighbour of a query.

    Attributes:
        weight: Its share in the aggregated embedding; None in retrieval.
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
    """Examples of one retrieval direction."""

    source: str
    target: str
    task: str
    examples: Sequence[Example]


@dataclass(frozen=True)
class PseudoPair:
    """A query with what each memory contributes to its pseudo-partner."""

    query: Shown
    memories: Mapping[str, Sequence[Found]]


class Examples:
    """Chooses the examples, says which samples they need, and builds them once those are read."""

    def __init__(self, inputs: Inputs, settings: ReportSettings) -> None:
        main = inputs.main
        own = [r for r in inputs.examples or () if main and (r["connection"], r["method"]) == (main.name, main.method)]
        self._most = settings.neighbours
        self._tasks = inputs.tasks
        self._sources = inputs.sources[main.name] if main else Sources()
        self._retrieval: dict[tuple[str, tuple[str, str]], Queries] = {}
        for task, direction in dict.fromkeys((str(r["task"]), str(r["direction"])) for r in own):
            rows = [r for r in own if (r["task"], r["direction"]) == (task, direction)]
            if sides := split_direction(direction):
                self._retrieval[task, sides] = _first_queries(rows, settings.examples)
        self._pairs = _first_queries((main.neighbours if main else None) or [], settings.pseudo_pairs)
        self._overlap = str(main.fingerprint.get("overlap") or "text") if main else "text"

    def needs(self) -> list[Need]:
        """Everything that the page shows."""
        needs = []
        for (task, (source, target)), queries in self._retrieval.items():
            for query, rows in queries.items():
                needs.append(self._sample(task, query, source))
                needs += [self._sample(task, str(r["neighbour_key"]), target) for r in rows]
        for query, rows in self._pairs.items():
            needs += [self._query(query), *(self._neighbour(r) for r in rows)]
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
                yield Direction(source, target, task, examples)

    def pseudo_pairs(self, gallery: Gallery) -> Iterator[PseudoPair]:
        """Queries with their nearest neighbours in every memory."""
        for query, rows in self._pairs.items():
            shown = gallery.show(self._query(query))
            memories: dict[str, list[Found]] = {}
            for r in sorted(rows, key=lambda r: (str(r["memory"]), int(r["rank"]))):
                found = memories.setdefault(str(r["memory"]), [])
                if len(found) < self._most:
                    sample = gallery.show(self._neighbour(r))
                    found.append(Found(sample, int(r["rank"]), float(r["score"]), float(r["weight"])))
            yield PseudoPair(shown, memories)

    def _sample(self, task: str, key: str, modality: str) -> Need:
        corpus = self._tasks.get(task, {}).get(modality)
        return Need(key, modality, (corpus,) if corpus else ())

    def _query(self, key: str) -> Need:
        return Need(key, self._overlap, tuple(self._sources.queries))

    def _neighbour(self, record: Record) -> Need:
        space, _, modality = str(record["memory"]).rpartition("_")
        return Need(str(record["neighbour_key"]), modality, tuple(self._sources.memories.get(space, ())))


def _first_queries(rows: Sequence[Record], count: int) -> Queries:
    """The first `count` queries in the order of the file: never chosen by how well they went."""
    queries: Queries = {}
    for record in rows:
        queries.setdefault(str(record["query_key"]), []).append(record)
    return dict(list(queries.items())[:count])
