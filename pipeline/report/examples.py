"""Examples that a reader can see and hear: what was found for a query, and what a pseudo-pair is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.inputs import ConnectionFiles, Inputs, Record, Sources
from pipeline.report.media import Gallery, Need, Shown
from pipeline.report.settings import ReportSettings
from pipeline.report.table import split_direction

Queries = dict[str, list[Record]]
"""Rows of the neighbours by key of the query."""


@dataclass(frozen=True)
class PairSet:
    """One set of pseudo-pairs: where its samples lie, and the first queries of it.

    Attributes:
        overlap: The overlapping modality.
        sources: Corpora of the link between two spaces.
        modality: Of the queries.
        corpora: Of the queries.
    """

    overlap: str
    sources: Sources
    modality: str
    corpora: tuple[str, ...]
    queries: Queries

    def query(self, key: str) -> Need:
        """The sample of a query."""
        return Need(key, self.modality, self.corpora)

    def neighbour(self, record: Record) -> Need:
        """The sample of a neighbour."""
        space, _, modality = str(record["memory"]).rpartition("_")
        corpora = self.sources.queries if modality == self.overlap else self.sources.memories.get(space, ())
        return Need(str(record["neighbour_key"]), modality, tuple(corpora))


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
    """Examples of one retrieval direction, found by one connection."""

    source: str
    target: str
    task: str
    connection: str
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
        self._sets = _pair_sets(main, inputs.sources[main.name], settings.pseudo_pairs) if main else []

    def needs(self) -> list[Need]:
        """Everything that the page shows."""
        needs = []
        for (task, (source, target)), queries in self._retrieval.items():
            for query, rows in queries.items():
                needs.append(self._sample(task, query, source))
                needs += [self._sample(task, str(r["neighbour_key"]), target) for r in rows]
        for each in self._sets:
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

    def pseudo_pairs(self, gallery: Gallery) -> Iterator[PseudoPair]:
        """Queries with their nearest neighbours in every memory."""
        for each in self._sets:
            for query, rows in each.queries.items():
                shown = gallery.show(each.query(query))
                memories: dict[str, list[Found]] = {}
                for r in sorted(rows, key=lambda r: (str(r["memory"]), int(r["rank"]))):
                    found = memories.setdefault(str(r["memory"]), [])
                    if len(found) < self._most:
                        sample = gallery.show(each.neighbour(r))
                        found.append(Found(sample, int(r["rank"]), float(r["score"]), float(r["weight"])))
                yield PseudoPair(shown, memories)

    def _sample(self, task: str, key: str, modality: str) -> Need:
        corpus = self._tasks.get(task, {}).get(modality)
        return Need(key, modality, (corpus,) if corpus else ())


def _coupled_sets(main: ConnectionFiles, sources: Sources, count: int) -> list[PairSet]:
    """Of coupling: the queries are samples of one memory, their partners those of the other."""
    kinds = main.fingerprint.get("memories")
    kinds = dict(kinds) if isinstance(kinds, Mapping) else {}
    found = []
    for space, kind in kinds.items():
        rows = [r for r in main.neighbours() or [] if str(r["memory"]) != f"{space}_{kind}"]
        corpora, queries = sources.memories.get(space, ()), _first_queries(rows, -(-count // 2))
        found.append(PairSet(str(main.fingerprint.get("overlap")), sources, str(kind), tuple(corpora), queries))
    return found


def _pair_sets(main: ConnectionFiles, sources: Sources, count: int) -> list[PairSet]:
    """The sets of `main`; several share the `count` queries that are shown."""
    if main.method == "coupling":
        return _coupled_sets(main, sources, count)
    found = []
    share = -(-count // max(len(main.pairs), 1)) if count else 0
    for folder, manifest in main.pairs.items():
        leaf, _, centre = folder.rpartition("/")
        link = sources.leaves.get(leaf, sources)
        overlap = str(manifest.fingerprint.get("overlap") or "text")
        memories = manifest.fingerprint.get("memories")
        kinds = dict(memories) if isinstance(memories, Mapping) else {}
        base = next((space for space in kinds if space != leaf), "")
        space = {"leaf": leaf, "base": base}.get(centre, "")
        kind = kinds.get(space)
        modality, corpora = (str(kind), link.memories.get(space, ())) if kind else (overlap, link.queries)
        queries = _first_queries(main.neighbours(folder) or [], share)
        found.append(PairSet(overlap, link, modality, tuple(corpora), queries))
    return found


def _first_queries(rows: Sequence[Record], count: int) -> Queries:
    """The first `count` queries in the order of the file: never chosen by how well they went."""
    queries: Queries = {}
    for record in rows:
        queries.setdefault(str(record["query_key"]), []).append(record)
    return dict(list(queries.items())[:count])
