"""The journal of a folder under construction: one line for each part that is committed, appended and synced.

A line is a checksum and a JSON object. The first one, the header, says for which fingerprint the parts are. A line is
what commits a part: it is written before the part gets its final name and holds the part's temporary name as well, so
that whoever opens the folder after a kill can finish the renaming.
"""

import json
import logging
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files.atomic import sync_descriptor, sync_directory, write_bytes
from pipeline.files.reading import read_bytes

JOURNAL_NAME = "_journal.jsonl"

log = logging.getLogger(__name__)


class Journal:
    """The journal in `folder`, open for appending.

    Args:
        folder: The folder under construction.
        header: Begins a new journal in place of any other; None: goes on with the one that is there.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any] | None) -> None:
        self.path = folder / JOURNAL_NAME
        if header is not None:
            write_bytes(self.path, _line(header))
        # Without a buffer: what a full disk refused must not be written again when the file is closed.
        self._file = open(self.path, "r+b", buffering=0)  # noqa: SIM115
        end = self._file.seek(0, os.SEEK_END)
        if end and not _ends_a_line(self._file, end):
            self._write(b"\n")  # The line before it was torn by a kill; it stays one that nobody can read.

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add one entry, durably."""
        self._write(_line(entry))
        sync_descriptor(self._file.fileno())

    def _write(self, line: bytes) -> None:
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        """Close the file and leave it for the next run."""
        self._file.close()

    def remove(self) -> None:
        """Close and remove the file: the manifest holds everything by now."""
        self.close()
        self.path.unlink()
        sync_directory(self.path.parent)


@dataclass(frozen=True)
class Entries:
    """What a journal holds.

    Attributes:
        entries: The header first (empty if it is damaged), then one for each part; none if there is no journal.
        damaged: Whether a line could not be read, other than the last one, which a kill may have torn.
    """

    entries: list[dict[str, Any]]
    damaged: bool


def read_journal(folder: Path) -> Entries:
    """The entries of the journal in `folder`; a line that cannot be read is left out: its part is made again."""
    path = folder / JOURNAL_NAME
    try:
        lines = read_bytes(path).split(b"\n")
    except FileNotFoundError:
        return Entries([], False)
    header, *parts = (_entry(line) for line in lines[:-1] or lines)
    last = _entry(lines[-1]) if len(lines) > 1 else None  # Empty, unless a kill tore it.
    damaged = header is None or None in parts
    if damaged:
        log.warning("%s is damaged: the parts in unreadable lines are remade", path)
    return Entries([header or {}, *(entry for entry in (*parts, last) if entry is not None)], damaged)


def _line(entry: Mapping[str, Any]) -> bytes:
    content = json.dumps(entry, sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _entry(line: bytes) -> dict[str, Any] | None:
    checksum, _, content = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(content):
        return None
    entry: dict[str, Any] = json.loads(content)
    return entry


def _ends_a_line(file: Any, end: int) -> bool:
    file.seek(end - 1)
    return bool(file.read(1) == b"\n")
