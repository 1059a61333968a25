"""Numbers that the host works out, brought to the array that they are for."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array


def pick(xp: ModuleType, x: Array, axis: int, positions: np.ndarray) -> Array:
    """Return the elements of x at these positions of an axis."""
    index = xp.asarray(np.ascontiguousarray(positions), device=_xp.device_of(x))
    return xp.take(x, index, axis=axis)


def along(xp: ModuleType, x: Array, axis: int, numbers: np.ndarray, dtype: Any = None) -> Array:
    """Return numbers as an array that lies along one axis of x."""
    row = xp.asarray(np.ascontiguousarray(numbers), dtype=dtype, device=_xp.device_of(x))
    return xp.reshape(row, (1,) * axis + (-1,) + (1,) * (x.ndim - axis - 1))
