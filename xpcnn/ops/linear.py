"""The fully connected layer: y = x w^T + b."""

from __future__ import annotations

from math import prod
from types import ModuleType

from xpcnn._xp import Array, namespace
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_float
from xpcnn.ops.sums import product, total

LinearState = tuple[Array, Array, bool]


def check(who: str, x: Array, w: Array, b: Array | None) -> None:
    """Raise unless the last axis of the input is as long as the weights' rows."""
    namespace(x, w, b, who=who)
    check_float(x, who)
    if x.shape[-1] != w.shape[1]:
        flat = prod(x.shape[1:])
        hint = "; put a Flatten layer in front" if flat == w.shape[1] and x.ndim > 2 else ""
        raise ValueError(
            f"{who}: expected {w.shape[1]} input features (last axis), got {x.shape[-1]} in an "
            f"input of shape {tuple(x.shape)}{hint}"
        )


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


LINEAR = Op("linear", linear_forward, linear_backward, check=check)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return ``x @ weight.T + bias``: (..., I) to (..., O), with weight (O, I).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([0.5])).tolist()
    [[11.5]]
    """
    return LINEAR(x, weight, bias)[0]
