"""Pooling by a power mean: y = (sum of x ** p under a window) ** (1 / p)."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from xpcnn._xp import Array
from xpcnn.kernels.generic.pool import AvgPoolState, avg_pool_backward, avg_pool_forward
from xpcnn.window import Window

State = tuple[Array, Array, AvgPoolState]


def forward(
    xp: ModuleType, x: Array, window: Window, divisor: np.ndarray | float, p: float
) -> tuple[Array, State]:
    """Raise to a power, add under each window, divide by `divisor`, and take the root."""
    total, state = avg_pool_forward(xp, x**p, window, divisor)
    return total ** (1.0 / p), (x, total, state)


def backward(xp: ModuleType, dy: Array, saved: State, window: Window, p: float) -> Array:
    """Return dx; where the sum is zero and has no derivative, it is zero."""
    x, total, state = saved
    is_zero = total == 0
    slope = xp.where(is_zero, 1.0, total) ** (1.0 / p - 1.0)
    slope = xp.where(is_zero, 0.0, dy * slope)
    return avg_pool_backward(xp, slope, state, window) * x ** (p - 1.0)
