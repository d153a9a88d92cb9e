"""The bytes of a NumPy or PLY file as a point cloud."""

import io
import tokenize
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError

MAX_POINTS = 10_000_000
_MAX_HEADER = 65_536
_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_PLY_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"))


class _PlyHeader(NamedTuple):
    order: str  # a byte order of NumPy, "=" for text
    vertices: int
    fields: list[tuple[str, str]]
    length: int  # bytes


def decode_points(payload: bytes, max_points: int = MAX_POINTS) -> NDArray[np.float32]:
    """The point cloud of an ``.npy`` or ``.ply`` file.

    Returns:
        [N, 3] x, y, z as they stand in the file, or [N, 6] with red, green, blue from 0 to 1 after them.

    Raises:
        SampleError: Neither format, a damaged or empty file, values that are not finite, or more than `max_points`.
    """
    if payload.startswith(b"\x93NUMPY"):
        points = _decode_npy(payload, max_points)
    elif payload.startswith(b"ply"):
        points = _decode_ply(payload, max_points)
    else:
        raise SampleError("decode", f"neither a NumPy nor a PLY file ({len(payload)} bytes)")
    if not np.isfinite(points).all():
        raise SampleError("decode", "point cloud with values that are not finite")
    return points


def _check_count(count: int, max_points: int) -> None:
    if count > max_points:
        raise SampleError("decode", f"point cloud of {count} points, the limit is {max_points} points")
    if count < 1:
        raise SampleError("decode", "point cloud without a single point")


def _decode_npy(payload: bytes, max_points: int) -> NDArray[np.float32]:
    stream = io.BytesIO(payload)
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    except (ValueError, tokenize.TokenError, SyntaxError) as error:
        raise SampleError("decode", f"damaged NumPy file: {error}") from None
    if dtype.kind not in "fiu" or len(shape) != 2 or shape[1] not in (3, 6):
        raise SampleError("decode", f"array of {dtype} and shape {shape}, expected numbers [N, 3] or [N, 6]")
    _check_count(shape[0], max_points)
    size = shape[0] * shape[1] * dtype.itemsize
    content = payload[stream.tell() : stream.tell() + size]
    if len(content) < size:
        raise SampleError("decode", f"NumPy file ends after {len(content)} of {size} bytes")
    points = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return points.astype(np.float32, order="C")


def _decode_ply(payload: bytes, max_points: int) -> NDArray[np.float32]:
    header = _ply_header(payload)
    _check_count(header.vertices, max_points)
    names = [name for name, _ in header.fields]
    if not {"x", "y", "z"} <= set(names):
        raise SampleError("decode", f"PLY vertices without x, y, z (they have {', '.join(names)})")
    table = _ply_table(payload, header)
    columns = [table[axis].astype(np.float32) for axis in "xyz"]
    for colours in _COLOURS:
        if set(colours) <= set(names):
            whole = table.dtype[colours[0]].kind in "iu"
            columns += [table[colour].astype(np.float32) / (255 if whole else 1) for colour in colours]
            break
    return np.stack(columns, axis=1)


def _ply_table(payload: bytes, header: _PlyHeader) -> NDArray[np.void]:
    """The vertices [N] as records."""
    dtype = np.dtype([(name, header.order + kind) for name, kind in header.fields])
    if header.order != "=":
        if len(payload) < header.length + header.vertices * dtype.itemsize:
            raise SampleError("decode", f"PLY file ends before its {header.vertices} vertices do")
        return np.frombuffer(payload, dtype, header.vertices, header.length)
    lines = payload[header.length :].splitlines()[: header.vertices]
    try:
        return np.array([tuple(map(float, line.split())) for line in lines], dtype).reshape(header.vertices)
    except (ValueError, OverflowError):
        raise SampleError("decode", f"PLY file whose {header.vertices} vertices are not all numbers") from None


def _ply_header(payload: bytes) -> _PlyHeader:
    mark = payload.find(b"end_header", 0, _MAX_HEADER)
    end = payload.find(b"\n", mark) + 1
    if mark < 0 or end == 0:
        raise SampleError("decode", "PLY file without the end of its header")
    order, count, fields, element = "", -1, [], ""
    for words in (line.split() for line in payload[:mark].decode("ascii", "replace").splitlines()):
        if words[:1] == ["format"] and len(words) > 1:
            order = _PLY_ORDER.get(words[1], "")
        elif words[:1] == ["element"] and len(words) == 3:
            if element == "" and words[1] != "vertex":
                raise SampleError("decode", f"PLY file that begins with {words[1]}, expected vertex")
            element = words[1]
            if element == "vertex":
                count = int(words[2]) if words[2].isdecimal() else -1
        elif words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in _PLY_TYPES:
                raise SampleError("decode", f"PLY vertices with the property {' '.join(words[1:])!r}")
            fields.append((words[2], _PLY_TYPES[words[1]]))
    if not order or count < 0 or len({name for name, _ in fields}) < len(fields):
        raise SampleError("decode", "PLY file with a header that says nothing clear of its format or vertices")
    return _PlyHeader(order, count, fields, end)
