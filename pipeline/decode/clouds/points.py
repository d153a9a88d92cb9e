"""The bytes of a NumPy or PLY file as a point cloud."""

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.clouds.checks import check_count, check_finite
from pipeline.decode.clouds.colours import colour_scale
from pipeline.decode.clouds.npy import MAGIC, npy_header, read_npy
from pipeline.decode.clouds.ply import ply_points
from pipeline.decode.signatures import named_format
from pipeline.errors import SampleError


def decode_points(payload: bytes) -> NDArray[np.float32]:
    """The point cloud of an ``.npy`` or ``.ply`` file.

    Returns:
        [N, 3] x, y, z as they stand in the file, or [N, 6] with red, green, blue from 0 to 1 after them.

    Raises:
        SampleError: Neither format, a damaged or empty file, values that are not finite, colours that are none, or more
            than `MAX_POINTS`.
    """
    if payload.startswith(MAGIC):
        points = _npy_points(payload)
    elif payload.startswith(b"ply"):
        points = ply_points(payload)
    else:
        raise SampleError("decode", f"neither a NumPy nor a PLY file ({len(payload)} bytes{named_format(payload)})")
    return points


def _npy_points(payload: bytes) -> NDArray[np.float32]:
    shape, _, dtype, _ = npy_header(payload)
    if dtype.kind not in "fiu" or len(shape) != 2 or shape[1] not in (3, 6):
        raise SampleError("decode", f"array of {dtype} and shape {shape}, expected numbers [N, 3] or [N, 6]")
    check_count(shape[0])
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        points = read_npy(payload).astype(np.float32, order="C")
    check_finite(points)
    if shape[1] == 6 and (scale := colour_scale(points[:, 3:])) != 1:
        points[:, 3:] /= scale
    return points
