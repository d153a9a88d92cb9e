"""A database for what a run has to sort and look up and does not fit into memory; it vanishes with the run."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline.files.os_errors import explained

# Up to here everything stays in memory, and nothing is written at all.
MEMORY_BYTES = 64 << 20
PAGE_BYTES = 16 << 10


@contextmanager
def scratch_database(folder: Path) -> Iterator[sqlite3.Connection]:
    """A database of SQLite in a file without a name in `folder`, or above it where it is not there yet: on the disk that
    has room for what the run writes.

    Sorting takes bounded memory, too, and goes to files without a name. Any thread may use it, one at a time.

    Raises:
        McrError: The operating system refused something; it says what.
    """
    try:
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as database:
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            database.execute(f"PRAGMA cache_size = {-(MEMORY_BYTES >> 10)}")
            # What is lost with the process needs no journal.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
            directory = str(place.absolute()).replace("'", "''")
            database.execute(f"PRAGMA temp_store_directory = '{directory}'")
            yield database
    except (sqlite3.Error, MemoryError) as error:
        if said := explained(error, folder):
            raise said from error
        raise
