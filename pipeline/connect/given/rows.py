"""Tables of numbers from another program as a tensor."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError


def rows_of(given: Any) -> Tensor:
    """`given` as a dense tensor of real numbers, without a copy where that is possible.

    Args:
        given: A tensor, an array of any byte order or strides, a frame of pandas, nested lists, a list of tensors.

    Raises:
        UserError: It holds no real numbers, or is not a table.
    """
    if isinstance(given, list | tuple) and given and all(isinstance(row, Tensor) for row in given):
        try:
            return torch.stack([rows_of(row) for row in given])
        except RuntimeError as error:
            raise _refused(given, str(error)) from error
    if not isinstance(given, Tensor):
        array = _array(given)
        with warnings.catch_warnings(action="ignore"):  # of arrays that may not be written to, such as those of pandas
            return torch.as_tensor(array)
    if given.is_complex() or given.is_meta:
        raise _refused(given, "its values are complex" if given.is_complex() else "it is without values")
    return given.detach().to_dense()


def _array(given: Any) -> Any:
    """`given` as an array that a tensor may share."""
    try:
        array = np.asarray(given)
        if array.dtype == object and array.ndim:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise _refused(given, str(error)) from error
    if isinstance(given, np.ma.MaskedArray) and given.mask.any():
        raise _refused(given, "some values are masked")
    if array.dtype.kind not in "fiu":
        raise _refused(given, f"its values are {array.dtype}")
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative or any(step < 0 for step in array.strides):
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return array


def _refused(given: Any, why: str) -> UserError:
    return UserError(
        f"A {type(given).__name__} cannot be read as rows of real numbers: {why.rstrip('.')}.",
        "Pass a tensor or an array [N, D] of floats.",
    )
