"""Pooling by a power mean: powers of single numbers around the kernels of average pooling."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, pool, threads
from xpcnn.kernels.cpu.activations import COSTLY, in_order, memory_order
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import power
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.vector import (
    SIXTEEN,
    load_first,
    multiply,
    splat_sixteen,
    store_first,
)
from xpcnn.kernels.trace import Declined
from xpcnn.window import Window

MOST = 8.0
"""The largest power that is accurate to 1e-6."""


class State(NamedTuple):
    """What backward needs: the input, the sums of powers, and what average pooling has saved."""

    x: np.ndarray
    total: np.ndarray
    of_pool: Any


def forward(xp: Any, x: Any, window: Window, divisor: Any, p: float) -> Any:
    """Raise to a power, add under each window, divide by `divisor`, and take the root."""
    if p in pool.POWERS:  # in one pass
        return pool.lp_pool_forward(xp, x, window, divisor, p)
    if not 1.0 <= p <= MOST:
        return Declined(f"norm_type {p}, not from 1 to {MOST:g}")
    if x.dtype != np.float32 or x.size == 0:
        return Declined(f"{x.dtype} arrays of shape {x.shape}")
    found = pool.avg_pool_forward(xp, power_of(x, p), window, divisor)
    if isinstance(found, Declined):
        return found
    total, of_pool = found
    return power_of(total, 1.0 / p), State(x, total, of_pool)


def backward(xp: Any, dy: Any, saved: Any, window: Window, p: float) -> np.ndarray:
    """Return dx; where the sum is zero and has no derivative, it is zero."""
    if p in pool.POWERS:
        return pool.lp_pool_backward(xp, dy, saved, window, p)
    x, total, of_pool = saved
    slope = np.where(total == 0.0, np.float32(0.0), power_of(total, 1.0 / p - 1.0, dy))
    return power_of(x, p - 1.0, pool.avg_pool_backward(xp, slope, of_pool, window))


def power_of(x: np.ndarray, p: float, factor: np.ndarray | None = None) -> np.ndarray:
    """Return ``factor * x**p`` in the memory order of x; the factor is 1 if there is none."""
    order = memory_order(x)
    dense = in_order(x, order)
    factors = dense if factor is None else in_order(factor, order)
    y = buffers.empty(dense.shape)
    times = int(p) if p == int(p) else 0  # whole powers are products
    threads.launch(
        COSTLY * x.size, _power, -(-x.size // PIECE), dense.reshape(-1), factors.reshape(-1),
        int(factor is not None), x.size, p, times, y.reshape(-1),
    )  # fmt: skip
    return y.transpose(np.argsort(order))


@Job
def _power(
    job: int, x: Floats, factors: Floats, has_factors: int, size: int, p: float, times: int,
    y: Floats,
) -> None:  # fmt: skip
    last = min(size, (job + 1) * PIECE)
    for k in range(job * PIECE, last, SIXTEEN):
        left = last - k
        given = load_first(x, k, left, 1.0)
        value = given
        for _ in range(times - 1):
            value = multiply(value, given)
        if times == 0:
            value = power(given, splat_sixteen(p))
        if has_factors == 1:
            value = multiply(value, load_first(factors, k, left, 1.0))
        store_first(y, k, value, left)
