"""Samples of one corpus that hold the same bytes."""

from pathlib import Path

import pyarrow as pa

from pipeline.store.parquet import read_table, write_table

DUPLICATES_NAME = "_duplicates.parquet"
_SCHEMA = pa.schema([("key", pa.string()), ("first_key", pa.string())])


class Duplicates:
    """Finds samples with equal content by their hashes, whatever the order in which they come."""

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}
        self._repeated: list[tuple[bytes, str]] = []

    def add(self, key: str, hashes: list[str]) -> None:
        """The members of the sample `key` have these SHA-256 `hashes`."""
        # Half of a hash tells more samples apart than there are.
        digest = b"".join(bytes.fromhex(one[:32]) for one in hashes)
        if digest in self._seen:
            self._repeated.append((digest, key))
        else:
            self._seen[digest] = key

    def rows(self) -> list[tuple[str, str]]:
        """Key, and the first key in the order of keys that has the same bytes; in the order of keys."""
        first: dict[bytes, str] = {}
        for digest, key in self._repeated:
            first[digest] = min(first.get(digest, self._seen[digest]), key)
        every = {(digest, self._seen[digest]) for digest in first} | set(self._repeated)
        return sorted((key, first[digest]) for digest, key in every if key != first[digest])


def write_duplicates(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write the table of duplicates to the file `path`."""
    write_table(path, pa.Table.from_pylist([{"key": key, "first_key": first} for key, first in rows], schema=_SCHEMA))


def read_duplicates(folder: Path) -> list[tuple[str, str]]:
    """Key and first key of each sample whose bytes another sample of the corpus in `folder` holds as well."""
    return [(row["key"], row["first_key"]) for row in read_table(folder / DUPLICATES_NAME).to_pylist()]
