"""Pooling by a power mean: y = (sum of x ** p under a window) ** (1 / p).

With p at infinity, y is the largest absolute value, and at minus infinity the smallest.
"""

from __future__ import annotations

from math import isinf
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.op import Op
from xpcnn.ops.pool import (
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from xpcnn.window import Window

State = tuple[Array, Any, Any]


def forward(
    xp: ModuleType, x: Array, window: Window, divisor: np.ndarray | float, p: float
) -> tuple[Array, State]:
    """Raise to a power, add under each window, divide by `divisor`, and take the root."""
    if isinf(p):
        side = 1.0 if p > 0.0 else -1.0
        largest, state = max_pool_forward(xp, side * xp.abs(x), window)
        return side * largest, (x, None, state)
    total, state = avg_pool_forward(xp, x**p, window, divisor)
    return total ** (1.0 / p), (x, total, state)


def backward(xp: ModuleType, dy: Array, saved: State, window: Window, p: float) -> Array:
    """Return dx; where the sum is zero and has no derivative, it is zero."""
    x, total, state = saved
    if total is None:
        return max_pool_backward(xp, dy, state, window) * _xp.sign(x)
    is_zero = total == 0
    slope = xp.where(is_zero, 1.0, total) ** (1.0 / p - 1.0)
    slope = xp.where(is_zero, 0.0, dy * slope)
    return avg_pool_backward(xp, slope, state, window) * x ** (p - 1.0)


LP_POOL = Op("lp_pool", forward, backward)
