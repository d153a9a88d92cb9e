"""Memory that a process shares with its child, for the answers that come back: large arrays do not go through a pipe.

A pipe of Linux holds 64 KiB, so that an array in it is many reads of the one and many writes of the other, with Python's lock
held in between. Here the child writes each answer once, and the parent copies it once.
"""

import mmap
import pickle
import struct
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

# Pages that are never touched cost nothing. What does not fit goes through the pipe.
SIZE = 64 << 20
# Calls that have a place of their own in the table at the front.
CALLS = 1024
_TABLE = np.dtype([("begun", np.float64), ("places", np.int64, CALLS)])
_ALIGNED = 64
# Answers that are a number in the table in place of a pickle: a million calls that have little to say cost a second less.
_SHORT = {-1: None, -2: False, -3: True}
_CODES = {pickle.dumps(answer, 5): code for code, answer in _SHORT.items()}


class Answers:
    """A table of answers by the number of their call, written by one process, read by another."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        table = np.frombuffer(self._memory, _TABLE, 1)
        self._begun, self._places = table["begun"], table["places"][0]
        self._free = _TABLE.itemsize

    def clear(self) -> None:
        """Forget all; the first call begins."""
        self._places[:] = 0
        self._free = _TABLE.itemsize
        self.begin()

    def begin(self) -> None:
        """Note that a call begins now."""
        self._begun[0] = time.monotonic()

    @property
    def begun(self) -> float:
        """When the present call began, by the system's monotonic clock."""
        return float(self._begun[0])

    def put(self, number: int, content: bytes, buffers: Sequence[pickle.PickleBuffer]) -> bool:
        """Write the answer to call `number`, a pickle with the buffers beside it; false where there is no room."""
        if number < CALLS and (code := _CODES.get(content)):
            self._places[number] = code
            return True
        pieces = [memoryview(content), *(buffer.raw() for buffer in buffers)]
        pieces.insert(0, memoryview(struct.pack(f"<{1 + len(pieces)}q", len(pieces), *map(len, pieces))))
        end = self._free
        places = []
        for piece in pieces:
            places.append(end)
            end = -(-(end + len(piece)) // _ALIGNED) * _ALIGNED
        if number >= CALLS or end > SIZE:
            return False
        for place, piece in zip(places, pieces, strict=True):
            self._memory[place : place + len(piece)] = piece
        self._places[number] = self._free
        self._free = end
        return True

    def get(self, count: int) -> dict[int, Any]:
        """The answers to the first `count` calls that were written, by the numbers of the calls, with arrays of their own."""
        return {
            number: _SHORT[place] if place < 0 else self._read(place)
            for number, place in enumerate(self._places[:count].tolist())
            if place
        }

    def _read(self, place: int) -> Any:
        (count,) = struct.unpack_from("<q", self._memory, place)
        lengths = struct.unpack_from(f"<{count}q", self._memory, place + 8)
        pieces = []
        end = place + 8 * (1 + count)
        for length in lengths:
            start = -(-end // _ALIGNED) * _ALIGNED
            # numpy copies without Python's lock.
            pieces.append(np.frombuffer(self._memory, np.uint8, length, start).copy().data)
            end = start + length
        return pickle.loads(pieces[0], buffers=pieces[1:])  # noqa: S301  # our own child wrote it
