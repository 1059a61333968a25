"""Layer and RMS normalisation: rows of numbers that lie side by side, each with its own statistics.

A row is summed twice, first to find its center and then around it, and normalised while it is in
the cache. No normalised copy is kept: backward works it out from the input, which the layer before
has most likely kept as well, and two numbers per row.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE, declined
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job, inner
from xpcnn.kernels.cpu.order import inverse, is_dense
from xpcnn.kernels.cpu.vector import (
    RUN,
    WIDTH,
    add,
    fma,
    keep_last,
    load,
    load_splat,
    multiply,
    splat,
    store,
    store_wide,
    sum_of,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints

BLOCK = 64
"""Columns that a job sums."""

PIECES = 16
"""Pieces that the rows are cut into for sums of columns, at most."""


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
    dgamma = dbeta = dx = None
    if saved.has_gamma or saved.has_beta:
        sums = _sums_of_columns(saved, d, rows, length)
        columns = saved.order[len(saved.order) - saved.ndim :]
        back = inverse(tuple(columns))
        shape = [dy.shape[axis] for axis in columns]
        found = [np.ascontiguousarray(s.reshape(shape).transpose(back)) for s in sums]
        dbeta = found[0] if saved.has_beta else None
        dgamma = found[1] if saved.has_gamma else None
    if need_dx:
        out, per = buffers.empty(saved.x.shape), rows_per_job(length)
        jobs = -(-rows // per)
        threads.launch(
            4 * d.size, _row_gradient, jobs, saved.x.reshape(-1), d.reshape(-1), rows, length, per,
            int(saved.centers), saved.center, saved.inv_std, saved.gamma, np.empty(2 * jobs),
            out.reshape(-1),
        )  # fmt: skip
        dx = out.transpose(inverse(saved.order))
    return dx, dgamma, dbeta


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


def _sums_of_columns(
    saved: State, d: np.ndarray, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of dy and of dy * x_hat over all rows."""
    per = max(RUN, -(-rows // PIECES))
    pieces, blocks = -(-rows // per), -(-length // BLOCK)
    partial = buffers.empty((pieces, 2, length), np.float64)
    threads.launch(
        2 * d.size, _column_sums, pieces * blocks, saved.x.reshape(-1), d.reshape(-1), rows, length,
        per, blocks, saved.center, saved.inv_std, partial.reshape(-1),
    )  # fmt: skip
    total = partial.sum(axis=0).astype(np.float32)
    return total[0], total[1]


@inner
def add_row(
    d: Any, at_d: int, shift: Any, x: Any, at_x: int, center: Any, weights: Any, weighted: int,
    count: int, sums: Any, to: int,
) -> None:  # fmt: skip
    """Write the sums of p and of p * (x + center), where p is d + shift, perhaps times weights.

    There are `count` of them, at least 8.
    """
    moved, middle = splat(shift), splat(center)
    plain, product = wide_zero(), wide_zero()
    even = count - count % (2 * WIDTH)
    for run in range(0, even, 2 * WIDTH * RUN):
        a0, a1, b0, b1 = zero(), zero(), zero(), zero()
        for k in range(run, min(even, run + 2 * WIDTH * RUN), 2 * WIDTH):
            p0, p1 = add(load(d, at_d + k), moved), add(load(d, at_d + k + WIDTH), moved)
            if weighted == 1:
                p0, p1 = multiply(p0, load(weights, k)), multiply(p1, load(weights, k + WIDTH))
            a0, a1 = add(a0, p0), add(a1, p1)
            b0 = fma(p0, add(load(x, at_x + k), middle), b0)
            b1 = fma(p1, add(load(x, at_x + k + WIDTH), middle), b1)
        plain, product = widen(widen(plain, a0), a1), widen(widen(product, b0), b1)
    for k in range(even, count, WIDTH):
        c = min(k, count - WIDTH)
        p = add(load(d, at_d + c), moved)
        if weighted == 1:
            p = multiply(p, load(weights, c))
        p = keep_last(p, count - k)
        plain = widen(plain, p)
        product = widen(product, multiply(p, add(load(x, at_x + c), middle)))
    sums[to] = sum_of(plain)
    sums[to + 1] = sum_of(product)


@inner
def moments_of_row(x: Any, at: int, count: int, sums: Any, to: int) -> None:
    """Write mean and variance of `count` numbers."""
    nothing = np.float32(0.0)
    add_row(x, at, nothing, x, at, nothing, x, 0, count, sums, to)
    center = np.float32(-sums[to] / count)
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
    to = 2 * job
    for r in range(job * per, min(rows, (job + 1) * per)):
        at = r * length
        if centers == 1:
            moments_of_row(x, at, length, sums, to)
        else:
            nothing = np.float32(0.0)
            add_row(x, at, nothing, x, at, nothing, x, 0, length, sums, to)
            sums[to] = 0.0
            sums[to + 1] /= length
        center[r] = -sums[to]
        inv_std[r] = 1.0 / math.sqrt(sums[to + 1] + eps)
        middle, scale = load_splat(center, r), load_splat(inv_std, r)
        for k in range(0, length, WIDTH):
            c = min(k, length - WIDTH)
            value = multiply(add(load(x, at + c), middle), scale)
            store(y, at + c, fma(value, load(gamma, c), load(beta, c)))


@Job
def _row_gradient(
    job: int, x: Floats, dy: Floats, rows: int, length: int, per: int, centers: int, center: Floats,
    inv_std: Floats, gamma: Floats, sums: Doubles, dx: Floats,
) -> None:  # fmt: skip
    """Compute ``inv_std * (g - mean(g) - x_hat * mean(g * x_hat))``, g being dy * gamma.

    Where the mean of x was not subtracted, that of g is not either.
    """
    to = 2 * job
    for r in range(job * per, min(rows, (job + 1) * per)):
        at = r * length
        add_row(dy, at, np.float32(0.0), x, at, center[r], gamma, 1, length, sums, to)
        inverse = inv_std[r]
        mean = sums[to] / length if centers == 1 else 0.0
        constant = splat(np.float32(-mean * inverse))
        slope = splat(np.float32(-sums[to + 1] / length * inverse * inverse * inverse))
        middle, scale = load_splat(center, r), load_splat(inv_std, r)
        for k in range(0, length, WIDTH):
            c = min(k, length - WIDTH)
            g = multiply(load(dy, at + c), load(gamma, c))
            rest = fma(add(load(x, at + c), middle), slope, constant)
            store(dx, at + c, fma(g, scale, rest))


@Job
def _column_sums(
    job: int, x: Floats, dy: Floats, rows: int, length: int, per: int, blocks: int, center: Floats,
    inv_std: Floats, partial: Doubles,
) -> None:  # fmt: skip
    """Write for every piece of the rows the sums of dy and of dy * x_hat, column by column."""
    piece = job // blocks
    first, last = piece * per, min(rows, (piece + 1) * per)
    left = (job - piece * blocks) * BLOCK
    for k in range(left, min(length, left + BLOCK), 2 * WIDTH):
        c0, c1 = min(k, length - WIDTH), min(k + WIDTH, length - WIDTH)
        sum0, sum1, with0, with1 = wide_zero(), wide_zero(), wide_zero(), wide_zero()
        for run in range(first, last, RUN):
            a0, a1, b0, b1 = zero(), zero(), zero(), zero()
            for r in range(run, min(last, run + RUN)):
                middle, scale = load_splat(center, r), load_splat(inv_std, r)
                d0, d1 = load(dy, r * length + c0), load(dy, r * length + c1)
                a0, a1 = add(a0, d0), add(a1, d1)
                x0 = multiply(add(load(x, r * length + c0), middle), scale)
                x1 = multiply(add(load(x, r * length + c1), middle), scale)
                b0, b1 = fma(d0, x0, b0), fma(d1, x1, b1)
            sum0, sum1 = widen(sum0, a0), widen(sum1, a1)
            with0, with1 = widen(with0, b0), widen(with1, b1)
        to = 2 * piece * length
        store_wide(partial, to + c0, sum0)
        store_wide(partial, to + c1, sum1)
        store_wide(partial, to + length + c0, with0)
        store_wide(partial, to + length + c1, with1)
