"""Rows of a CSV file, where a stray quote costs its own row and no other.

A quote that opens at the start of a cell runs, by the rules of CSV, up to the next quote: over line ends, and over any
number of rows. What is meant to be several rows cannot be told from a cell of several lines with certainty, so nothing
is guessed: rows that may be merged are rejected by their lines, and those between them are read.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.shard.sources.kinds.lines import read_lines

DELIMITERS = (",", "\t", ";", "|")
_SAID = re.compile(r"\"?sep=([,;|\t])\"?", re.IGNORECASE)
# A cell of more lines is an open quote.
MAX_LINES = 500


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Attributes:
        line: Number of its first line in the file, from 1.
        lines: How many lines it takes.
        cells: What it holds; empty if it is blank or has a fault.
        fault: Why it cannot be read.
    """

    line: int
    lines: int
    cells: list[str]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str | None
    fault: str = ""


class _OpenQuote(Exception):
    """A quoted cell does not end where a cell has to."""


class _Unusable(Exception):
    """A line that is known to be no row."""


class _Feed:
    """Lines for the CSV reader, which can be given back and read once more."""

    def __init__(self, file: BinaryIO) -> None:
        self._fresh = (_Line(number, text) for number, text in enumerate(read_lines(file), 1))
        self._again: deque[_Line] = deque()
        self.taken: list[_Line] = []

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._fresh)
        if self.taken and (line.text is None or line.fault or len(self.taken) == MAX_LINES):
            self._again.appendleft(line)
            raise _OpenQuote
        self.taken.append(line)
        if line.text is None or line.fault:
            raise _Unusable
        return line.text

    def give_back(self, condemned: str = "") -> None:
        """Read again all lines but the first; the last of them has the fault `condemned`."""
        lines = self.taken[1:]
        if condemned:
            lines[-1] = _Line(lines[-1].number, lines[-1].text, condemned)
        self._again.extendleft(reversed(lines))


def read_records(file: BinaryIO, delimiter: str) -> Iterator[Record]:
    """The rows of `file`, blank ones too, each of its lines in exactly one."""
    feed = _Feed(file)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    width = 0
    while True:
        feed.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _Unusable:
            line = feed.taken[0]
            yield Record(line.number, 1, [], line.fault or "the row is too long")
            continue
        except (_OpenQuote, csv.Error) as error:
            first, several = feed.taken[0].number, len(feed.taken) > 1 or isinstance(error, _OpenQuote)
            what = "a quote is opened and not closed" if several or "end of data" in str(error) else str(error)
            if "expected after" in what:
                what = "a quote stands within a cell that is in quotes; there it has to be doubled"
            feed.give_back()
            yield Record(first, 1, [], f"line {first}: {what}")
            continue
        first, last = feed.taken[0].number, feed.taken[-1].number
        if width > 1 and _may_be_rows(feed.taken, delimiter, width):
            feed.give_back(f"line {last}: a quote closes that line {first} opened, over what may be rows")
            yield Record(first, 1, [], f"line {first}: a quote opens that line {last} closes, over what may be rows")
            continue
        width = width or len(cells)
        yield Record(first, len(feed.taken), cells)


def _may_be_rows(lines: list[_Line], delimiter: str, width: int) -> bool:
    """Whether the lines of one record, each read by itself, have the cells of a row; hardly a text of several lines has."""
    if len(lines) == 1:
        return False
    misfits = sum((line.text or "").count(delimiter) + 1 != width for line in lines)
    return misfits * 4 < len(lines)


def said_delimiter(line: str) -> str:
    """What separates the cells of a file whose first line says so to Excel, ``sep=;``; empty if it does not."""
    match = _SAID.fullmatch(line.strip("\r\n"))
    return match[1] if match else ""


def delimiter_of(header: str, name: str) -> str:
    """What separates the cells below a line of column names: what the file's name says, unless it is not there."""
    if said := said_delimiter(header):
        return said
    usual = "\t" if name.lower().endswith(".tsv") else ","
    if usual in header:
        return usual
    return max(DELIMITERS, key=lambda one: (header.count(one), one == usual))
