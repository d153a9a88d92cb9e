"""The bytes of a PLY file as a point cloud."""

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.clouds.checks import check_count, check_finite
from pipeline.decode.clouds.colours import colour_scale
from pipeline.decode.clouds.text_rows import text_rows
from pipeline.errors import SampleError

_MAX_HEADER = 65_536
_MAX_FIELDS = 256
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"))


class _Header(NamedTuple):
    order: str  # a byte order of NumPy, "=" for text
    vertices: int
    fields: dict[str, str]
    length: int  # bytes


def ply_points(payload: bytes) -> NDArray[np.float32]:
    """The vertices of a PLY file: [N, 3], or [N, 6] where they have colours.

    Raises:
        SampleError: It is damaged or empty, has no x, y, z, or more than `MAX_POINTS` vertices.
    """
    header = _header(payload)
    check_count(header.vertices)
    if not {"x", "y", "z"} <= header.fields.keys():
        raise SampleError("decode", f"PLY vertices without x, y, z (they have {', '.join(header.fields)})"[:200])
    colours = next((names for names in _COLOURS if set(names) <= header.fields.keys()), ())
    points = _columns(payload, header, ("x", "y", "z", *colours))
    check_finite(points)
    if colours:
        integers = all(header.fields[name][0] in "iu" for name in colours)
        points[:, 3:] /= colour_scale(points[:, 3:], integers)
    return points


def _columns(payload: bytes, header: _Header, names: tuple[str, ...]) -> NDArray[np.float32]:
    """The fields `names` of all vertices, [N, len(names)]."""
    fewest = header.vertices * (2 * len(header.fields) - 1)
    if header.order == "=":
        if len(payload) - header.length < fewest:
            raise SampleError("decode", f"PLY file ends before its {header.vertices} vertices do")
        stream = io.BytesIO(payload)
        stream.seek(header.length)
        places = [list(header.fields).index(name) for name in names]
        return text_rows(stream, len(header.fields), places, header.vertices).astype(np.float32, copy=False)
    dtype = np.dtype([(name, header.order + kind) for name, kind in header.fields.items()])
    if len(payload) < header.length + header.vertices * dtype.itemsize:
        raise SampleError("decode", f"PLY file ends before its {header.vertices} vertices do")
    table = np.frombuffer(payload, dtype, header.vertices, header.length)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused by the caller
        return np.stack([table[name].astype(np.float32) for name in names], axis=1)


def _header(payload: bytes) -> _Header:
    mark = payload.find(b"end_header", 0, _MAX_HEADER)
    end = payload.find(b"\n", mark) + 1
    if mark < 0 or end == 0:
        raise SampleError("decode", "PLY file without the end of its header")
    order, count, fields, element, clear = "", -1, dict[str, str](), "", True
    for words in (line.split() for line in payload[:mark].decode("ascii", "replace").splitlines()):
        if words[:1] == ["format"] and len(words) > 1:
            order = _ORDER.get(words[1], "")
        elif words[:1] == ["element"] and len(words) == 3:
            if element == "" and words[1] != "vertex":
                raise SampleError("decode", f"PLY file that begins with {words[1]}, expected vertex")
            element = words[1]
            if element == "vertex":
                count = int(words[2]) if words[2].isdecimal() else -1
        elif words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in _TYPES:
                raise SampleError("decode", f"PLY vertices with the property {' '.join(words[1:])!r}")
            clear = clear and words[2] not in fields
            fields[words[2]] = _TYPES[words[1]]
    if not order or count < 0 or not clear or len(fields) > _MAX_FIELDS:
        raise SampleError("decode", "PLY file with a header that says nothing clear of its format or vertices")
    return _Header(order, count, fields, end)
