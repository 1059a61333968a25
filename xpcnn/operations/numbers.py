"""Whole numbers that steer an operation: lengths, axes, positions."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.backends import backend_of

Ints = tuple[int, ...]


def as_ints(values: Any) -> Ints | None:
    """Return given whole numbers as a tuple; ``None`` stays."""
    return None if values is None else tuple(int(value) for value in values)


def read(values: Array | None) -> Ints | None:
    """Copy the whole numbers in an input to the host; ``None`` if the input was left out."""
    return None if values is None else tuple(int(n) for n in _xp.to_numpy(values).reshape(-1))


def chosen(own: Ints | None, inputs: Sequence[Any], position: int) -> Ints | None:
    """Return an argument of the operation or, if it was left out, what an input holds."""
    if own is not None or position >= len(inputs):
        return own
    return read(inputs[position])


def needed(own: Ints | None, inputs: Sequence[Any], who: str, what: str) -> Ints:
    """Return an argument of the operation or what the second input holds; one must be there."""
    found = chosen(own, inputs, 1)
    if found is None:
        raise ValueError(f"{who}: needs {what}, as argument or as second input")
    return found


def normal_dims(dims: Sequence[int], ndim: int, who: str) -> Ints:
    """Count axes from the front, and refuse those that are not there or come twice."""
    if any(not -ndim <= dim < ndim for dim in dims):
        raise ValueError(
            f"{who}: the axes {tuple(dims)} are out of range for an array with {ndim} axes"
        )
    normal = tuple(dim % ndim for dim in dims)
    if len(set(normal)) < len(normal):
        raise ValueError(f"{who}: the axes {tuple(dims)} name one axis twice")
    return normal


def whole_numbers(xp: ModuleType, values: Any, like: Array) -> Array:
    """Make an array of whole numbers beside another array, of the library's widest usual type."""
    dtype = backend_of(xp).integer_dtype(xp)
    host = np.asarray(values, dtype=np.int64)
    return xp.asarray(
        host.tolist() if host.ndim else int(host), dtype=dtype, device=_xp.device_of(like)
    )
