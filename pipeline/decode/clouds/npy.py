"""The header of an `.npy` file, which is compared with the bytes that are there; nothing is ever unpickled."""

import io
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError

npy_format: Any = np.lib.format  # NumPy gives it no types
MAGIC = b"\x93NUMPY"
_DAMAGED = "not a NumPy file, or a damaged one"


class ArrayHeader(NamedTuple):
    """What the header of an `.npy` file says.

    Attributes:
        shape: Of the array.
        fortran: Whether the first index varies fastest.
        dtype: Type of an entry.
        start: First byte of the entries.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]
    start: int


def any_header(content: bytes) -> ArrayHeader:
    """The header of an `.npy` file, whatever it holds.

    Raises:
        SampleError: It is no `.npy` file.
    """
    stream = io.BytesIO(content)
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        header = ArrayHeader(tuple(map(int, shape)), fortran, dtype, stream.tell())
    except Exception as error:  # a crafted header fails in many ways
        raise SampleError("read", _DAMAGED) from error
    if dtype.subdtype or not dtype.itemsize:  # NumPy writes neither
        raise SampleError("read", _DAMAGED)
    return header


def npy_header(content: bytes) -> ArrayHeader:
    """The header of an `.npy` file with numbers.

    Raises:
        SampleError: It is no `.npy` file, a pickle, or has fewer bytes than its header promises.
    """
    header = any_header(content)
    if header.dtype.hasobject:
        raise SampleError("read", "the file holds a pickle, which is never opened")
    size = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or size > len(content) - header.start:
        raise SampleError("read", "the file has fewer bytes than its header promises")
    return header


def read_npy(content: bytes) -> NDArray[np.generic]:
    """The array of an `.npy` file.

    Raises:
        SampleError: See `npy_header`.
    """
    header = npy_header(content)
    entries = np.frombuffer(content, header.dtype, math.prod(header.shape), header.start)
    return entries.reshape(header.shape, order="F" if header.fortran else "C")
