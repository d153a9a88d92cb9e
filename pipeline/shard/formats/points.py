"""Point clouds of other formats as `.npy`."""

import codecs
import io
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.clouds.checks import MAX_POINTS, check_count, check_finite
from pipeline.decode.clouds.colours import colour_scale
from pipeline.decode.clouds.npy import npy_format, read_npy
from pipeline.decode.clouds.text_rows import text_rows
from pipeline.errors import SampleError
from pipeline.modalities import POINT
from pipeline.shard.limits import MAX_BYTES, MAX_RATIO

_XYZ = ("points", "xyz", "pc", "pointcloud", "point_cloud", "pos", "vertices", "arr_0")
_RGB = ("rgb", "colors", "colours", "color", "colour")


def npy_bytes(points: NDArray[np.floating]) -> bytes:
    """A point cloud [N, 3] or [N, 6] as an `.npy` file of float32.

    Raises:
        SampleError: It has no point, far too many, another shape, or values that are not finite.
    """
    if points.ndim != 2 or points.shape[1] not in (3, 6):
        raise SampleError("decode", f"array of shape {points.shape}, expected [N, 3] or [N, 6]")
    check_count(len(points))
    points = np.ascontiguousarray(points, "<f4")
    check_finite(points)
    buffer = io.BytesIO()
    npy_format.write_array(buffer, points, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


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


def xyz_points(content: bytes) -> NDArray[np.floating]:
    """The points of an `.xyz` file: a line for each, of x, y, z and perhaps red, green, blue.

    Comments before them are skipped: lines that begin with # (as NumPy writes them) or // (CloudCompare).

    Raises:
        SampleError: It has other lines, too many, or colours that are none.
    """
    lines = content.count(b"\n") + 1
    if lines > MAX_POINTS:
        raise SampleError("decode", f"text of {lines} lines, the limit is {MAX_POINTS} points")
    stream = io.BytesIO(content.removeprefix(codecs.BOM_UTF8))
    while (line := stream.readline()) and (line.isspace() or line.startswith((b"#", b"//"))):
        pass
    width = len(line.split())
    if width not in (3, 6):
        raise SampleError("decode", f"a first line of {width} words, expected the numbers x y z or x y z r g b")
    stream.seek(-len(line), io.SEEK_CUR)
    rows = text_rows(stream, width, range(width), None, np.float64)
    check_finite(rows)
    return with_colours(rows[:, :3], rows[:, 3:]) if width == 6 else rows


def with_colours(xyz: NDArray[np.generic], rgb: NDArray[np.generic] | None) -> NDArray[np.float64]:
    """Coordinates [N, 3] or more, with colours [N, 3] from 0 to 1 after them where there are as many.

    Raises:
        SampleError: The coordinates are not a table of numbers, or the colours are none.
    """
    if xyz.dtype.kind not in "fiu" or xyz.ndim != 2:
        raise SampleError("read", f"array of {xyz.dtype} and shape {xyz.shape}, expected numbers [N, 3] or [N, 6]")
    points = xyz.astype(np.float64)
    if (
        rgb is None
        or rgb.dtype.kind not in "fiu"
        or rgb.shape != (len(points), 3)
        or points.shape[1] != 3
        or not len(points)
    ):
        return points
    scale = colour_scale(rgb, integers=rgb.dtype.kind in "iu")
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
