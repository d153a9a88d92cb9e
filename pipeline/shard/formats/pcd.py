"""Point clouds in the PCD format of the Point Cloud Library."""

import io
import struct

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.clouds.checks import check_count
from pipeline.decode.clouds.text_rows import text_rows
from pipeline.errors import SampleError
from pipeline.modalities import POINT
from pipeline.shard.formats.lzf import inflate_lzf
from pipeline.shard.formats.points import with_colours
from pipeline.shard.limits import MAX_BYTES, MAX_RATIO

_MAX_HEADER = 16_384
_MAX_FIELDS = 64


def pcd_points(content: bytes) -> NDArray[np.float64]:
    """The points of a `.pcd` file (`ascii`, `binary` or `binary_compressed`), with their colours if it has some.

    Raises:
        SampleError: It is not such a file, or it is damaged.
    """
    try:
        header, start = _header(content)
        dtype = _dtype(header)
        count = int(header["POINTS"][0])
        check_count(count)
        table = _table(header["DATA"][0], content[start:], dtype, count)
    except (KeyError, ValueError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise SampleError("read", "a damaged PCD file") from error
    if not {"x", "y", "z"} <= set(dtype.names or ()):
        raise SampleError("read", "a PCD file without x, y, z")
    xyz = np.stack([table[axis].reshape(count, -1)[:, 0].astype(np.float64) for axis in "xyz"], axis=1)
    # Sensors mark a missing point as NaN: it is not there.
    seen = np.isfinite(xyz).all(axis=1)
    return with_colours(xyz, _colours(table))[seen]


def _header(content: bytes) -> tuple[dict[str, list[str]], int]:
    found: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in found:
        end = content.index(b"\n", start, _MAX_HEADER)
        words = content[start:end].decode("ascii", "replace").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            found[words[0].upper()] = words[1:]
    return found, start


def _dtype(header: dict[str, list[str]]) -> np.dtype[np.void]:
    names, sizes, kinds = header["FIELDS"], header["SIZE"], header["TYPE"]
    counts = header.get("COUNT", ["1"] * len(names))
    if len(names) > _MAX_FIELDS or not len(names) == len(sizes) == len(kinds) == len(counts):
        raise ValueError("fields")
    letters = {"F": "f", "I": "i", "U": "u"}
    fields = []
    for number, (name, size, kind, count) in enumerate(zip(names, sizes, kinds, counts, strict=True)):
        # PCL fills gaps with fields that are all called "_".
        unique = name if name not in names[:number] else f"{name}_{number}"
        if not 0 < int(count) <= 4096:
            raise ValueError("count")
        fields.append((unique, f"<{letters[kind.upper()]}{int(size)}", (int(count),)))
    return np.dtype(fields)


def _table(kind: str, body: bytes, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
    size = count * dtype.itemsize
    if size > MAX_BYTES[POINT]:
        raise SampleError("read", f"point cloud of {size} bytes")
    if kind == "ascii":
        return _ascii(body, dtype, count)
    if kind == "binary":
        return np.frombuffer(body, dtype, count)
    if kind != "binary_compressed":
        raise ValueError(kind)
    packed, whole = struct.unpack_from("<II", body)
    if whole != size or whole > MAX_RATIO * max(packed, 1024):
        raise SampleError("read", f"a PCD file that swells from {packed} to {whole} bytes")
    columns = inflate_lzf(body[8 : 8 + packed], whole)
    # Compressed files hold column after column.
    table = np.empty(count, dtype)
    start = 0
    for name in dtype.names or ():
        width = table[name].nbytes
        table[name] = np.frombuffer(columns[start : start + width], table[name].dtype).reshape(table[name].shape)
        start += width
    return table


def _ascii(body: bytes, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
    widths = {name: int(np.prod(dtype[name].shape)) for name in dtype.names or ()}
    width = sum(widths.values())
    if len(body) < count * (2 * width - 1):
        raise ValueError("rows")
    stream = io.BytesIO(body)
    rows = text_rows(stream, width, range(width), count, np.float64)
    if stream.read().strip():
        raise ValueError("rows")
    table = np.empty(count, dtype)
    start = 0
    for name, held in widths.items():
        table[name] = rows[:, start : start + held]
        start += held
    return table


def _colours(table: NDArray[np.void]) -> NDArray[np.uint8] | None:
    """Colours [N, 3]: PCL packs them into the bits of one number, as blue, green, red from the lowest byte."""
    name = next((name for name in ("rgb", "rgba") if name in (table.dtype.names or ())), None)
    if name is None:
        return None
    column = np.ascontiguousarray(table[name][:, 0])
    if column.dtype.itemsize != 4:
        return None
    return column.view(np.uint8).reshape(-1, 4)[:, 2::-1].copy()
