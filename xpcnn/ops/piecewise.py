"""Activation functions that are put together from straight pieces, and their derivatives.

Each pair is ``forward(xp, x, ...) -> (y, saved)`` and ``backward(xp, dy, saved) -> dx``. At a kink
the derivative is the one that PyTorch takes. NaN goes through, as in ``activation.py``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_floats
from xpcnn.ops.norm import per_channel
from xpcnn.ops.sums import total

# PyTorch's derivative of the hard sigmoid is 1/6 rounded to float32, in float64 too.
_SIXTH = 0.1666666716337204


def prelu_forward(xp: ModuleType, x: Array, w: Array) -> tuple[Array, Any]:
    """Multiply what is negative in x (N, C, ...) by w (C,), or by w (1,) in all channels."""
    slope = _slope(xp, w, x)
    return xp.where(x > 0, x, x * slope), (x, w)


def prelu_backward(
    xp: ModuleType, dy: Array, saved: Any, need_dx: bool
) -> tuple[Array | None, Array]:
    """Return the gradients (dx, dw)."""
    x, w = saved
    by_slope = _xp.zero_where(x > 0, dy * x)
    axes = None if w.shape[0] == 1 else (0, *range(2, x.ndim))
    dw = xp.reshape(total(xp, by_slope, axes), w.shape)
    dx = xp.where(x > 0, dy, dy * _slope(xp, w, x)) if need_dx else None
    return dx, dw


def _slope(xp: ModuleType, w: Array, x: Array) -> Array:
    return xp.reshape(w, ()) if w.shape[0] == 1 else per_channel(w, x)


def hardtanh_forward(xp: ModuleType, x: Array, min_val: float, max_val: float) -> tuple[Array, Any]:
    y = _xp.clip(x, min_val, max_val)
    return y, (y, min_val, max_val)


def hardtanh_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    # The output lies between the limits where the input does; the next layer has it too.
    y, min_val, max_val = saved
    return _outside(xp, xp.logical_and(y > min_val, y < max_val), dy)


def hardsigmoid_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    return _xp.clip(x + 3.0, 0.0, 6.0) / 6.0, x


def hardsigmoid_backward(xp: ModuleType, dy: Array, x: Array) -> Array:
    return _outside(xp, xp.logical_and(x > -3.0, x < 3.0), dy * _SIXTH)


def hardswish_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    return x * (_xp.clip(x + 3.0, 0.0, 6.0) / 6.0), x


def hardswish_backward(xp: ModuleType, dy: Array, x: Array) -> Array:
    slope = xp.where(x >= 3.0, 1.0, x / 3.0 + 0.5)
    return _xp.zero_where(x <= -3.0, dy * slope)


def softshrink_forward(xp: ModuleType, x: Array, lambd: float) -> tuple[Array, Any]:
    return x - _xp.clip(x, -lambd, lambd), (x, lambd)


def hardshrink_forward(xp: ModuleType, x: Array, lambd: float) -> tuple[Array, Any]:
    return _xp.zero_where(xp.abs(x) <= lambd, x), (x, lambd)


def shrink_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x, lambd = saved
    return _outside(xp, xp.abs(x) > lambd, dy)


def threshold_forward(
    xp: ModuleType, x: Array, threshold: float, value: float
) -> tuple[Array, Any]:
    return xp.where(x <= threshold, value, x), (x, threshold)


def threshold_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x, threshold = saved
    return _xp.zero_where(x <= threshold, dy)


def _outside(xp: ModuleType, inside: Array, dy: Array) -> Array:
    """Return dy with zeros outside of a range; NaN, of which no comparison holds, is outside."""
    return _xp.zero_where(xp.logical_not(inside), dy)


PRELU = Op("prelu", prelu_forward, prelu_backward, check=check_floats)
HARDTANH = Op("hardtanh", hardtanh_forward, hardtanh_backward, check=check_floats)
HARDSIGMOID = Op("hardsigmoid", hardsigmoid_forward, hardsigmoid_backward, check=check_floats)
HARDSWISH = Op("hardswish", hardswish_forward, hardswish_backward, check=check_floats)
SOFTSHRINK = Op("softshrink", softshrink_forward, shrink_backward, check=check_floats)
HARDSHRINK = Op("hardshrink", hardshrink_forward, shrink_backward, check=check_floats)
THRESHOLD = Op("threshold", threshold_forward, threshold_backward, check=check_floats)
