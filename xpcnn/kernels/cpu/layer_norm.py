"""Layer and RMS normalisation: rows of numbers that lie side by side, each with its own statistics.

A row is summed twice, first to find its center and then around it, and normalised while it is in
the cache. Its gradient is worked out in the pass that sums those of gamma and beta. No normalised
copy is kept: backward works it out from the input, which the layer before has most likely kept as
well, and two numbers per row.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE, declined
from xpcnn.kernels.cpu.functions import load_up_to, store_up_to
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job, inner
from xpcnn.kernels.cpu.order import inverse, is_dense
from xpcnn.kernels.cpu.vector import (
    RUN,
    SIXTEEN,
    WIDTH,
    add,
    fma,
    load,
    load_sixteen,
    load_wide,
    multiply,
    splat_sixteen,
    store_sixteen,
    store_wide,
    sum_of,
    wide_zero,
    widen,
    widen_both,
)
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints

PIECES = 16
"""Pieces that the rows are cut into for sums of columns, at most."""

LEAST = 4
"""Rows of such a piece at least: the sums of each take memory."""


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    x : float32 array
        The input, its axes in the order in which they lie in memory.
    order : tuple of int
        Which axis of the input each of these is.
    center, inv_std : float32 arrays with one number per row
        ``x_hat = (x + center) * inv_std``: the center is the negated mean, or zero.
    gamma : float32 array with one number per column
    has_gamma, has_beta : bool
    ndim : int
        How many of the last axes make a row.
    centers : bool
        Whether the mean is subtracted.
    """

    x: np.ndarray
    order: Ints
    center: np.ndarray
    inv_std: np.ndarray
    gamma: np.ndarray
    has_gamma: bool
    has_beta: bool
    ndim: int
    centers: bool


def layer_norm_forward(xp: Any, x: Any, gamma: Any, beta: Any, ndim: int, eps: float) -> Any:
    """Normalise over the last `ndim` axes, then scale and shift each of their elements."""
    return _forward(x, gamma, beta, ndim, eps, centers=True)


def layer_norm_backward(xp: Any, dy: Any, saved: State, need_dx: bool) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dgamma, dbeta)."""
    length = saved.gamma.size
    rows = saved.x.size // length
    d = _dense(dy, saved.order)
    dgamma = dbeta = None
    sums_columns = saved.has_gamma or saved.has_beta
    per = max(LEAST, -(-rows // PIECES)) if sums_columns else rows_per_job(length)
    pieces, lanes = -(-rows // per), -(-length // SIXTEEN) * SIXTEEN
    counted = lanes if sums_columns else 0
    partial = buffers.empty((pieces, 2, counted), np.float64)
    runs = buffers.empty((pieces, 2, counted))
    out = buffers.empty(saved.x.shape if need_dx else 0)
    threads.launch(
        6 * d.size, _row_gradient, pieces, saved.x.reshape(-1), d.reshape(-1), rows, length, per,
        int(saved.centers), saved.center, saved.inv_std, saved.gamma, int(need_dx), counted,
        np.empty(2 * pieces), runs.reshape(-1), partial.reshape(-1), out.reshape(-1),
    )  # fmt: skip
    if sums_columns:
        sums = partial[:, :, :length].sum(axis=0).astype(np.float32)
        columns = saved.order[len(saved.order) - saved.ndim :]
        back = inverse(columns)
        shape = [dy.shape[axis] for axis in columns]
        found = [np.ascontiguousarray(s.reshape(shape).transpose(back)) for s in sums]
        dbeta = found[0] if saved.has_beta else None
        dgamma = found[1] if saved.has_gamma else None
    return out.transpose(inverse(saved.order)) if need_dx else None, dgamma, dbeta


def rms_norm_forward(xp: Any, x: Any, gamma: Any, ndim: int, eps: float) -> Any:
    """Divide by the root of the mean square over the last `ndim` axes, then scale by gamma."""
    return _forward(x, gamma, None, ndim, eps, centers=False)


def rms_norm_backward(xp: Any, dy: Any, saved: State, need_dx: bool) -> tuple[Any, Any]:
    """Return the gradients (dx, dgamma)."""
    return layer_norm_backward(xp, dy, saved, need_dx)[:2]


def _forward(x: Any, gamma: Any, beta: Any, ndim: int, eps: float, *, centers: bool) -> Any:
    values = [a for a in (x, gamma, beta) if a is not None]
    if x.size == 0 or any(a.dtype != np.float32 for a in values):
        return declined(*values)
    first = x.ndim - ndim
    length = prod(x.shape[first:])
    if length < WIDTH:
        return Declined(f"rows of {length} numbers, fewer than {WIDTH}")
    order = _memory_order(x, first)
    dense = _dense(x, order)
    columns = [axis - first for axis in order[first:]]
    weight = np.ones(length, np.float32) if gamma is None else _flat(gamma, columns)
    shift = np.zeros(length, np.float32) if beta is None else _flat(beta, columns)
    rows, per = x.size // length, rows_per_job(length)
    jobs = -(-rows // per)
    center, inv_std, y = buffers.empty(rows), buffers.empty(rows), buffers.empty(dense.shape)
    threads.launch(
        4 * x.size, _normalise_rows, jobs, dense.reshape(-1), rows, length, per, int(centers),
        float(eps), weight, shift, np.empty(2 * jobs), center, inv_std, y.reshape(-1),
    )  # fmt: skip
    has = gamma is not None, beta is not None
    state = State(dense, order, center, inv_std, weight, *has, ndim, centers)
    return y.transpose(inverse(order)), state


def _memory_order(x: np.ndarray, first: int) -> Ints:
    """Return the axes in the order of memory, those from `first` on behind the others."""
    axes = range(x.ndim)
    lead, last = (
        sorted(some, key=lambda axis: -x.strides[axis]) for some in (axes[:first], axes[first:])
    )
    return (*lead, *last)


def _dense(x: np.ndarray, order: Ints) -> np.ndarray:
    """Return x with its axes in that order, in one piece; copies if it must."""
    turned = x.transpose(order)
    return turned if is_dense(turned) else np.require(turned, None, ["C", "A"])


def _flat(values: np.ndarray, order: list[int]) -> np.ndarray:
    return _dense(values, tuple(order)).reshape(-1)


def rows_per_job(length: int) -> int:
    """Return how many rows a job takes, so that they stay in the first-level cache."""
    return max(1, PIECE // length)


@inner
def sum_of_row(x: Any, at: int, count: int) -> float:
    """Return the sum of `count` numbers."""
    total, end = wide_zero(), at + count
    for run in range(at, end, 2 * SIXTEEN * RUN):
        a0, a1 = splat_sixteen(0.0), splat_sixteen(0.0)
        for k in range(run, min(end, run + 2 * SIXTEEN * RUN), 2 * SIXTEEN):
            a0 = add(a0, load_up_to(x, k, end, 0.0))
            a1 = add(a1, load_up_to(x, k + SIXTEEN, end, 0.0))
        total = widen_both(widen_both(total, a0), a1)
    return sum_of(total)


@inner
def add_row(
    d: Any, at_d: int, shift: Any, x: Any, at_x: int, center: Any, weights: Any, weighted: int,
    count: int, sums: Any, to: int,
) -> None:  # fmt: skip
    """Write the sums of p and of p * (x + center), where p is d + shift, perhaps times weights.

    There are `count` of them.
    """
    moved, middle = splat_sixteen(shift), splat_sixteen(center)
    plain, product = wide_zero(), wide_zero()
    for run in range(0, count, 2 * SIXTEEN * RUN):
        a0, a1, b0, b1 = (
            splat_sixteen(0.0), splat_sixteen(0.0), splat_sixteen(0.0), splat_sixteen(0.0)
        )  # fmt: skip
        for k in range(run, min(count, run + 2 * SIXTEEN * RUN), 2 * SIXTEEN):
            # What is put behind the row makes p zero.
            p0 = add(load_up_to(d, at_d + k, at_d + count, -shift), moved)
            p1 = add(load_up_to(d, at_d + k + SIXTEEN, at_d + count, -shift), moved)
            if weighted == 1:
                p0 = multiply(p0, load_up_to(weights, k, count, 0.0))
                p1 = multiply(p1, load_up_to(weights, k + SIXTEEN, count, 0.0))
            a0, a1 = add(a0, p0), add(a1, p1)
            x0 = load_up_to(x, at_x + k, at_x + count, -center)
            x1 = load_up_to(x, at_x + k + SIXTEEN, at_x + count, -center)
            b0, b1 = fma(p0, add(x0, middle), b0), fma(p1, add(x1, middle), b1)
        plain, product = (
            widen_both(widen_both(plain, a0), a1),
            widen_both(widen_both(product, b0), b1),
        )
    sums[to] = sum_of(plain)
    sums[to + 1] = sum_of(product)


@inner
def moments_of_row(x: Any, at: int, count: int, sums: Any, to: int) -> None:
    """Write mean and variance of `count` numbers."""
    center = np.float32(-sum_of_row(x, at, count) / count)
    add_row(x, at, center, x, at, center, x, 0, count, sums, to)
    rest = sums[to] / count
    variance = sums[to + 1] / count - rest * rest
    # Around an infinite center nothing is left that could be summed.
    sums[to] = (rest if rest == rest else 0.0) - center
    sums[to + 1] = variance if not variance < 0 else 0.0


@Job
def _normalise_rows(
    job: int, x: Floats, rows: int, length: int, per: int, centers: int, eps: float, gamma: Floats,
    beta: Floats, sums: Doubles, center: Floats, inv_std: Floats, y: Floats,
) -> None:  # fmt: skip
    to, nothing = 2 * job, np.float32(0.0)
    for r in range(job * per, min(rows, (job + 1) * per)):
        at = r * length
        if centers == 1:
            moments_of_row(x, at, length, sums, to)
        else:
            add_row(x, at, nothing, x, at, nothing, x, 0, length, sums, to)
            sums[to] = 0.0
            sums[to + 1] /= length
        center[r] = -sums[to]
        inv_std[r] = 1.0 / math.sqrt(sums[to + 1] + eps)
        middle, scale = splat_sixteen(center[r]), splat_sixteen(inv_std[r])
        for k in range(0, length, SIXTEEN):
            value = multiply(add(load_up_to(x, at + k, at + length, nothing), middle), scale)
            factor, shift = (
                load_up_to(gamma, k, length, nothing),
                load_up_to(beta, k, length, nothing),
            )
            store_up_to(y, at + k, at + length, fma(value, factor, shift))


@Job
def _row_gradient(
    job: int, x: Floats, dy: Floats, rows: int, length: int, per: int, centers: int, center: Floats,
    inv_std: Floats, gamma: Floats, writes: int, lanes: int, sums: Doubles, runs: Floats,
    partial: Doubles, dx: Floats,
) -> None:  # fmt: skip
    """Compute ``inv_std * (g - mean(g) - x_hat * mean(g * x_hat))``, g being dy * gamma.

    Where the mean of x was not subtracted, that of g is not either. Unless there are no `lanes`,
    the sums of dy and of dy * x_hat over the rows are written too, column by column.
    """
    to, columns, nothing = 2 * job, 2 * job * lanes, np.float32(0.0)
    first, last = job * per, min(rows, (job + 1) * per)
    for run in range(first, last, RUN):
        for k in range(columns, columns + 2 * lanes, SIXTEEN):
            store_sixteen(runs, k, splat_sixteen(0.0))
        for r in range(run, min(last, run + RUN)):
            at, end = r * length, (r + 1) * length
            middle, scale = splat_sixteen(center[r]), splat_sixteen(inv_std[r])
            constant = slope = splat_sixteen(0.0)
            if writes == 1:
                add_row(dy, at, nothing, x, at, center[r], gamma, 1, length, sums, to)
                inverse_std = inv_std[r]
                mean = sums[to] / length if centers == 1 else 0.0
                tilt = -sums[to + 1] / length * inverse_std * inverse_std * inverse_std
                constant = splat_sixteen(np.float32(-mean * inverse_std))
                slope = splat_sixteen(np.float32(tilt))
            for k in range(0, length, SIXTEEN):
                d = load_up_to(dy, at + k, end, nothing)
                around = add(load_up_to(x, at + k, end, nothing), middle)
                if writes == 1:
                    g = multiply(d, load_up_to(gamma, k, length, nothing))
                    value = fma(g, scale, fma(around, slope, constant))
                    store_up_to(dx, at + k, end, value)
                if lanes > 0:
                    plain, product = columns + k, columns + lanes + k
                    with_x = fma(d, multiply(around, scale), load_sixteen(runs, product))
                    store_sixteen(runs, plain, add(load_sixteen(runs, plain), d))
                    store_sixteen(runs, product, with_x)
        for k in range(columns, columns + 2 * lanes, WIDTH):
            total = wide_zero() if run == first else load_wide(partial, k)
            store_wide(partial, k, widen(total, load(runs, k)))
