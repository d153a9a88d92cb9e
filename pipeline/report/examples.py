"""Examples that a reader can see and hear: what was found for a query, and what a pseudo-pair is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.inputs import ConnectionFiles, Inputs, Record
from pipeline.report.media import Gallery, Shown
from pipeline.report.settings import ReportSettings
from pipeline.report.table import split_direction
from pipeline.store import Store

Wanted = dict[str, set[str]]


@dataclass(frozen=True)
class Found:
    """One neighbour of a query.

    Attributes:
        weight: Its share in the aggregated embedding; None in retrieval.
        truth: Whether it is the sample that belongs to the query.
    """

    shown: Shown
    rank: int
    score: float
    weight: float | None = None
    truth: bool = False


@dataclass(frozen=True)
class Example:
    """A query and its neighbours, nearest first; in a pseudo-pair, those of one memory."""

    query: Shown
    neighbours: Sequence[Found]
    true_rank: int | None = None


@dataclass(frozen=True)
class Direction:
    """Examples of one retrieval direction."""

    source: str
    target: str
    dataset: str
    examples: Sequence[Example]


@dataclass(frozen=True)
class PseudoPair:
    """A query with what each memory contributes to its pseudo-partner."""

    query: Shown
    memories: Mapping[str, Sequence[Found]]


class Examples:
    """Chooses the examples, says which samples they need, and builds them once those are read."""

    def __init__(self, inputs: Inputs, settings: ReportSettings) -> None:
        self._inputs = inputs
        self._settings = settings
        main = inputs.main
        self._retrieval = _by_query(_of(inputs.examples, main), ("task", "dataset", "direction"))
        self._retrieval = _first(self._retrieval, settings.examples)
        self._pairs = _first(_by_query((main.neighbours if main else None) or [], ()), settings.pseudo_pairs)
        self._corpora = _source_corpora(inputs, main) if main and main.pairs else {}

    def wanted(self) -> Wanted:
        """Keys by corpus that the page shows."""
        wanted: Wanted = {}
        for (_, dataset, _), queries in self._retrieval.items():
            for records in queries.values():
                shown = [(str(r["query_key"]), str(r["neighbour_key"])) for r in records]
                wanted.setdefault(dataset, set()).update(*shown)
        for queries in self._pairs.values():
            for query, records in queries.items():
                for corpus in self._query_corpora():
                    wanted.setdefault(corpus, set()).add(query)
                for record in records:
                    for corpus in self._memory_corpora(str(record["memory"])):
                        wanted.setdefault(corpus, set()).add(str(record["neighbour_key"]))
        return wanted

    def directions(self, gallery: Gallery) -> list[Direction]:
        """Retrieval examples by direction."""
        found = []
        for (_, dataset, direction), queries in self._retrieval.items():
            sides = split_direction(direction)
            if sides is None:
                continue
            examples = []
            for query, records in queries.items():
                neighbours = [
                    Found(
                        gallery.show([dataset], str(r["neighbour_key"]), sides[1]),
                        int(r["rank"]),
                        float(r["score"]),
                        truth=str(r["neighbour_key"]) == query,
                    )
                    for r in self._nearest(records)
                ]
                true_rank = records[0].get("true_rank")
                shown = gallery.show([dataset], query, sides[0])
                examples.append(Example(shown, neighbours, None if true_rank is None else int(true_rank)))
            found.append(Direction(*sides, dataset, examples))
        return found

    def pseudo_pairs(self, gallery: Gallery) -> list[PseudoPair]:
        """Queries with their nearest neighbours in every memory."""
        modality = self._overlap()
        found = []
        for queries in self._pairs.values():
            for query, records in queries.items():
                memories: dict[str, list[Found]] = {}
                for memory in sorted({str(r["memory"]) for r in records}):
                    corpora, kind = self._memory_corpora(memory), memory.rpartition("_")[2]
                    memories[memory] = [
                        Found(
                            gallery.show(corpora, str(r["neighbour_key"]), kind),
                            int(r["rank"]),
                            float(r["score"]),
                            float(r["weight"]),
                        )
                        for r in self._nearest([r for r in records if r["memory"] == memory])
                    ]
                found.append(PseudoPair(gallery.show(self._query_corpora(), query, modality), memories))
        return found

    def _nearest(self, records: Sequence[Record]) -> list[Record]:
        return sorted(records, key=lambda r: int(r["rank"]))[: self._settings.neighbours]

    def _overlap(self) -> str:
        main = self._inputs.main
        return str(main.fingerprint.get("overlap") or (main.config or {}).get("overlap") or "text") if main else "text"

    def _query_corpora(self) -> list[str]:
        overlap = self._overlap()
        named = [corpora for (_, modality), corpora in self._corpora.items() if modality == overlap]
        return list(dict.fromkeys(corpus for corpora in named for corpus in corpora)) or self._all_corpora()

    def _memory_corpora(self, memory: str) -> list[str]:
        space, _, modality = memory.rpartition("_")
        return self._corpora.get((space, modality)) or self._all_corpora()

    def _all_corpora(self) -> list[str]:
        return [name for name, _ in self._inputs.folders("shards")]


def _of(records: Sequence[Record] | None, main: ConnectionFiles | None) -> list[Record]:
    return [r for r in records or () if main and str(r.get("connection", main.name)) == main.name]


def _by_query(records: Iterable[Record], names: Sequence[str]) -> dict[tuple[str, ...], dict[str, list[Record]]]:
    grouped: dict[tuple[str, ...], dict[str, list[Record]]] = {}
    for record in records:
        group = tuple(str(record[name]) for name in names)
        grouped.setdefault(group, {}).setdefault(str(record["query_key"]), []).append(record)
    return grouped


def _first(
    grouped: Mapping[tuple[str, ...], Mapping[str, list[Record]]], count: int
) -> dict[tuple[str, ...], dict[str, list[Record]]]:
    """The first `count` queries of every group, in the order of the file: never chosen by how well they went."""
    return {group: dict(list(queries.items())[:count]) for group, queries in grouped.items()}


def _source_corpora(inputs: Inputs, main: ConnectionFiles) -> dict[tuple[str, str], list[str]]:
    """Corpora by (space, modality) that the pseudo-pairs were made from, recognised by the hash of their stores."""
    sources = main.fingerprint.get("sources")
    hashes = set(_strings(sources))
    found: dict[tuple[str, str], list[str]] = {}
    for name, manifest in inputs.folders("embeddings"):
        content = Store(inputs.data / "embeddings" / name, manifest).content_hash
        if content in hashes and name.count("/") == 2:
            space, corpus, modality = name.split("/")
            found.setdefault((space, modality), []).append(corpus)
    return found


def _strings(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []
