"""Softmax, its logarithm and softmin, along any axis.

Where the axis is the last one in memory, each row of it is worked on alone; elsewhere eight
neighbours are, with a number of each in a vector. What has neither so many neighbours nor so long
rows is copied first.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import COSTLY
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import exp, expm1, log1p
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import (
    WIDTH,
    divide,
    fma,
    keep_last,
    largest,
    load,
    multiply,
    narrow,
    negative,
    splat,
    store,
    subtract,
    sum_of,
    where_equal,
    where_less,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.trace import Declined


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    y : array
        The output.
    axis : int
    order : tuple of int
        The axes of y as they lie in memory.
    sign : float
        By what the input was multiplied.
    """

    y: np.ndarray
    axis: int
    order: tuple[int, ...]
    sign: float


def softmax_forward(xp: Any, x: Any, axis: int) -> Any:
    """Return exp(x), normalised to sum to one along an axis."""
    return _forward(x, axis, 1.0, 0)


def softmin_forward(xp: Any, x: Any, axis: int) -> Any:
    """Return exp(-x), normalised to sum to one along an axis."""
    return _forward(x, axis, -1.0, 0)


def log_softmax_forward(xp: Any, x: Any, axis: int) -> Any:
    """Return the logarithm of softmax."""
    return _forward(x, axis, 1.0, 1)


def softmax_backward(xp: Any, dy: Any, saved: State) -> np.ndarray:
    """Return the gradient of softmax or softmin."""
    return _backward(dy, saved, 0)


def log_softmax_backward(xp: Any, dy: Any, saved: State) -> np.ndarray:
    """Return the gradient of the logarithm of softmax."""
    return _backward(dy, saved, 1)


def _forward(x: Any, axis: int, sign: float, logs: int) -> Any:
    if x.dtype != np.float32:
        return Declined(f"{x.dtype} arrays")
    axis %= max(x.ndim, 1)
    order = order_along(x, axis) if x.size else None
    if order is None:
        return Declined(f"arrays of shape {x.shape} along axis {axis}")
    dense = in_order(x, order)
    flat = buffers.empty(dense.shape)
    before, length, behind = sizes_around(dense.shape, order.index(axis))
    kernel, jobs = (_rows, jobs_of_rows) if behind == 1 else (_columns, jobs_of_columns)
    threads.launch(
        COSTLY * x.size, kernel, jobs(before, length, behind), dense.reshape(-1), before, length,
        behind, sign, logs, flat.reshape(-1),
    )  # fmt: skip
    y = flat.transpose(inverse(order))
    return y, State(y, axis, order, sign)


def _backward(dy: Any, saved: State, logs: int) -> np.ndarray:
    y, axis, order, sign = saved
    given, dense = in_order(dy, order), in_order(y, order)
    flat = buffers.empty(dense.shape)
    before, length, behind = sizes_around(dense.shape, order.index(axis))
    kernel, jobs = (_rows_back, jobs_of_rows) if behind == 1 else (_columns_back, jobs_of_columns)
    threads.launch(
        COSTLY * dy.size, kernel, jobs(before, length, behind), given.reshape(-1),
        dense.reshape(-1), before, length, behind, sign, logs, flat.reshape(-1),
    )  # fmt: skip
    dx = flat.transpose(inverse(order))
    return dx.astype(dy.dtype, copy=False)


def order_along(x: np.ndarray, axis: int) -> tuple[int, ...] | None:
    """Return in what order of its axes x is worked on; that of memory if possible."""
    if x.ndim == 0:
        return None
    order = memory_order(x)
    length, others = x.shape[axis], tuple(a for a in order if a != axis)
    behind = prod(x.shape[a] for a in order[order.index(axis) + 1 :])
    if behind >= WIDTH or (behind == 1 and length >= WIDTH):
        return order
    if x.size // length >= WIDTH:
        return (axis, *others)
    return (*others, axis) if length >= WIDTH else None


def sizes_around(shape: tuple[int, ...], place: int) -> tuple[int, int, int]:
    """Return the numbers before, along and behind the axis at a place."""
    return prod(shape[:place]), shape[place], prod(shape[place + 1 :])


def jobs_of_rows(rows: int, length: int, one: int) -> int:
    """Return into how many jobs rows of numbers side by side are cut."""
    return -(-rows // max(1, PIECE // length))


def jobs_of_columns(before: int, length: int, behind: int) -> int:
    """Return into how many jobs neighbours are cut, whose numbers lie apart."""
    return before * max(1, behind // (WIDTH * max(1, PIECE // length // WIDTH)))


@Job
def _rows(
    job: int, x: Floats, rows: int, length: int, one: int, sign: float, logs: int, y: Floats
) -> None:  # fmt: skip
    """Work on rows of 8 numbers or more; the last vector of each overlaps with that before it."""
    per_job = max(1, PIECE // length)
    signs = splat(sign)
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start = r * length
        end = start + length
        highest = splat(-np.inf)
        for k in range(start, end, WIDTH):
            value = multiply(signs, load(x, min(k, end - WIDTH)))
            highest = where_less(highest, value, value, highest)
        # NaN may be missing here, but spoils the sum below.
        highest = splat(largest(highest))
        total, ties = wide_zero(), wide_zero()
        for k in range(start, end, WIDTH):
            c = min(k, end - WIDTH)
            below = subtract(multiply(signs, load(x, c)), highest)
            e = exp(below)
            if logs == 1:
                ties = widen(ties, keep_last(one_if_zero(below), end - k))
                e = where_equal(below, zero(), zero(), e)
            else:
                store(y, c, e)
            total = widen(total, keep_last(e, end - k))
        if logs == 1:
            # One of the highest is left to log1p, beside which the others may be small.
            shift = log1p(splat(sum_of(ties) - 1.0 + sum_of(total)))
            for k in range(start, end, WIDTH):
                c = min(k, end - WIDTH)
                below = subtract(multiply(signs, load(x, c)), highest)
                store(y, c, subtract(below, shift))
        else:
            whole = splat(sum_of(total))
            last = divide(load(y, end - WIDTH), whole)
            for k in range(start, end - WIDTH + 1, WIDTH):
                store(y, k, divide(load(y, k), whole))
            store(y, end - WIDTH, last)


@Job
def _columns(
    job: int, x: Floats, before: int, length: int, behind: int, sign: float, logs: int, y: Floats
) -> None:  # fmt: skip
    """Work on 8 neighbours or more at a time, whose numbers lie `behind` apart."""
    width = WIDTH * max(1, PIECE // length // WIDTH)
    blocks = max(1, behind // width)
    start = job // blocks * length * behind
    left = job % blocks * width
    # What the whole blocks leave belongs to the last: no two jobs may write to one place.
    right = behind if job % blocks == blocks - 1 else left + width
    signs = splat(sign)
    for k in range(left, right, WIDTH):
        first = start + min(k, right - WIDTH)
        highest = splat(-np.inf)
        for i in range(length):
            value = multiply(signs, load(x, first + i * behind))
            highest = where_less(highest, value, value, highest)
        total, ties = wide_zero(), wide_zero()
        for i in range(length):
            at = first + i * behind
            below = subtract(multiply(signs, load(x, at)), highest)
            e = exp(below)
            if logs == 1:
                ties = widen(ties, one_if_zero(below))
                e = where_equal(below, zero(), zero(), e)
            else:
                store(y, at, e)
            total = widen(total, e)
        if logs == 1:
            others = subtract(narrow(ties), splat(1.0))
            shift = log1p(narrow(widen(total, others)))
            for i in range(length):
                at = first + i * behind
                below = subtract(multiply(signs, load(x, at)), highest)
                store(y, at, subtract(below, shift))
        else:
            whole = narrow(total)
            for i in range(length):
                at = first + i * behind
                store(y, at, divide(load(y, at), whole))


@inner
def one_if_zero(value: Any) -> Any:
    """Return ones in the place of zeros, and zeros elsewhere."""
    return where_equal(value, zero(), splat(1.0), zero())


@inner
def _of_sum(dy: Any, y: Any, logs: int) -> Any:
    """Return the terms of the sum that the gradient needs."""
    return dy if logs == 1 else multiply(dy, y)


@inner
def _gradient(dy: Any, y: Any, total: Any, logs: int) -> Any:
    if logs == 1:
        # dy - p * total, with 1 - p as -expm1(log p): a sure class would lose it in a difference.
        others = subtract(total, dy)
        return negative(fma(dy, expm1(y), multiply(exp(y), others)))
    return multiply(y, subtract(dy, total))


@Job
def _rows_back(
    job: int, dy: Floats, y: Floats, rows: int, length: int, one: int, sign: float, logs: int,
    dx: Floats,
) -> None:  # fmt: skip
    per_job = max(1, PIECE // length)
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start = r * length
        end = start + length
        sums = wide_zero()
        for k in range(start, end, WIDTH):
            c = min(k, end - WIDTH)
            sums = widen(sums, keep_last(_of_sum(load(dy, c), load(y, c), logs), end - k))
        total = splat(sum_of(sums))
        for k in range(start, end, WIDTH):
            c = min(k, end - WIDTH)
            value = _gradient(load(dy, c), load(y, c), total, logs)
            store(dx, c, multiply(splat(sign), value))


@Job
def _columns_back(
    job: int, dy: Floats, y: Floats, before: int, length: int, behind: int, sign: float, logs: int,
    dx: Floats,
) -> None:  # fmt: skip
    width = WIDTH * max(1, PIECE // length // WIDTH)
    blocks = max(1, behind // width)
    start = job // blocks * length * behind
    left = job % blocks * width
    # What the whole blocks leave belongs to the last: no two jobs may write to one place.
    right = behind if job % blocks == blocks - 1 else left + width
    for k in range(left, right, WIDTH):
        first = start + min(k, right - WIDTH)
        sums = wide_zero()
        for i in range(length):
            at = first + i * behind
            sums = widen(sums, _of_sum(load(dy, at), load(y, at), logs))
        total = narrow(sums)
        for i in range(length):
            at = first + i * behind
            value = _gradient(load(dy, at), load(y, at), total, logs)
            store(dx, at, multiply(splat(sign), value))
