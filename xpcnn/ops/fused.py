"""Operations that stand for several, one by one; sets of kernels may have them in one go."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op, OpPair
from xpcnn.ops.activation import RELU
from xpcnn.ops.conv import CONV
from xpcnn.ops.linear import LINEAR
from xpcnn.ops.norm import BATCH_NORM
from xpcnn.window import Window

Gradients = tuple[Array | None, ...]


def conv_relu_forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None, window: Window, groups: int
) -> tuple[Array, Any]:
    """Compute ``relu(conv(x, w) + b)``."""
    y, conv = CONV.run(xp, x, w, b, window, groups)
    y, relu = RELU.run(xp, y)
    return y, (conv, relu)


def conv_relu_backward(
    xp: ModuleType, dy: Array, saved: Any, window: Window, groups: int, need_dx: bool
) -> Gradients:
    """Return the gradients (dx, dw, db)."""
    return behind_relu_backward(xp, dy, saved, need_dx)


def linear_relu_forward(xp: ModuleType, x: Array, w: Array, b: Array | None) -> tuple[Array, Any]:
    """Compute ``relu(x w^T + b)``."""
    y, linear = LINEAR.run(xp, x, w, b)
    y, relu = RELU.run(xp, y)
    return y, (linear, relu)


def behind_relu_backward(xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Gradients:
    """Return the gradients of an operation with ReLU behind it."""
    inner, relu = saved
    found: Gradients = inner(relu(dy), need_dx)
    return found


def batch_norm_relu_forward(
    xp: ModuleType, x: Array, gamma: Array | None, beta: Array | None, eps: float, statistics: Any
) -> Any:
    """Normalise, and replace negative results by zero; returns mean and variance too."""
    (y, mean, variance), norm = BATCH_NORM.run(xp, x, gamma, beta, eps, statistics)
    y, relu = RELU.run(xp, y)
    return (y, mean, variance), (norm, relu)


def batch_norm_add_relu_forward(
    xp: ModuleType,
    x: Array,
    other: Array,
    gamma: Array | None,
    beta: Array | None,
    eps: float,
    statistics: Any,
) -> Any:
    """Normalise x, add another array, and replace negative sums by zero."""
    (y, mean, variance), norm = BATCH_NORM.run(xp, x, gamma, beta, eps, statistics)
    y, add = ADD_RELU.run(xp, y, other)
    return (y, mean, variance), (norm, add)


def batch_norm_add_relu_backward(xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Gradients:
    """Return the gradients (dx, dgamma, dbeta, dother)."""
    norm, add = saved
    through, past = add(dy)
    return (*norm(through, need_dx), past)


def add_forward(xp: ModuleType, a: Array, b: Array) -> tuple[Array, None]:
    """Add two arrays of one shape."""
    return a + b, None


def add_backward(xp: ModuleType, dy: Array, saved: None) -> tuple[Array, Array]:
    """Return the gradients of both."""
    return dy, dy


def add_relu_forward(xp: ModuleType, a: Array, b: Array) -> Any:
    """Add two arrays of one shape, and replace negative sums by zero."""
    return RELU.run(xp, a + b)


def add_relu_backward(xp: ModuleType, dy: Array, saved: Any) -> tuple[Array, Array]:
    """Return the gradients of both."""
    dx = saved(dy)
    return dx, dx


CONV_RELU = Op("conv_relu", parts=OpPair(conv_relu_forward, conv_relu_backward))
LINEAR_RELU = Op("linear_relu", parts=OpPair(linear_relu_forward, behind_relu_backward))
BATCH_NORM_RELU = Op("batch_norm_relu", parts=OpPair(batch_norm_relu_forward, behind_relu_backward))
BATCH_NORM_ADD_RELU = Op(
    "batch_norm_add_relu",
    parts=OpPair(batch_norm_add_relu_forward, batch_norm_add_relu_backward),
)
ADD = Op("add", parts=OpPair(add_forward, add_backward))
ADD_RELU = Op("add_relu", parts=OpPair(add_relu_forward, add_relu_backward))
