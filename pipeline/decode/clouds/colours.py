"""Whether three columns of a point cloud are colours, and on which scale they are."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError

# A rounding error of whoever wrote the file.
_SLACK = 0.01
# No cloud of floats from 0 to 255 is so dark that its brightest value is below this and not whole.
_DARK = 16


def colour_scale(colours: NDArray, integers: bool = False) -> float:
    """What `colours` [N, 3] have to be divided by to lie between 0 and 1: 1, 255 or 65535.

    Args:
        colours: Finite values.
        integers: Whether the file says that they are colours and stores them as integers, so that 1 is almost black.

    Raises:
        SampleError: They are not colours (some are negative, as in normals), or on no scale that is known.
    """
    low, high = float(colours.min()), float(colours.max())
    if low < (0 if integers else -_SLACK):
        message = f"colours down to {low:.3g}: they are normals, or go from -1 to 1; expected 0 to 1, or 0 to 255"
        raise SampleError("decode", message)
    if high <= 1 + _SLACK and not integers:
        return 1.0
    whole = integers or bool((colours == np.rint(colours)).all())
    if high <= 255 and (whole or high > _DARK):
        return 255.0
    if high <= 65_535 and whole:
        return 65_535.0
    raise SampleError("decode", f"colours up to {high:.6g}: expected 0 to 1, 0 to 255, or 16 bits")
