"""Softmax, its logarithm and softmin, along any axis.

Where the axis is the last one in memory, each row of it is worked on alone; elsewhere sixteen
neighbours are, with a number of each in a vector. What has neither eight neighbours nor rows of
eight is copied first.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import COSTLY
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import (
    exp_and_expm1_of_negative,
    exp_of_negative,
    largest_of_both,
    load_up_to,
    log1p,
    store_up_to,
)
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import (
    RUN,
    SIXTEEN,
    WIDTH,
    add,
    divide,
    fma,
    load_sixteen,
    lower_eight,
    multiply,
    narrow_both,
    negative,
    room,
    splat_sixteen,
    store_sixteen,
    subtract,
    sum_of,
    upper_eight,
    where_equal,
    where_less,
    wide_zero,
    widen,
    widen_both,
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
    return before * -(-behind // (SIXTEEN * max(1, PIECE // length // SIXTEEN)))


@Job
def _rows(
    job: int, x: Floats, rows: int, length: int, one: int, sign: float, logs: int, y: Floats
) -> None:  # fmt: skip
    per_job = max(1, PIECE // length)
    first, last = job * per_job, min(rows, (job + 1) * per_job)
    signs, nothing = splat_sixteen(sign), splat_sixteen(0.0)
    lowest, numbers = np.float32(-np.inf) * sign, room()
    for block in range(first, last, SIXTEEN):
        count = min(SIXTEEN, last - block)
        for i in range(count):
            start = (block + i) * length
            end = start + length
            highest = splat_sixteen(-np.inf)
            for k in range(start, end, SIXTEEN):
                value = multiply(signs, load_up_to(x, k, end, lowest))
                highest = where_less(highest, value, value, highest)
            # NaN may be missing here, but spoils the sum below.
            numbers[i] = largest_of_both(highest)
            highest = splat_sixteen(numbers[i])
            total, ties = wide_zero(), nothing
            for run in range(start, end, SIXTEEN * RUN):
                part = nothing
                for k in range(run, min(end, run + SIXTEEN * RUN), SIXTEEN):
                    below = subtract(multiply(signs, load_up_to(x, k, end, lowest)), highest)
                    e = exp_of_negative(below)
                    if logs == 1:
                        ties = add(ties, where_equal(below, nothing, splat_sixteen(1.0), nothing))
                        e = where_equal(below, nothing, nothing, e)
                    else:
                        store_up_to(y, k, end, e)
                    part = add(part, e)
                total = widen_both(total, part)
            if logs == 1:
                # One of the highest is left to log1p, beside which the others may be small.
                others = sum_of(widen_both(wide_zero(), ties)) - 1.0 + sum_of(total)
                numbers[SIXTEEN + i] = others
            else:
                share = splat_sixteen(1.0 / sum_of(total))
                for k in range(start, end, SIXTEEN):
                    store_up_to(y, k, end, multiply(load_up_to(y, k, end, sign), share))
        if logs == 1:
            # The logarithms of sixteen rows at once.
            store_sixteen(numbers, SIXTEEN, log1p(load_sixteen(numbers, SIXTEEN)))
            for i in range(count):
                start = (block + i) * length
                end = start + length
                highest, shift = splat_sixteen(numbers[i]), splat_sixteen(numbers[SIXTEEN + i])
                for k in range(start, end, SIXTEEN):
                    below = subtract(multiply(signs, load_up_to(x, k, end, lowest)), highest)
                    store_up_to(y, k, end, subtract(below, shift))


@Job
def _columns(
    job: int, x: Floats, before: int, length: int, behind: int, sign: float, logs: int, y: Floats
) -> None:  # fmt: skip
    """Work on 16 neighbours at a time, whose numbers lie `behind` apart."""
    width = SIXTEEN * max(1, PIECE // length // SIXTEEN)
    blocks = (behind + width - 1) // width
    start = job // blocks * length * behind
    left = job % blocks * width
    right = min(behind, left + width)
    signs, nothing = splat_sixteen(sign), splat_sixteen(0.0)
    for k in range(left, right, SIXTEEN):
        first, count = start + k, right - k
        highest = splat_sixteen(-np.inf)
        for i in range(length):
            at = first + i * behind
            value = multiply(signs, load_up_to(x, at, at + count, sign))
            highest = where_less(highest, value, value, highest)
        low, high, ties = wide_zero(), wide_zero(), nothing
        for run in range(0, length, RUN):
            part = nothing
            for i in range(run, min(length, run + RUN)):
                at = first + i * behind
                below = subtract(multiply(signs, load_up_to(x, at, at + count, sign)), highest)
                e = exp_of_negative(below)
                if logs == 1:
                    ties = add(ties, where_equal(below, nothing, splat_sixteen(1.0), nothing))
                    e = where_equal(below, nothing, nothing, e)
                else:
                    store_up_to(y, at, at + count, e)
                part = add(part, e)
            low, high = widen(low, lower_eight(part)), widen(high, upper_eight(part))
        if logs == 1:
            others = subtract(ties, splat_sixteen(1.0))
            low, high = widen(low, lower_eight(others)), widen(high, upper_eight(others))
            shift = log1p(narrow_both(low, high))
            for i in range(length):
                at = first + i * behind
                below = subtract(multiply(signs, load_up_to(x, at, at + count, sign)), highest)
                store_up_to(y, at, at + count, subtract(below, shift))
        else:
            share = divide(splat_sixteen(1.0), narrow_both(low, high))
            for i in range(length):
                at = first + i * behind
                value = multiply(load_up_to(y, at, at + count, sign), share)
                store_up_to(y, at, at + count, value)


@inner
def _of_sum(dy: Any, y: Any, logs: int) -> Any:
    """Return the terms of the sum that the gradient needs."""
    return dy if logs == 1 else multiply(dy, y)


@inner
def _gradient(dy: Any, y: Any, total: Any, logs: int) -> Any:
    if logs == 1:
        # dy - p * total, with 1 - p as -expm1(log p): a sure class would lose it in a difference.
        p, less_one = exp_and_expm1_of_negative(y)
        return negative(fma(dy, less_one, multiply(p, subtract(total, dy))))
    return multiply(y, subtract(dy, total))


@Job
def _rows_back(
    job: int, dy: Floats, y: Floats, rows: int, length: int, one: int, sign: float, logs: int,
    dx: Floats,
) -> None:  # fmt: skip
    per_job = max(1, PIECE // length)
    nothing = np.float32(0.0)
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start = r * length
        end = start + length
        sums = wide_zero()
        for k in range(start, end, SIXTEEN):
            d, value = load_up_to(dy, k, end, nothing), load_up_to(y, k, end, nothing)
            sums = widen_both(sums, _of_sum(d, value, logs))
        total = splat_sixteen(sum_of(sums))
        for k in range(start, end, SIXTEEN):
            d, value = load_up_to(dy, k, end, nothing), load_up_to(y, k, end, nothing)
            gradient = multiply(splat_sixteen(sign), _gradient(d, value, total, logs))
            store_up_to(dx, k, end, gradient)


@Job
def _columns_back(
    job: int, dy: Floats, y: Floats, before: int, length: int, behind: int, sign: float, logs: int,
    dx: Floats,
) -> None:  # fmt: skip
    width = SIXTEEN * max(1, PIECE // length // SIXTEEN)
    blocks = (behind + width - 1) // width
    start = job // blocks * length * behind
    left = job % blocks * width
    right = min(behind, left + width)
    nothing = np.float32(0.0)
    for k in range(left, right, SIXTEEN):
        first, count = start + k, right - k
        low, high = wide_zero(), wide_zero()
        for i in range(length):
            at = first + i * behind
            d = load_up_to(dy, at, at + count, nothing)
            terms = _of_sum(d, load_up_to(y, at, at + count, nothing), logs)
            low, high = widen(low, lower_eight(terms)), widen(high, upper_eight(terms))
        total = narrow_both(low, high)
        for i in range(length):
            at = first + i * behind
            d = load_up_to(dy, at, at + count, nothing)
            value = _gradient(d, load_up_to(y, at, at + count, nothing), total, logs)
            store_up_to(dx, at, at + count, multiply(splat_sixteen(sign), value))
