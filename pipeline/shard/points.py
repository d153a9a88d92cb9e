"""Point clouds and meshes of other formats as `.npy`, and a look at the header of those that stay as they are."""

import io
import math
import tokenize
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError
from pipeline.modalities import POINT
from pipeline.shard.limits import MAX_BYTES, MAX_POINTS, MAX_RATIO

npy_format: Any = np.lib.format  # NumPy gives it no types
_XYZ = ("points", "xyz", "pc", "pointcloud", "point_cloud", "pos", "vertices", "arr_0")
_RGB = ("rgb", "colors", "colours", "color", "colour")


def npy_bytes(points: NDArray[np.floating]) -> bytes:
    """A point cloud [N, 3] or [N, 6] as an `.npy` file of float32.

    Raises:
        SampleError: It has no point, far too many, another shape, or values that are not finite.
    """
    if points.ndim != 2 or points.shape[1] not in (3, 6):
        raise SampleError("decode", f"array of shape {points.shape}, expected [N, 3] or [N, 6]")
    if not 0 < len(points) <= MAX_POINTS:
        raise SampleError("decode", f"point cloud of {len(points)} points, expected 1 to {MAX_POINTS}")
    points = np.ascontiguousarray(points, "<f4")
    if not np.isfinite(points).all():
        raise SampleError("decode", "point cloud with values that are not finite")
    buffer = io.BytesIO()
    npy_format.write_array(buffer, points, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


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


def npy_header(content: bytes) -> ArrayHeader:
    """The header of an `.npy` file, compared with the bytes that are there; nothing is unpickled.

    Raises:
        SampleError: It is no `.npy` file, a pickle, or has fewer bytes than its header promises.
    """
    stream = io.BytesIO(content)
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        header = ArrayHeader(shape, fortran, dtype, stream.tell())
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, EOFError, RecursionError, MemoryError) as error:
        raise SampleError("read", "not a NumPy file, or a damaged one") from error
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


def npz_points(content: bytes) -> NDArray[np.float64]:
    """The point cloud of an `.npz` archive: its coordinates, and its colours if it has some.

    Raises:
        SampleError: A damaged archive, a bomb, a pickle, or no array that can be a point cloud.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays = {name: _inflate(archive, member) for name, member in _chosen(archive).items()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise SampleError("read", f"damaged archive ({type(error).__name__})") from error
    xyz = next((arrays[name] for name in _XYZ if name in arrays), None)
    if xyz is None:
        raise SampleError("read", f"an archive without points; looked for {', '.join(_XYZ)}")
    return with_colours(xyz, next((arrays[name] for name in _RGB if name in arrays), None))


def with_colours(xyz: NDArray[np.generic], rgb: NDArray[np.generic] | None) -> NDArray[np.float64]:
    """Coordinates [N, 3] or more, with colours [N, 3] from 0 to 1 after them where there are as many.

    Raises:
        SampleError: One of them is no table of numbers.
    """
    if xyz.dtype.kind not in "fiu" or xyz.ndim != 2:
        raise SampleError("read", f"array of {xyz.dtype} and shape {xyz.shape}, expected numbers [N, 3] or [N, 6]")
    points = xyz.astype(np.float64)
    if rgb is None or rgb.dtype.kind not in "fiu" or rgb.shape != (len(points), 3) or points.shape[1] != 3:
        return points
    scale = 255.0 if rgb.dtype.kind in "iu" else 1.0
    return np.concatenate([points, rgb.astype(np.float64) / scale], axis=1)


def _chosen(archive: zipfile.ZipFile) -> dict[str, str]:
    """Members of the arrays to read by known name. A single array is the point cloud, whatever its name."""
    members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
    if len(members) == 1:
        return {"points": next(iter(members.values()))}
    return {name: member for name, member in members.items() if name in _XYZ + _RGB}


def _inflate(archive: zipfile.ZipFile, member: str) -> NDArray[np.generic]:
    info = archive.getinfo(member)
    if info.file_size > MAX_BYTES[POINT] or info.file_size > MAX_RATIO * max(info.compress_size, 1024):
        raise SampleError("read", f"an archive that swells from {info.compress_size} to {info.file_size} bytes")
    with archive.open(info) as file:
        # The declared size is a promise of the archive's author: no more than that is inflated.
        return read_npy(file.read(info.file_size))
