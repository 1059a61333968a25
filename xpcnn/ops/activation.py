"""Activation functions and their derivatives.

Each pair is ``forward(xp, x, **options) -> (y, saved)`` and ``backward(xp, dy, saved) -> dx``.
Comparisons are written so that NaN goes through: ``where(x < 0, 0, x)``, and not
``where(x > 0, x, 0)``.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.kernels.half import in_float32
from xpcnn.ops.checks import check_floats
from xpcnn.ops.special import erf


def relu_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    y = xp.maximum(x, 0.0)
    return y, y


def relu_backward(xp: ModuleType, dy: Array, y: Array) -> Array:
    return _xp.zero_where(y <= 0, dy)


def leaky_relu_forward(xp: ModuleType, x: Array, negative_slope: float) -> tuple[Array, Any]:
    y = xp.where(x > 0, x, x * negative_slope)
    # With a positive slope the output is positive where the input is, and the next layer has it.
    return y, (y if negative_slope > 0 else x, negative_slope)


def leaky_relu_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x_or_y, negative_slope = saved
    return xp.where(x_or_y > 0, dy, dy * negative_slope)


def sigmoid(xp: ModuleType, x: Array) -> Array:
    """1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, 1.0) / (1.0 + e)


def sigmoid_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    y = sigmoid(xp, x)
    return y, y


def sigmoid_backward(xp: ModuleType, dy: Array, y: Array) -> Array:
    return dy * y * (1.0 - y)


def tanh_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    y = xp.tanh(x)
    return y, y


def tanh_backward(xp: ModuleType, dy: Array, y: Array) -> Array:
    return dy * (1.0 - y * y)


def softmax(xp: ModuleType, x: Array, axis: int) -> Array:
    """exp(x) / sum(exp(x)); subtracting the maximum changes nothing but avoids overflow."""
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True, dtype=e.dtype)


def log_softmax(xp: ModuleType, x: Array, axis: int) -> Array:
    """log(softmax(x)), exact to rounding near a probability of 0 and of 1."""
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    highest = shifted == 0.0
    # The highest add 1 each. One of them is left to log1p, beside which the others may be small.
    others = xp.sum(xp.astype(highest, x.dtype), axis=axis, keepdims=True, dtype=x.dtype) - 1.0
    rest = xp.where(highest, 0.0, xp.exp(shifted))
    return shifted - xp.log1p(others + xp.sum(rest, axis=axis, keepdims=True, dtype=x.dtype))


def softmax_forward(xp: ModuleType, x: Array, axis: int) -> tuple[Array, Any]:
    y = softmax(xp, x, axis)
    return y, (y, axis)


def softmax_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    y, axis = saved
    return y * (dy - xp.sum(dy * y, axis=axis, keepdims=True, dtype=dy.dtype))


def softmin_forward(xp: ModuleType, x: Array, axis: int) -> tuple[Array, Any]:
    return softmax_forward(xp, -x, axis)


def softmin_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    return -softmax_backward(xp, dy, saved)


def log_softmax_forward(xp: ModuleType, x: Array, axis: int) -> tuple[Array, Any]:
    y = log_softmax(xp, x, axis)
    return y, (y, axis)


def log_softmax_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    # dy - p * sum(dy), with 1 - p as -expm1(log p): a sure class would lose it in a difference.
    y, axis = saved
    others = xp.sum(dy, axis=axis, keepdims=True, dtype=dy.dtype) - dy
    return -dy * xp.expm1(y) - xp.exp(y) * others


def elu_forward(
    xp: ModuleType, x: Array, alpha: float, scale: float = 1.0, rate: float = 1.0
) -> tuple[Array, Any]:
    """Scale times x where positive, times ``alpha * (exp(rate * x) - 1)`` elsewhere."""
    curve = (scale * alpha) * xp.expm1(xp.minimum(x, 0.0) * rate)
    return xp.where(x > 0, x * scale, curve), (x, alpha, scale, rate)


def elu_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x, alpha, scale, rate = saved
    curve = (scale * alpha * rate) * xp.exp(xp.minimum(x, 0.0) * rate)
    return dy * xp.where(x > 0, scale, curve)


def celu_forward(xp: ModuleType, x: Array, alpha: float) -> tuple[Array, Any]:
    y, _ = elu_forward(xp, x, alpha, 1.0, 1.0 / alpha)
    # PyTorch rounds alpha to float32 for the derivative, in float64 too.
    rounded = float(np.float32(alpha)) or alpha
    return y, (x, alpha, 1.0, 1.0 / rounded)


def silu_forward(xp: ModuleType, x: Array) -> tuple[Array, Any]:
    s = sigmoid(xp, x)
    return x * s, (x, s)


def silu_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x, s = saved
    return dy * (s * (1.0 + x * (1.0 - s)))


def mish_forward(xp: ModuleType, x: Array) -> tuple[Array, Any]:
    # With e = exp(x), tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2). Where x is positive both
    # sides are divided by e^2, so that nothing overflows.
    e = xp.exp(-xp.abs(x))
    numerator = xp.where(x < 0, e * (e + 2.0), 1.0 + 2.0 * e)
    share = numerator / (numerator + xp.where(x < 0, 2.0, 2.0 * e * e))
    return x * share, (x, share)


def mish_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x, share = saved
    return dy * (share + x * sigmoid(xp, x) * (1.0 - share * share))


def log_sigmoid_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    return xp.minimum(x, 0.0) - xp.log1p(xp.exp(-xp.abs(x))), x


def log_sigmoid_backward(xp: ModuleType, dy: Array, x: Array) -> Array:
    return dy * sigmoid(xp, -x)


def softsign_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    size = 1.0 + xp.abs(x)
    return x / size, size


def softsign_backward(xp: ModuleType, dy: Array, size: Array) -> Array:
    return dy / size / size


def tanhshrink_forward(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    y = xp.tanh(x)
    return x - y, y


def tanhshrink_backward(xp: ModuleType, dy: Array, y: Array) -> Array:
    return dy * (y * y)


def softplus_forward(xp: ModuleType, x: Array, beta: float, threshold: float) -> tuple[Array, Any]:
    z = x * beta
    smooth = (xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
    return xp.where(z > threshold, x, smooth), (z, threshold)


def softplus_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    z, threshold = saved
    return xp.where(z > threshold, dy, dy * sigmoid(xp, z))


def glu_forward(xp: ModuleType, x: Array, axis: int) -> tuple[Array, Any]:
    """Multiply the first half along an axis by the sigmoid of the second."""
    before, half = (slice(None),) * (axis % x.ndim), x.shape[axis] // 2
    values, gate = x[(*before, slice(0, half), ...)], x[(*before, slice(half, None), ...)]
    share = sigmoid(xp, gate)
    return values * share, (values, share, axis)


def glu_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    values, share, axis = saved
    by_gate = dy * values * share * (1.0 - share)
    return xp.concat([dy * share, by_gate], axis=axis)


def gelu_forward(xp: ModuleType, x: Array, approximate: str) -> tuple[Array, Any]:
    if approximate == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)
        share = 0.5 * (1.0 + xp.tanh(inner))
    else:
        share = 0.5 * (1.0 + erf(xp, x * math.sqrt(0.5)))
    return x * share, (x, share, approximate)


def gelu_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    x, share, approximate = saved
    if approximate == "tanh":
        slope = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * x * x)
        density = 2.0 * share * (1.0 - share) * slope
    else:
        density = xp.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    return dy * (share + x * density)


RELU = Op("relu", relu_forward, relu_backward, check=check_floats)
LEAKY_RELU = Op("leaky_relu", leaky_relu_forward, leaky_relu_backward, check=check_floats)
SIGMOID = Op("sigmoid", sigmoid_forward, sigmoid_backward, check=check_floats)
TANH = Op("tanh", tanh_forward, tanh_backward, check=check_floats)
SOFTMAX = Op("softmax", *in_float32(softmax_forward, softmax_backward), check=check_floats)
LOG_SOFTMAX = Op(
    "log_softmax", *in_float32(log_softmax_forward, log_softmax_backward), check=check_floats
)
ELU = Op("elu", elu_forward, elu_backward, check=check_floats)
CELU = Op("celu", celu_forward, elu_backward, check=check_floats)
SILU = Op("silu", silu_forward, silu_backward, check=check_floats)
SOFTPLUS = Op("softplus", *in_float32(softplus_forward, softplus_backward), check=check_floats)
GELU = Op("gelu", *in_float32(gelu_forward, gelu_backward), check=check_floats)
MISH = Op("mish", mish_forward, mish_backward, check=check_floats)
LOG_SIGMOID = Op("log_sigmoid", log_sigmoid_forward, log_sigmoid_backward, check=check_floats)
SOFTSIGN = Op("softsign", softsign_forward, softsign_backward, check=check_floats)
TANHSHRINK = Op("tanhshrink", tanhshrink_forward, tanhshrink_backward, check=check_floats)
SOFTMIN = Op("softmin", softmin_forward, softmin_backward, check=check_floats)
GLU = Op("glu", glu_forward, glu_backward, check=check_floats)
