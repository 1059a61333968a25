"""LeakyReLU: one pass over memory, in whatever order the memory is."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE, declined, filled, takes
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import (
    WIDE,
    load_full,
    multiply,
    splat_full,
    store_full,
    where_equal,
    where_open,
)


@Job
def _leak(job: int, a: Floats, x: Floats, size: int, slope: float, y: Floats) -> None:
    """Write a where x is positive, and slope * a elsewhere, where x is NaN too."""
    last = min(size, (job + 1) * PIECE)
    for k in range(job * PIECE, last, WIDE):
        c = min(k, last - WIDE)
        value, gate = load_full(a, c), load_full(x, c)
        small = multiply(value, splat_full(slope))
        store_full(y, c, where_equal(gate, gate, where_open(gate, value, small), small))


def leaky_relu_forward(xp: Any, x: Any, negative_slope: float) -> Any:
    """Return x where positive, and `negative_slope` times x elsewhere."""
    if not takes(x):
        return declined(x)
    return _run(x, x, negative_slope), (x, negative_slope)


def leaky_relu_backward(xp: Any, dy: Any, saved: Any) -> np.ndarray:
    """Return the gradient, times the slope where x was not positive."""
    x, negative_slope = saved
    if not takes(dy, x):
        return np.where(x > 0, dy, dy * negative_slope)
    return _run(dy, x, negative_slope)


def _run(a: np.ndarray, x: np.ndarray, slope: float) -> np.ndarray:
    """Run the kernel on the memory of both, in the order of a's."""
    order = memory_order(a)
    dense = in_order(a, order)
    values = filled(dense)
    gates = values if x is a else filled(in_order(x, order))
    out = buffers.empty(values.size)
    threads.launch(
        a.size, _leak, -(-values.size // PIECE), values, gates, values.size, float(slope), out
    )
    return out[: a.size].reshape(dense.shape).transpose(inverse(order))
