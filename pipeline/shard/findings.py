"""What was learned of every sample on its way into a shard, on disk: hashes of its members, for the tables beside the shards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from sqlite3 import Connection

from pipeline.modalities import SOURCE_MODALITY_OF, modality_of
from pipeline.shard.samples import Checked

# Half of a hash tells more samples apart than there are.
HALF = 16


@dataclass(frozen=True)
class Repeated:
    """Files of one modality that stand under several keys.

    Attributes:
        files: How many files.
        keys: How many keys they stand under.
        example: The first keys of one of them.
    """

    files: int
    keys: int
    example: list[str]


class Copies:
    """Samples whose bytes another one holds: the key of each, and the first key that has them; in the order of the keys."""

    def __init__(self, database: Connection, table: str) -> None:
        self._database, self._table = database, table

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self._database.execute(f"SELECT key, first FROM {self._table} ORDER BY rowid")

    def __len__(self) -> int:
        count: int = self._database.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0]
        return count


class Findings:
    """Of the samples of some parts, which come in any order; asked when all have come.

    Args:
        database: Of `pipeline.store.scratch`.
        name: Tells them from others in the same database.
    """

    def __init__(self, database: Connection, name: str) -> None:
        self._database, self._name = database, name.replace(" ", "_")
        self._fewest_lines = 0
        self._first_text: tuple[str, int] | None = None
        database.execute(f"CREATE TABLE member_{self._name} (part TEXT, key TEXT, modality TEXT, sha256 BLOB)")
        database.execute(f"CREATE TABLE whole_{self._name} (key TEXT, content BLOB)")

    def add(self, part: str, checked: Iterable[Checked]) -> None:
        """What became of the samples of `part`, or of some of them, in their order."""
        members: list[tuple[str, str, str, bytes]] = []
        whole: list[tuple[str, bytes]] = []
        for one in checked:
            hashes = [(extension, bytes.fromhex(digest)) for extension, digest in one.members]
            for extension, digest in hashes:
                modality = SOURCE_MODALITY_OF.get(extension) or modality_of(extension) or extension
                members.append((part, one.key, modality, digest))
            if hashes:
                whole.append((one.key, b"".join(digest[:HALF] for _, digest in hashes)))
            if one.lines:
                self._fewest_lines = min(one.lines, self._fewest_lines or one.lines)
                self._first_text = min(self._first_text or (one.key, one.lines), (one.key, one.lines))
        self._database.execute("BEGIN")
        self._database.executemany(f"INSERT INTO member_{self._name} VALUES (?, ?, ?, ?)", members)
        self._database.executemany(f"INSERT INTO whole_{self._name} VALUES (?, ?)", whole)
        self._database.execute("COMMIT")

    def members(self) -> Iterator[tuple[str, str, bytes]]:
        """Key, modality and SHA-256 of every raw member: part by part, in the order in which they were added."""
        return self._database.execute(f"SELECT key, modality, sha256 FROM member_{self._name} ORDER BY part, rowid")

    def copies(self) -> Copies:
        """The samples that hold the same bytes as one with an earlier key."""
        self._database.execute(f"DROP TABLE IF EXISTS copy_{self._name}")
        self._database.execute(
            f"CREATE TABLE copy_{self._name} AS SELECT key, first FROM "
            f"(SELECT key, min(key) OVER (PARTITION BY content) AS first FROM whole_{self._name}) "
            "WHERE key != first ORDER BY key"
        )
        return Copies(self._database, f"copy_{self._name}")

    def repeated(self) -> Iterator[tuple[str, Repeated]]:
        """Modality by modality, what stands under several keys."""
        found = self._database.execute(
            "SELECT modality, count(*), sum(keys), min(first), sha256 FROM (SELECT modality, sha256, count(*) AS keys, "
            f"min(key) AS first FROM member_{self._name} GROUP BY modality, sha256 HAVING count(*) > 1) "
            "GROUP BY modality ORDER BY modality"
        ).fetchall()
        for modality, files, keys, _, digest in found:
            same = f"SELECT key FROM member_{self._name} WHERE modality = ? AND sha256 = ? ORDER BY key LIMIT 3"
            example = [key for (key,) in self._database.execute(same, (modality, digest))]
            yield modality, Repeated(files, keys, example)

    def counts(self) -> dict[str, int]:
        """How many members there are of each modality."""
        return dict(self._database.execute(f"SELECT modality, count(*) FROM member_{self._name} GROUP BY modality"))

    def repeated_keys(self) -> tuple[int, str] | None:
        """How many keys are there more than once, and one of them; None if all are different."""
        again = f"SELECT key FROM whole_{self._name} GROUP BY key HAVING count(*) > 1"
        count, key = self._database.execute(f"SELECT count(*), min(key) FROM ({again})").fetchone()
        return (count, key) if count else None

    @property
    def several_lines(self) -> tuple[str, int] | None:
        """A text and how many lines it has, if there are texts and all of them have several."""
        return self._first_text if self._fewest_lines > 1 else None
