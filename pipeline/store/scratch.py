"""A database for what a run has to sort and look up and does not fit into memory; it vanishes with the run."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline.files.os_errors import explained

# Up to here everything stays in memory, and nothing is written at all.
MEMORY_BYTES = 64 << 20
PAGE_BYTES = 16 << 10


def open_scratch(folder: Path | None = None) -> sqlite3.Connection:
    """A database of SQLite in a file without a name, which is gone when it is closed or forgotten.

    Sorting takes bounded memory, too, and goes to files without a name. Any thread may use it, one at a time.

    Args:
        folder: Where these files lie, if anything has to be written; None: where the system has temporary files.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    database.execute(f"PRAGMA cache_size = {-(MEMORY_BYTES >> 10)}")
    # What is lost with the process needs no journal.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    if folder:
        directory = str(folder.absolute()).replace("'", "''")
        database.execute(f"PRAGMA temp_store_directory = '{directory}'")
    return database


@contextmanager
def scratch_database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The same for a block, in `folder`, or above it where it is not there yet: on the disk that has room for what the run
    writes.

    Raises:
        McrError: The operating system refused something; it says what.
    """
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    try:
        with closing(open_scratch(place)) as database:
            yield database
    except (sqlite3.Error, MemoryError) as error:
        if said := explained(error, folder):
            raise said from error
        raise
