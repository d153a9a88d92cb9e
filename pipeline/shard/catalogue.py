"""Every sample of a corpus with the place of its members, on disk: memory does not grow with the corpus."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from sqlite3 import Connection
from typing import Any

from pipeline.shard.sources.sample import Container, RawMember, RawSample, shown_key
from pipeline.store.parts.names import number_of, numbered

# Samples that are handed to the database at a time.
BATCH = 4096
Placed = tuple[RawSample, int]


class Catalogue:
    """The samples of a corpus: added in the order of the source, sorted by key once, then cut into shards.

    Args:
        database: Of `pipeline.store.scratch`, for this catalogue alone.
    """

    def __init__(self, database: Connection) -> None:
        self._database = database
        self._containers: list[Container] = []
        self._numbers: dict[int, int] = {}
        self._places: list[object] = []  # those that cannot be written down
        self._waiting: list[tuple[str, str]] = []
        self._ranges: dict[str, tuple[int, int]] = {}
        database.execute("CREATE TABLE found (key TEXT, sample TEXT)")
        database.execute("CREATE TABLE held (key TEXT PRIMARY KEY, shard TEXT) WITHOUT ROWID")

    def add(self, sample: RawSample) -> None:
        """The source holds `sample`."""
        self._waiting.append((shown_key(sample.key), self._written(sample)))
        if len(self._waiting) >= BATCH:
            self._flush()

    def hold(self, shard: str, keys: Iterable[str]) -> None:
        """These keys are in a shard of an earlier run and stay there; in the first one, if several hold a key."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", ((key, shard) for key in keys))
        self._database.execute("COMMIT")

    def sort(self) -> None:
        """All samples are added: keep the first of each key, in the order of the keys."""
        self._flush()
        # Where a query has min(), SQLite takes the other columns from the row that has it.
        self._database.execute(
            "CREATE TABLE sample AS SELECT key, sample, min(rowid) AS first, count(*) - 1 AS again, NULL AS shard "
            "FROM found GROUP BY key ORDER BY key"
        )

    def repeated(self) -> tuple[int, RawSample, RawSample] | None:
        """How many keys occur more than once, and the first two samples of one of them; None if all are different."""
        count, key = self._one("SELECT count(*), min(key) FROM sample WHERE again > 0")
        if not count:
            return None
        rows = self._database.execute("SELECT key, sample FROM found WHERE key = ? ORDER BY rowid LIMIT 2", (key,))
        first, second = (self._read(*row) for row in rows)
        return count, first, second

    def uncut(self, number: int, samples_per_shard: int) -> list[str]:
        """Keys that `cut` would put into the shard of that number if no key was in a shard before, and none was dropped."""
        first = number * samples_per_shard
        found = self._database.execute(
            "SELECT key FROM sample WHERE rowid > ? AND rowid <= ? ORDER BY rowid", (first, first + samples_per_shard)
        )
        return [key for (key,) in found]

    def drop(self, keys: Iterable[str]) -> None:
        """Leave out the samples with these keys."""
        self._database.execute("CREATE TEMP TABLE dropped (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.executemany("INSERT INTO dropped VALUES (?)", ((key,) for key in keys))
        self._database.execute("DELETE FROM sample WHERE key IN (SELECT key FROM dropped)")

    def cut(self, samples_per_shard: int) -> list[tuple[str, int]]:
        """Name and number of samples of each shard: where a key was before it stays, the others fill new shards."""
        self._database.execute("DROP TABLE found")  # its pages are used again
        self._database.execute("UPDATE sample SET shard = held.shard FROM held WHERE held.key = sample.key")
        self._database.execute("CREATE INDEX by_shard ON sample (shard) WHERE shard IS NOT NULL")
        kept = self._database.execute(
            "SELECT shard, count(*) FROM sample WHERE shard IS NOT NULL GROUP BY shard ORDER BY shard"
        ).fetchall()
        number = max((number_of(name) or 0 for name, _ in kept), default=-1) + 1
        fresh = self._database.execute(
            "SELECT min(row), max(row), count(*) FROM (SELECT rowid AS row, row_number() OVER (ORDER BY rowid) - 1 AS place "
            "FROM sample WHERE shard IS NULL) GROUP BY place / ? ORDER BY 1",
            (samples_per_shard,),
        )
        for first, last, count in fresh:
            name = f"{numbered(number)}.tar"
            self._ranges[name] = first, last
            kept.append((name, count))
            number += 1
        return kept

    def all(self) -> Iterator[Placed]:
        """The first sample of each key, in the order of the keys, and how many more there are of the key."""
        return self._samples("SELECT key, sample, again FROM sample ORDER BY rowid", ())

    def samples(self, shard: str) -> "SamplesOfShard":
        """The samples of a shard, read whenever they are gone through."""
        return SamplesOfShard(self, shard)

    def read(self, shard: str) -> Iterator[Placed]:
        """The samples of a shard in the order of their keys, and how many more there are of the key of each."""
        if shard in self._ranges:
            where: str = "shard IS NULL AND rowid BETWEEN ? AND ?"
            values: tuple[Any, ...] = self._ranges[shard]
        else:
            where, values = "shard = ?", (shard,)
        return self._samples(f"SELECT key, sample, again FROM sample WHERE {where} ORDER BY rowid", values)

    def _samples(self, query: str, values: tuple[Any, ...]) -> Iterator[Placed]:
        for key, sample, again in self._database.execute(query, values):
            yield self._read(key, sample), again

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query).fetchone()
        return row

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO found VALUES (?, ?)", self._waiting)
        self._database.execute("COMMIT")
        self._waiting.clear()

    def _written(self, sample: RawSample) -> str:
        members = [
            (modality, member.extension, self._number(member.container), self._place(member.place))
            for modality, member in sample.members.items()
        ]
        return json.dumps((members, sample.fault, sample.wanted))

    def _read(self, key: str, written: str) -> RawSample:
        members, fault, wanted = json.loads(written)
        found = {
            modality: RawMember(extension, self._containers[number], self._placed(place))
            for modality, extension, number, place in members
        }
        return RawSample(key, found, fault, tuple(wanted))

    def _number(self, container: Container) -> int:
        number = self._numbers.setdefault(id(container), len(self._containers))
        if number == len(self._containers):
            self._containers.append(container)  # which keeps its id from being used again
        return number

    def _place(self, place: object) -> object:
        if type(place) in (int, str) or (type(place) is tuple and all(type(one) in (int, str) for one in place)):
            return place
        self._places.append(place)
        return {"at": len(self._places) - 1}

    def _placed(self, written: Any) -> object:
        if isinstance(written, dict):
            return self._places[written["at"]]
        return tuple(written) if isinstance(written, list) else written


@dataclass(frozen=True)
class SamplesOfShard:
    """The samples of one shard. Pickled, they leave the catalogue behind and take along what of its containers they need."""

    catalogue: Catalogue
    shard: str

    def __iter__(self) -> Iterator[Placed]:
        return self.catalogue.read(self.shard)

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, ([(_portable(sample), again) for sample, again in self],)


def _portable(sample: RawSample) -> RawSample:
    """`sample` with members that another process can read."""
    members = {
        modality: member.container.carried(member) if hasattr(member.container, "carried") else member
        for modality, member in sample.members.items()
    }
    return replace(sample, members=members)
