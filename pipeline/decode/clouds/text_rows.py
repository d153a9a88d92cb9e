"""Rows of numbers as text, read piece by piece so that a large file needs little more than its numbers do."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError

_LINES = 16_384
_LONGEST = 65_536


def text_rows(
    stream: io.BytesIO, width: int, places: Sequence[int], count: int | None, dtype: type[np.floating] = np.float32
) -> NDArray[np.floating]:
    """The columns `places` of the next `count` lines of `stream`, which have `width` numbers each; None: of all lines.

    Empty lines do not count.

    Raises:
        SampleError: There are fewer lines, or some are not such rows.
    """
    pieces = [np.empty((0, len(places)), dtype)]
    done = 0
    while count is None or done < count:
        lines = _some_lines(stream, _LINES if count is None else min(_LINES, count - done))
        if not lines and count is None:
            break
        if not lines:
            raise SampleError("decode", f"text of {done} rows of numbers, expected {count}")
        try:
            numbers = np.loadtxt(lines, np.float64, comments=None, ndmin=2, encoding="latin1")
        except ValueError:
            raise SampleError("decode", f"rows {done + 1} to {done + len(lines)} are not all numbers") from None
        if numbers.shape[1] != width:
            raise SampleError("decode", f"rows of {numbers.shape[1]} numbers, expected {width}")
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused by the caller
            pieces.append(numbers[:, places].astype(dtype))
        done += len(lines)
    return np.concatenate(pieces)


def _some_lines(stream: io.BytesIO, most: int) -> list[bytes]:
    lines: list[bytes] = []
    while len(lines) < most and (line := stream.readline(_LONGEST)):
        if len(line) == _LONGEST:
            raise SampleError("decode", f"a line of {_LONGEST} bytes or more, expected a row of numbers")
        if not line.isspace():
            lines.append(line)
    return lines
