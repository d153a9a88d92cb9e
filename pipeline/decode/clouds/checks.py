"""What holds for every point cloud, whatever file it is from."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError

MAX_POINTS = 10_000_000


def check_count(count: int) -> None:
    """Refuse a cloud of no point, or of more than `MAX_POINTS`; to be asked before anything is allocated.

    Raises:
        SampleError: It is one.
    """
    if count > MAX_POINTS:
        raise SampleError("decode", f"point cloud of {count} points, the limit is {MAX_POINTS} points")
    if count < 1:
        raise SampleError("decode", "point cloud without a single point")


def check_finite(points: NDArray[np.floating]) -> None:
    """Refuse a cloud with a value that is not finite.

    Raises:
        SampleError: It has one.
    """
    if not np.isfinite(points).all():
        raise SampleError("decode", "point cloud with values that are not finite")
