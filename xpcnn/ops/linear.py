"""The fully connected layer: y = x w^T + b."""

from __future__ import annotations

from types import ModuleType

from xpcnn._xp import Array
from xpcnn.kernels.op import Op
from xpcnn.ops.sums import product, total

LinearState = tuple[Array, Array, bool]


def linear_forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None
) -> tuple[Array, LinearState]:
    """Multiply the last axis of x (..., I) by w (O, I) and add b (O,)."""
    rows = xp.reshape(x, (-1, x.shape[-1]))
    y = rows @ xp.permute_dims(w, (1, 0))
    if b is not None:
        y = y + b
    return xp.reshape(y, (*x.shape[:-1], w.shape[0])), (rows, w, b is not None)


def linear_backward(
    xp: ModuleType, dy: Array, saved: LinearState, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db)."""
    rows, w, has_bias = saved
    shape = (*dy.shape[:-1], w.shape[1])
    dy = xp.reshape(dy, (-1, w.shape[0]))
    dw = product(xp, xp.permute_dims(dy, (1, 0)), xp.permute_dims(rows, (1, 0)))
    db = total(xp, dy, 0) if has_bias else None
    dx = xp.reshape(dy @ w, shape) if need_dx else None
    return dx, dw, db


LINEAR = Op("linear", linear_forward, linear_backward)
