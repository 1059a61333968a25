"""Max and average pooling of one to three dimensions, in channels-first or channels-last memory."""

from __future__ import annotations

from functools import partial
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints, Window

MOST_TAPS = 256
"""Taps that fit into the byte in which the winner is kept."""


def max_pool_forward(xp: ModuleType, x: Array, window: Window) -> Any:
    """Take the largest element under each window; the first of equals wins, NaN spreads."""
    if refusal := _refusal(x, window):
        return refusal
    if window.taps > MOST_TAPS:
        return Declined(f"a window of {window.taps} taps, more than {MOST_TAPS}")
    x, last = source.dense(xp, x)
    spatial = tuple(x.shape[2:])
    shape = (*x.shape[:2], *window.output_shape(spatial))
    y, winner = source.empty(xp, shape, x, last), source.empty(xp, shape, x, last, xp.uint8)
    source.launch(
        "pool.cu", "max_pool_forward", x, source.blocks_for(y.size), x, y, winner,
        source.geometry(window, spatial), source.channels_inside(x, last), y.size,
    )  # fmt: skip
    return y, ((winner,), tuple(x.shape), last)


def avg_pool_forward(xp: ModuleType, x: Array, window: Window, divisor: np.ndarray | float) -> Any:
    """Add what lies under each window and divide by `divisor`, one for all or one per position."""
    if refusal := _refusal(x, window):
        return refusal
    x, last = source.dense(xp, x)
    spatial = tuple(x.shape[2:])
    numbers = tuple((1.0 / np.ravel(divisor)).tolist())
    shares = source.constants(xp, x, numbers, source.computed(_xp.dtype_name(x)))
    y = source.empty(xp, (*x.shape[:2], *window.output_shape(spatial)), x, last)
    source.launch(
        "pool.cu", "avg_pool_forward", x, source.blocks_for(y.size), x, y, shares,
        shares.size == 1, source.geometry(window, spatial), source.channels_inside(x, last),
        y.size,
    )  # fmt: skip
    return y, ((shares, shares.size == 1), tuple(x.shape), last)


def _backward(kernel: str, xp: ModuleType, dy: Array, saved: Any, window: Window) -> Array:
    """Send each gradient to the element that won, or to all under the window by their shares."""
    given, shape, last = saved
    dy = source.laid_out(xp, dy, last)
    dx = source.empty(xp, shape, dy, last)
    source.launch(
        "pool.cu", kernel, dy, source.blocks_for(dx.size), dy, *given, dx,
        source.geometry(window, shape[2:]), source.channels_inside(dx, last), dx.size,
    )  # fmt: skip
    return dx


max_pool_backward = partial(_backward, "max_pool_backward")
avg_pool_backward = partial(_backward, "avg_pool_backward")


def global_avg_pool_forward(xp: ModuleType, x: Array) -> Any:
    """Average over all positions: (N, C, *spatial) to (N, C)."""
    if refusal := source.refusal(x):
        return refusal
    x, last = source.dense(xp, x)
    shape = tuple(x.shape)
    positions = prod(shape[2:])
    y = source.empty(xp, shape[:2], x, False)
    if last:
        source.launch(
            "pool.cu", "mean_of_columns", x, source.blocks_for(y.size), x, y, positions, shape[1],
            y.size,
        )  # fmt: skip
    else:
        blocks = -(-y.size // (source.THREADS // source.LANES))
        source.launch("pool.cu", "mean_of_rows", x, blocks, x, y, y.size, positions)
    return y, shape


def global_avg_pool_backward(xp: ModuleType, dy: Array, shape: Ints) -> Array:
    """Spread each gradient evenly over the positions."""
    share = xp.reshape(dy / prod(shape[2:]), (*shape[:2], *(1,) * (len(shape) - 2)))
    return xp.broadcast_to(share, shape)


def _refusal(x: Array, window: Window) -> Declined | None:
    if window.ndim > 3:
        return Declined(f"{window.ndim} spatial dimensions")
    return source.refusal(x)
