"""Parts of several stores under one numbering, and where each key is; the keys are on disk."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.store import EMBEDDING_COLUMN, Part, Store, open_placed


class KeysOnDisk(Sequence[str]):
    """The keys of one part, read anew whenever they are asked for; pickled, they are a list.

    Args:
        read: Reads them.
        count: How many there are.
    """

    def __init__(self, read: Callable[[], list[str]], count: int) -> None:
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __getitem__(self, place: Any) -> Any:
        return self._read()[place]

    def __reduce__(self) -> tuple[object, ...]:
        return list, (self._read(),)


class Located:
    """Parts of several stores under one numbering, and where each key is: (part number, row).

    Args:
        folders: The stores.
        database: Of `pipeline.store.scratch`.
        name: Tells its table from others in the same database.

    Attributes:
        parts: Store and entry in its manifest of each part.
        dimension: Width D of the embeddings; 0 without parts.

    Raises:
        UserError: A key occurs twice.
    """

    def __init__(self, folders: Sequence[Path], database: Connection, name: str) -> None:
        self.parts: list[tuple[Store, Part]] = []
        self._cached: tuple[int, np.ndarray] | None = None
        self._database, self.table = database, f"located_{name}"
        database.execute(f"CREATE TABLE {self.table} (key TEXT, part INTEGER, row INTEGER)")
        self._ends = [0]  # the rows of part n are those after the n-th of these, up to the next
        for folder in folders:
            store = open_placed(folder)
            for part, rows in store.parts(columns=[]):
                self._add(store, part, rows.keys)
        database.execute(f"CREATE INDEX key_of_{self.table} ON {self.table} (key, part, row)")
        self._refuse_repeated()
        self.dimension = self.read(0).shape[1] if self.parts else 0

    def _add(self, store: Store, part: Part, keys: list[str]) -> None:
        number = len(self.parts)
        self._database.execute("BEGIN")
        self._database.executemany(
            f"INSERT INTO {self.table} VALUES (?, {number}, ?)", ((key, row) for row, key in enumerate(keys))
        )
        self._database.execute("COMMIT")
        self._ends.append(self._ends[-1] + len(keys))
        self.parts.append((store, part))

    def _refuse_repeated(self) -> None:
        """See that no key occurs twice, whatever store it is in.

        Raises:
            UserError: One does.
        """
        again = self._database.execute(
            f"SELECT max(part) FROM {self.table} GROUP BY key HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if again:
            store, part = self.parts[again[0]]
            raise UserError(
                f"{store.folder / part.name} holds a key that occurs before it.", "Give every sample a key of its own."
            )

    def keys(self, number: int) -> list[str]:
        """Keys of part `number`, in the order of its rows."""
        return [key for key, *_ in self._of(number, f"SELECT key FROM {self.table}")]

    def partners(self, number: int, other: "Located") -> Iterator[tuple[str, int | None]]:
        """Each key of part `number` with the part of `other` that it is in; None if it is in none."""
        return self._of(
            number,
            f"SELECT {self.table}.key, {other.table}.part FROM {self.table} "
            f"LEFT JOIN {other.table} ON {other.table}.key = {self.table}.key",
        )

    def _of(self, number: int, query: str) -> Iterator[tuple[Any, ...]]:
        first, last = self._ends[number] + 1, self._ends[number + 1]
        rows = f"{self.table}.rowid"
        return self._database.execute(f"{query} WHERE {rows} BETWEEN ? AND ? ORDER BY {rows}", (first, last))

    def not_in(self, other: "Located") -> Iterator[tuple[str, int]]:
        """Keys that `other` does not have and their parts, in the order of the rows."""
        return self._database.execute(
            f"SELECT key, part FROM {self.table} WHERE NOT EXISTS "
            f"(SELECT 1 FROM {other.table} WHERE {other.table}.key = {self.table}.key) ORDER BY rowid"
        )

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that are in no part."""
        return [key for key, (part, _) in zip(keys, self._places(keys), strict=True) if part is None]

    def read(self, number: int) -> np.ndarray:
        """Embeddings of part `number`."""
        store, part = self.parts[number]
        return store.read_part(part, [EMBEDDING_COLUMN]).vectors[EMBEDDING_COLUMN]

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """Embeddings [n, D] of `keys`, wherever they are stored; the part that was read last is kept."""
        places = np.array(self._places(keys)).reshape(-1, 2)
        out = np.empty((len(keys), self.dimension), np.float32)
        for number in np.unique(places[:, 0]):
            here = places[:, 0] == number
            if self._cached is None or self._cached[0] != number:
                self._cached = (int(number), self.read(int(number)))
            out[here] = self._cached[1][places[here, 1]]
        return out

    def _places(self, keys: Sequence[str]) -> list[tuple[int | None, int | None]]:
        """Part and row of each of `keys`, in one question: a million texts are asked for at every pass over them."""
        asked = f"json_each(?) AS asked LEFT JOIN {self.table} ON {self.table}.key = asked.value ORDER BY asked.key"
        return self._database.execute(f"SELECT part, row FROM {asked}", (json.dumps(list(keys)),)).fetchall()
