"""Kernels for JAX's arrays: XLA's convolution and pooling, and the gradients JAX makes of them.

Every function is compiled once for each list of shapes and settings, which JAX remembers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints, Window

Array = Any

_AXES = {1: "L", 2: "HW", 3: "DHW"}


def _convolve(x: Array, w: Array, window: Window, groups: int) -> Array:
    axes = _AXES[window.ndim]
    return lax.conv_general_dilated(
        x, w, window.stride, window.padding, rhs_dilation=window.dilation,
        dimension_numbers=("NC" + axes, "OI" + axes, "NC" + axes), feature_group_count=groups,
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip


@partial(jax.jit, static_argnums=(3, 4))
def _conv(x: Array, w: Array, b: Array | None, window: Window, groups: int) -> Array:
    y = _convolve(x, w, window, groups)
    return y if b is None else y + jnp.reshape(b, (1, -1, *(1,) * window.ndim))


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _conv_gradients(
    dy: Array, x: Array, w: Array, window: Window, groups: int, has_bias: bool, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    # The convolution is linear in x and in w, so that its gradients are transpositions.
    dx = None
    if need_dx:
        (dx,) = jax.linear_transpose(partial(_convolve, w=w, window=window, groups=groups), x)(dy)
    by_w = jax.linear_transpose(lambda w: _convolve(x, w, window, groups), w)
    (dw,) = by_w(dy)
    db = jnp.sum(dy, axis=(0, *range(2, dy.ndim)), dtype=dy.dtype) if has_bias else None
    return dx, dw, db


def conv_forward(
    xp: Any, x: Array, w: Array, b: Array | None, window: Window, groups: int
) -> tuple[Array, Any]:
    """Convolve; see :func:`xpcnn.ops.conv.conv_forward`."""
    return _conv(x, w, b, window, groups), (x, w, b is not None)


def _backward(
    gradients: Any, xp: Any, dy: Array, saved: Any, window: Window, groups: int, need_dx: bool
) -> Any:
    """Return the gradients (dx, dw, db)."""
    x, w, has_bias = saved
    return gradients(dy, x, w, window, groups, has_bias, need_dx)


conv_backward = partial(_backward, _conv_gradients)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _conv_transpose(
    x: Array, w: Array, b: Array | None, window: Window, out: Ints, groups: int
) -> Array:
    image = jax.ShapeDtypeStruct((x.shape[0], w.shape[1] * groups, *out), x.dtype)
    convolve = partial(_convolve, w=w, window=window, groups=groups)
    (y,) = jax.linear_transpose(convolve, image)(x)
    return y if b is None else y + jnp.reshape(b, (1, -1, *(1,) * window.ndim))


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _conv_transpose_gradients(
    dy: Array, x: Array, w: Array, window: Window, groups: int, has_bias: bool, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    dx = _convolve(dy, w, window, groups) if need_dx else None
    _, dw, _ = _conv_gradients(x, dy, w, window, groups, False, False)
    db = jnp.sum(dy, axis=(0, *range(2, dy.ndim)), dtype=dy.dtype) if has_bias else None
    return dx, dw, db


def conv_transpose_forward(
    xp: Any, x: Array, w: Array, b: Array | None, window: Window, out: Ints, groups: int
) -> Any:
    """Run a convolution backwards; see :func:`xpcnn.ops.conv_transpose.forward`."""
    if window.output_shape(out) != tuple(x.shape[2:]):
        return Declined("output_padding that leaves room for another window")
    return _conv_transpose(x, w, b, window, out, groups), (x, w, b is not None)


conv_transpose_backward = partial(_backward, _conv_transpose_gradients)


def _reduce(x: Array, window: Window, start: float, function: Any) -> Array:
    """Reduce what lies under each window."""
    return lax.reduce_window(
        x, np.asarray(start, x.dtype), function, (1, 1, *window.kernel), (1, 1, *window.stride),
        ((0, 0), (0, 0), *window.padding), window_dilation=(1, 1, *window.dilation),
    )  # fmt: skip


@partial(jax.jit, static_argnums=1)
def _sums(x: Array, window: Window) -> Array:
    return _reduce(x, window, 0.0, lax.add)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _sums_gradient(dy: Array, window: Window, shape: tuple[int, ...], dtype: str) -> Array:
    x = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))
    (dx,) = jax.linear_transpose(lambda x: _reduce(x, window, 0.0, lax.add), x)(dy)
    return dx


def avg_pool_forward(xp: Any, x: Array, window: Window, divisor: np.ndarray | float) -> Any:
    """Add what lies under each window and divide by `divisor`, one for all or per position."""
    scale = jnp.asarray(np.asarray(1.0 / divisor), dtype=x.dtype)
    return _sums(x, window) * scale, (scale, tuple(x.shape))


def avg_pool_backward(xp: Any, dy: Array, saved: Any, window: Window) -> Array:
    """Give each element under a window its share of the gradient."""
    scale, shape = saved
    return _sums_gradient(dy * scale, window, shape, str(dy.dtype))


PAIRS: dict[str, OpPair] = {
    "conv": OpPair(conv_forward, conv_backward),
    "conv_transpose": OpPair(conv_transpose_forward, conv_transpose_backward),
    "avg_pool": OpPair(avg_pool_forward, avg_pool_backward),
}
