"""Two spaces' embeddings of the same samples, joined by key, part by part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.hashing import sha256_json
from pipeline.retrieve.located import KeysOnDisk, Located
from pipeline.store import Failure
from pipeline.store.parts.names import number_of, numbered
from pipeline.store.scratch import open_scratch


@dataclass(frozen=True)
class JoinedPart:
    """One part of the first space's stores with what the second space knows about its samples.

    Attributes:
        name: Name of the part that is made from it.
        source: Hash of every part that it was read from.
        keys: The n keys that both spaces have, in the order of the first; they may be read anew whenever they are asked for.
        first_row: Position of the part's first row among the rows of all parts.
        rejected: Keys of one space that the other does not have.
    """

    name: str
    source: str
    keys: Sequence[str]
    first_row: int
    rejected: tuple[Failure, ...]


class JoinedStores:
    """The samples that two spaces share, in the parts and the order of the first space.

    Neither keys nor embeddings are held in memory: keys are in a file without a name, embeddings are read a part at a time.

    Args:
        spaces: Names of the two spaces.
        first: Stores of the first space, one per corpus.
        second: Stores of the second space.

    Raises:
        UserError: A key occurs in two corpora, or the spaces share none.
    """

    def __init__(self, spaces: tuple[str, str], first: Sequence[Path], second: Sequence[Path]) -> None:
        self._spaces = spaces
        database = open_scratch()
        self._first = Located(first, database, "first")
        self._second = Located(second, database, "second")
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
        orphans: dict[int, list[tuple[str, int]]] = {}
        last = len(self._first.parts) - 1
        for key, number in self._second.not_in(self._first):
            orphans.setdefault(min(number, last), []).append((key, number))
        for number, (_, part) in enumerate(self._first.parts):
            keys = 0
            others: set[int] = set()
            missing: list[str] = []
            for key, other in self._first.partners(number, self._second):
                if other is None:
                    missing.append(key)
                else:
                    keys += 1
                    others.add(other)
            extra = orphans.get(number, [])
            read = sorted(others | {other for _, other in extra})
            source = sha256_json([part.sha256, [self._second.parts[other][1].sha256 for other in read]])
            rejected = [self._failure(key, self._spaces[1]) for key in missing]
            rejected += [self._failure(key, self._spaces[0]) for key, _ in extra]
            name = f"part-{numbered(number)}.parquet"
            yield JoinedPart(
                name, source, KeysOnDisk(partial(self.shared_keys, number), keys), first_row, tuple(rejected)
            )
            first_row += keys

    @staticmethod
    def _failure(key: str, space: str) -> Failure:
        return Failure(key, "join", "MissingKey", f"it has no embedding in {space}")

    def first(self, part: JoinedPart) -> np.ndarray:
        """Embeddings [n, D] of the first space for the keys of `part`."""
        return self._first.rows(part.keys)

    def second(self, keys: Sequence[str]) -> np.ndarray:
        """Embeddings [n, D] of the second space for `keys`, wherever they are stored."""
        return self._second.rows(keys)

    def shared_keys(self, number: int) -> list[str]:
        """Keys of part `number` of the first space that the second has, too."""
        return [key for key, other in self._first.partners(number, self._second) if other is not None]

    def keys(self) -> list[str]:
        """All joined keys in the order of the rows."""
        return [key for part in self.parts for key in part.keys]


class SingleStores:
    """The samples of one space as queries, in the parts and the order of its stores; nothing is joined or rejected."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._located = Located(folders, open_scratch(), "only")
        self.parts: list[JoinedPart] = []
        first_row = 0
        for number, (_, part) in enumerate(self._located.parts):
            keys = KeysOnDisk(partial(self._located.keys, number), part.rows)
            self.parts.append(JoinedPart(f"part-{numbered(number)}.parquet", part.sha256, keys, first_row, ()))
            first_row += part.rows

    def embeddings(self, part: JoinedPart) -> np.ndarray:
        """Embeddings [n, D] of the samples of `part`."""
        number = number_of(part.name)
        assert number is not None
        return self._located.read(number)
