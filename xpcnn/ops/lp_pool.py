"""Pooling by a power mean: y = (sum of x ** p under a window) ** (1 / p).

With p at infinity, y is the largest absolute value, and at minus infinity the smallest.
"""

from __future__ import annotations

from math import isinf, isnan
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.pool import (
    avg_pool_backward,
    avg_pool_divisor,
    avg_pool_forward,
    check,
    max_pool_backward,
    max_pool_forward,
    window_of,
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


LP_POOL = Op("lp_pool", forward, backward, check=check)


def as_norm_type(value: Any, who: str) -> float:
    """Return the power of a power mean, or say why it cannot be one.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> F.as_norm_type(2, "example")
    2.0
    """
    power = float(value)
    if power == 0.0 or isnan(power):
        raise ValueError(f"{who}: norm_type must be a number other than zero, got {value!r}")
    return power


def lp_pool(
    x: Array,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """Power-mean pooling of any spatial rank; the arguments are those of :class:`xpcnn.LPPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.lp_pool(np.array([[[3.0, 4.0, 6.0, 8.0]]]), 2, 2)
    array([[[ 5., 10.]]])
    """
    who = "lp_pool"
    power = as_norm_type(norm_type, who)
    window, asked = window_of(x, kernel_size, stride, padding, dilation, ceil_mode, who)
    divisor = avg_pool_divisor(window, tuple(x.shape[2:]), asked, True, None)
    return LP_POOL(x, window, divisor / window.taps, power, who=who)[0]
