"""A form that is linear in each of two inputs: y_o = x1^T w_o x2 + b_o."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.sums import product, total


def bilinear_forward(
    xp: ModuleType, x1: Array, x2: Array, w: Array, b: Array | None
) -> tuple[Array, Any]:
    """Combine the last axes of x1 (..., I) and x2 (..., J) by w (O, I, J), and add b (O,)."""
    out, i, j = w.shape
    rows1, rows2 = xp.reshape(x1, (-1, i)), xp.reshape(x2, (-1, j))
    # (I, O * J): one matrix product applies the first input to all outputs
    matrix = xp.reshape(xp.permute_dims(w, (1, 0, 2)), (i, out * j))
    half = xp.reshape(rows1 @ matrix, (-1, out, j))
    y = xp.sum(half * rows2[:, None, :], axis=2, dtype=x1.dtype)
    if b is not None:
        y = y + b
    shape = (*x1.shape[:-1], out)
    return xp.reshape(y, shape), (rows1, rows2, matrix, half, tuple(w.shape), b is not None)


def bilinear_backward(
    xp: ModuleType, dy: Array, saved: Any, need_dx: bool
) -> tuple[Array | None, Array | None, Array, Array | None]:
    """Return the gradients (dx1, dx2, dw, db)."""
    rows1, rows2, matrix, half, (out, i, j), has_bias = saved
    g = xp.reshape(dy, (-1, out))
    dhalf = xp.reshape(g[:, :, None] * rows2[:, None, :], (-1, out * j))
    dw = product(xp, xp.permute_dims(rows1, (1, 0)), xp.permute_dims(dhalf, (1, 0)))
    dw = xp.reshape(dw, (i, out, j))
    dw = xp.permute_dims(dw, (1, 0, 2))
    db = total(xp, g, 0) if has_bias else None
    dx1 = dx2 = None
    if need_dx:
        leading = dy.shape[:-1]
        dx1 = xp.reshape(dhalf @ xp.permute_dims(matrix, (1, 0)), (*leading, i))
        dx2 = xp.sum(g[:, :, None] * half, axis=1, dtype=dy.dtype)
        dx2 = xp.reshape(dx2, (*leading, j))
    return dx1, dx2, dw, db


BILINEAR = Op("bilinear", bilinear_forward, bilinear_backward)
