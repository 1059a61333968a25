"""The gated linear unit: one half of an axis times the sigmoid of the other, in one pass."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import COSTLY
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import load_up_to, sigmoid, store_up_to
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import SIXTEEN, WIDTH, multiply, splat_sixteen, subtract
from xpcnn.kernels.trace import Declined


class State(NamedTuple):
    """What backward needs: the input, its axes as they lie in memory, and the axis."""

    x: np.ndarray
    order: tuple[int, ...]
    axis: int


def glu_forward(xp: Any, x: Any, axis: int) -> Any:
    """Return the first half along an axis times the sigmoid of the second."""
    if x.dtype != np.float32:
        return Declined(f"{x.dtype} arrays")
    order, axis = memory_order(x), axis % x.ndim
    place = order.index(axis)
    dense = in_order(x, order)
    shape = (*dense.shape[:place], dense.shape[place] // 2, *dense.shape[place + 1 :])
    rows, half = prod(shape[:place]), prod(shape[place:])
    if rows == 0 or half < WIDTH:
        return Declined(f"halves of {half} numbers")
    flat = buffers.empty(shape)
    threads.launch(
        COSTLY * flat.size, _glu, _jobs(rows, half), dense.reshape(-1), rows, half,
        flat.reshape(-1),
    )  # fmt: skip
    return flat.transpose(inverse(order)), State(x, order, axis)


def glu_backward(xp: Any, dy: Any, saved: State) -> np.ndarray:
    """Return the gradient, in the memory order of the input."""
    x, order, axis = saved
    place = order.index(axis)
    given, dense = in_order(dy, order), in_order(x, order)
    flat = buffers.empty(dense.shape)
    rows, half = prod(given.shape[:place]), prod(given.shape[place:])
    threads.launch(
        COSTLY * dy.size, _glu_back, _jobs(rows, half), given.reshape(-1), dense.reshape(-1),
        rows, half, flat.reshape(-1),
    )  # fmt: skip
    dx = flat.transpose(inverse(order))
    return dx.astype(dy.dtype, copy=False)


def _jobs(rows: int, half: int) -> int:
    """Return into how many pieces rows are cut, along both axes."""
    return -(-rows // max(1, PIECE // half)) * -(-half // PIECE)


@Job
def _glu(job: int, x: Floats, rows: int, half: int, y: Floats) -> None:
    """Work on rows of a first and a second half."""
    per_job, columns = max(1, PIECE // half), (half + PIECE - 1) // PIECE
    first, left = job // columns * per_job, job % columns * PIECE
    right, nothing = min(half, left + PIECE), np.float32(0.0)
    for r in range(first, min(rows, first + per_job)):
        start, end, to = 2 * r * half, 2 * r * half + right, r * half
        for k in range(left, right, SIXTEEN):
            share = sigmoid(load_up_to(x, start + half + k, end + half, nothing))
            value = load_up_to(x, start + k, end, nothing)
            store_up_to(y, to + k, to + right, multiply(value, share))


@Job
def _glu_back(job: int, dy: Floats, x: Floats, rows: int, half: int, dx: Floats) -> None:
    per_job, columns = max(1, PIECE // half), (half + PIECE - 1) // PIECE
    first, left = job // columns * per_job, job % columns * PIECE
    right, nothing = min(half, left + PIECE), np.float32(0.0)
    for r in range(first, min(rows, first + per_job)):
        start, end, to = 2 * r * half, 2 * r * half + right, r * half
        for k in range(left, right, SIXTEEN):
            share = sigmoid(load_up_to(x, start + half + k, end + half, nothing))
            passed = multiply(load_up_to(dy, to + k, to + right, nothing), share)
            store_up_to(dx, start + k, end, passed)
            rest = multiply(passed, subtract(splat_sixteen(1.0), share))
            value = multiply(load_up_to(x, start + k, end, nothing), rest)
            store_up_to(dx, start + half + k, end + half, value)
