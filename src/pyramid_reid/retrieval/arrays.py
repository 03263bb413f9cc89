"""Conversion of callers' numbers and labels to the arrays that this package uses.

Lists, integers, half precision, columns of data frames, and torch tensors on any device are
converted. Anything else is refused with a one-line error.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**53
"""Beyond it two whole numbers may be the same float."""
UNIT = 1e-2
"""How far a length may be from 1, as half precision leaves it: what is longer was not scaled."""


def as_array(values: Any, name: str) -> Annotated[NDArray[Any], "..."]:
    """Anything as an array.

    Raises:
        ValueError: it is none.
    """
    try:
        if hasattr(values, "detach"):  # a tensor of torch, which is not imported here
            values = values.detach().cpu()
            if str(values.dtype) == "torch.bfloat16":
                values = values.float()
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be made an array: {error}") from error


def real_array(
    values: object, name: str, ndim: int | None = None
) -> Annotated[NDArray[Any], "..."]:
    """Numbers in whatever type they have.

    Args:
        name: of the argument, for the error.
        ndim: how many dimensions it must have; None: any.

    Raises:
        ValueError: they are no array of real numbers, or have another number of dimensions.
    """
    array = as_array(values, name)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, not {_said(array)}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), not the shape {array.shape}")
    return array


def numbers(
    values: object, name: str, ndim: int | None = None
) -> Annotated[NDArray[np.floating], "..."]:
    """Numbers as float32 or float64: the same array where it is of one of these types already.

    Integers become float64, float16 float32. NaN and infinity are left to the caller.

    Raises:
        ValueError: as `real_array`; or integers are too large to be told apart as float64.
    """
    array = real_array(values, name, ndim)
    if (
        array.dtype.kind in "iu"
        and array.size
        and max(-int(array.min()), int(array.max())) > LARGEST
    ):
        raise ValueError(f"{name} has integers beyond 2**53, which are not exact as float64")
    kept = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    converted: NDArray[np.floating] = np.asarray(array, np.float32 if kept else np.float64)
    return converted


def unit_features(values: object, name: str) -> Annotated[NDArray[np.float32], "N D"]:
    """Features of length 1 as float32.

    Raises:
        ValueError: as `numbers`; or a row has another length, or NaN.
    """
    array = numbers(values, name, 2)
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array))
    bad = np.flatnonzero(~(abs(lengths - 1) <= UNIT))
    if bad.size:
        raise ValueError(
            f"{name} must have rows of length 1; row {bad[0]} has {lengths[bad[0]]:.3g}: normalize"
            " them first"
        )
    return np.asarray(array, np.float32)


def labels(values: object, name: str) -> Annotated[NDArray[Any], "N"]:
    """Person or camera numbers as int64, or names as text.

    Raises:
        ValueError: they are neither whole numbers nor text, or have more than one dimension.
    """
    array = as_array(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension, not the shape {array.shape}")
    if array.dtype.kind == "O" and all(isinstance(label, str) for label in array):
        array = array.astype(str)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold whole numbers or text, not {_said(array)}")
    with np.errstate(invalid="ignore"):
        whole: NDArray[np.int64] = array.astype(np.int64)
    # compared as they were given: NaN, fractions and what overflows differ
    wrong = np.flatnonzero((whole != array) | ((whole < 0) & (array > 0)))
    if wrong.size:
        raise ValueError(
            f"{name} must hold whole numbers within 64 bits; entry {wrong[0]} is {array[wrong[0]]}"
        )
    return whole


def _said(array: NDArray[Any]) -> str:
    """What an array holds, for an error."""
    if array.dtype.kind == "O" and array.size:
        return f"objects such as {array.flat[0]!r:.40}"
    return f"{array.dtype}"
