"""Two spaces' embeddings of the same samples, joined by key, part by part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.hashing import sha256_json
from pipeline.store import EMBEDDING_COLUMN, Failure, Part, Store, open_placed
from pipeline.store.parts.names import numbered


@dataclass(frozen=True)
class JoinedPart:
    """One part of the first space's stores with what the second space knows about its samples.

    Attributes:
        name: Name of the part that is made from it.
        source: Hash of every part that it was read from.
        keys: The n keys that both spaces have, in the order of the first.
        first_row: Position of the part's first row among the rows of all parts.
        rejected: Keys of one space that the other does not have.
    """

    name: str
    source: str
    keys: list[str]
    first_row: int
    rejected: tuple[Failure, ...]


class JoinedStores:
    """The samples that two spaces share, in the parts and the order of the first space.

    Only keys are held in memory; embeddings are read a part at a time.

    Args:
        spaces: Names of the two spaces.
        first: Stores of the first space, one per corpus.
        second: Stores of the second space.

    Raises:
        UserError: A key occurs in two corpora, or the spaces share none.
    """

    def __init__(self, spaces: tuple[str, str], first: Sequence[Path], second: Sequence[Path]) -> None:
        self._spaces = spaces
        self._first = Located(first)
        self._second = Located(second)
        self.parts = list(self._join())
        self.rows = sum(len(part.keys) for part in self.parts)
        if not self.rows:
            raise UserError(
                f"{spaces[0]} and {spaces[1]} have no key in common.", "Check that both encode the same corpora."
            )

    def _join(self) -> Iterator[JoinedPart]:
        first_row = 0
        # A sample that only the second space has belongs to no part of the first; it is counted in the part of the
        # same number, so that each of them is counted once and in = out + rejected.
        orphans: dict[int, list[str]] = {}
        last = len(self._first.parts) - 1
        for key, (number, _) in self._second.where.items():
            if key not in self._first.where:
                orphans.setdefault(min(number, last), []).append(key)
        for number, (_, part) in enumerate(self._first.parts):
            missing = [key for key in self._first.keys[number] if key not in self._second.where]
            keys = [key for key in self._first.keys[number] if key in self._second.where]
            extra = orphans.get(number, [])
            read = sorted({self._second.where[key][0] for key in [*keys, *extra]})
            source = sha256_json([part.sha256, [self._second.parts[other][1].sha256 for other in read]])
            rejected = [self._failure(key, self._spaces[1]) for key in missing]
            rejected += [self._failure(key, self._spaces[0]) for key in extra]
            yield JoinedPart(f"part-{numbered(number)}.parquet", source, keys, first_row, tuple(rejected))
            first_row += len(keys)

    @staticmethod
    def _failure(key: str, space: str) -> Failure:
        return Failure(key, "join", "MissingKey", f"it has no embedding in {space}")

    def first(self, part: JoinedPart) -> np.ndarray:
        """Embeddings [n, D] of the first space for the keys of `part`."""
        number = self.parts.index(part)
        rows = [self._first.where[key][1] for key in part.keys]
        return self._first.read(number)[rows]

    def second(self, keys: Sequence[str]) -> np.ndarray:
        """Embeddings [n, D] of the second space for `keys`, wherever they are stored."""
        return self._second.rows(keys)

    def keys(self) -> list[str]:
        """All joined keys in the order of the rows."""
        return [key for part in self.parts for key in part.keys]


class Located:
    """Parts of several stores under one numbering, and where each key is: (part number, row)."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.parts: list[tuple[Store, Part]] = []
        self._cached: tuple[int, np.ndarray] | None = None
        self.keys: list[list[str]] = []
        self.where: dict[str, tuple[int, int]] = {}
        for folder in folders:
            store = open_placed(folder)
            for part, rows in store.parts(columns=[]):
                self._add(store, part, rows.keys)
        self.dimension = self.read(0).shape[1] if self.parts else 0

    def _add(self, store: Store, part: Part, keys: list[str]) -> None:
        before = len(self.where)
        self.where |= {key: (len(self.parts), row) for row, key in enumerate(keys)}
        if len(self.where) != before + len(keys):
            raise UserError(
                f"{store.folder / part.name} holds a key that occurs before it.", "Give every sample a key of its own."
            )
        self.parts.append((store, part))
        self.keys.append(keys)

    def read(self, number: int) -> np.ndarray:
        """Embeddings of part `number`."""
        store, part = self.parts[number]
        return store.read_part(part, [EMBEDDING_COLUMN]).vectors[EMBEDDING_COLUMN]

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """Embeddings [n, D] of `keys`, wherever they are stored; the part that was read last is kept."""
        places = np.array([self.where[key] for key in keys]).reshape(-1, 2)
        out = np.empty((len(keys), self.dimension), np.float32)
        for number in np.unique(places[:, 0]):
            here = places[:, 0] == number
            if self._cached is None or self._cached[0] != number:
                self._cached = (int(number), self.read(int(number)))
            out[here] = self._cached[1][places[here, 1]]
        return out


class SingleStores:
    """The samples of one space as queries, in the parts and the order of its stores; nothing is joined or rejected."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._located = Located(folders)
        self.parts: list[JoinedPart] = []
        first_row = 0
        for number, ((_, part), keys) in enumerate(zip(self._located.parts, self._located.keys, strict=True)):
            self.parts.append(JoinedPart(f"part-{numbered(number)}.parquet", part.sha256, keys, first_row, ()))
            first_row += len(keys)

    def embeddings(self, part: JoinedPart) -> np.ndarray:
        """Embeddings [n, D] of the samples of `part`."""
        return self._located.read(self.parts.index(part))
