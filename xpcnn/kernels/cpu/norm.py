"""Batch normalisation, alone or with what follows it: adding a shortcut, and ReLU.

An array is treated as rows of channels, cut into pieces that stay in the first-level cache. The
statistics take one pass over memory: each piece is summed roughly, which gives a center, and then
what lies around the center is summed, with its squares. The pieces are combined in float64, which
makes up for what a center lacked to the mean. No normalised copy of x is kept: backward works it
out.

The kernels are there for group normalisation too, where each sample has numbers of its own. They
take any number of parts, one behind another, each of so many positions and cut into so many pieces,
and read the coefficients of the part; for batch normalisation the batch is the only part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE, Rows, as_rows, declined, new_rows
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job, inner
from xpcnn.kernels.cpu.layout import fill_up
from xpcnn.kernels.cpu.vector import (
    RUN,
    WIDTH,
    add,
    fma,
    load,
    multiply,
    relu,
    splat,
    store,
    store_wide,
    where_open,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.trace import Declined

OPEN, RECOMPUTED, FROM_OUTPUT = range(3)
"""Which gradients pass: all; those of positive outputs, worked out anew; or read from y."""


FROM_MEMORY = 1 << 21
"""Numbers of an array that is hardly found in a cache: it is read in the order of memory first."""

SUMMED = 4 * PIECE
"""Numbers that are summed in one piece: its sums take up to three rows of float64."""


class Behind(NamedTuple):
    """The kernels of an activation behind the normalisation, which backward works out anew.

    Attributes
    ----------
    normalise, gradient_sums, input_gradient : Job
    settings : float32 array
        The numbers that the activation reads.
    """

    normalise: Job
    gradient_sums: Job
    input_gradient: Job
    settings: np.ndarray


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    x : Rows
    center, inv_std, scale, shift : float32 arrays with one number per lane
        ``y = (x + center) * scale + shift``: the center is the negated mean.
    y : array or None
        The output, where a shortcut was added and ReLU gates the gradient.
    gate : int
        One of :data:`OPEN` and its neighbours.
    own_statistics : bool
        Whether mean and variance were those of x.
    behind : Behind or None
        An activation other than ReLU.
    """

    x: Rows
    center: np.ndarray
    inv_std: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    y: np.ndarray | None
    gate: int
    own_statistics: bool
    behind: Behind | None = None


def batch_norm_forward(
    xp: Any, x: Any, gamma: Any, beta: Any, eps: float, statistics: Any, *, relu: bool = False
) -> Any:
    """Normalise the channels of x (N, C, ...), then perhaps ReLU; see the generic kernel."""
    return _forward(x, None, gamma, beta, eps, statistics, relu)


def batch_norm_behind_forward(
    behind: Behind, x: Any, gamma: Any, beta: Any, eps: float, statistics: Any
) -> Any:
    """Normalise x, and apply the activation that some kernels have in one go with it."""
    return _forward(x, None, gamma, beta, eps, statistics, False, behind)


def batch_norm_add_relu_forward(
    xp: Any, x: Any, gamma: Any, beta: Any, eps: float, statistics: Any, other: Any
) -> Any:
    """Normalise x, add `other` (of its shape), then ReLU."""
    if other.shape != x.shape:
        return Declined(f"adding shape {other.shape} to {x.shape}")
    return _forward(x, other, gamma, beta, eps, statistics, True)


def batch_norm_backward(xp: Any, dy: Any, saved: State, need_dx: bool) -> tuple[Any, Any, Any]:
    """Return (dx, dgamma, dbeta), after :func:`batch_norm_forward` or the one with ReLU."""
    return batch_norm_add_relu_backward(xp, dy, saved, need_dx)[:3]


def _forward(
    x: Any, other: Any, gamma: Any, beta: Any, eps: float, statistics: Any, closes: bool,
    behind: Behind | None = None,
) -> Any:  # fmt: skip
    values = [a for a in (x, other, gamma, beta, *(statistics or ())) if a is not None]
    if x.size == 0 or any(a.dtype != np.float32 for a in values):
        return declined(*values)
    channels, positions = x.shape[1], x.size // x.shape[1]
    rows = as_rows(x)
    if statistics is None:
        mean, variance = _statistics(rows, positions)
    else:
        mean, variance = (fill_up(a, rows.lanes) for a in statistics)
    inv_std = (1.0 / np.sqrt(variance + np.float32(eps))).astype(np.float32)
    scale = inv_std if gamma is None else inv_std * fill_up(gamma, rows.lanes)
    shift = fill_up(beta, rows.lanes)
    flat, y = new_rows(x.shape)
    added, per = rows if other is None else as_rows(other), per_piece(rows.lanes)
    pieces = -(-positions // per)
    if behind is not None:
        threads.launch(
            4 * x.size, behind.normalise, pieces, rows.flat, rows.pitch, -mean, scale,
            shift, rows.lanes, positions, per, behind.settings, flat,
        )  # fmt: skip
        state = State(rows, -mean, inv_std, scale, shift, None, OPEN, statistics is None, behind)
        return (y, mean[:channels], variance[:channels]), state
    threads.launch(
        2 * x.size, normalise, pieces, rows.flat, rows.pitch, added.flat, added.pitch, -mean,
        scale, shift, rows.lanes, positions, per, pieces, int(other is not None), int(closes),
        flat,
    )  # fmt: skip
    gate = OPEN if not closes else RECOMPUTED if other is None else FROM_OUTPUT
    kept = y if gate == FROM_OUTPUT else None
    state = State(rows, -mean, inv_std, scale, shift, kept, gate, statistics is None)
    return (y, mean[:channels], variance[:channels]), state


def per_piece(lanes: int) -> int:
    """Return the number of rows in a piece."""
    return max(8, PIECE // lanes)


def _per_sum(lanes: int) -> int:
    """Return the number of rows in a piece that is summed."""
    return max(RUN, SUMMED // lanes)


def _statistics(rows: Rows, positions: int) -> tuple[np.ndarray, np.ndarray]:
    lanes, per = rows.lanes, _per_sum(rows.lanes)
    pieces = -(-positions // per)
    partial = buffers.empty((pieces, 3, lanes), np.float64)
    threads.launch(
        4 * positions * lanes, moments, pieces, rows.flat, rows.pitch, lanes, positions, per,
        pieces, partial.reshape(-1),
    )  # fmt: skip
    mean, variance = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    total, squares = np.zeros(lanes), np.zeros(lanes)
    threads.launch(
        partial.size, _combine_moments, 1, partial.reshape(-1), lanes, positions, per, total,
        squares, mean, variance,
    )  # fmt: skip
    return mean, variance


def batch_norm_add_relu_backward(
    xp: Any, dy: Any, saved: State, need_dx: bool
) -> tuple[Any, Any, Any, Any]:
    """Return (dx, dgamma, dbeta, dother)."""
    x, d = saved.x, as_rows(dy)
    lanes, channels, positions = x.lanes, dy.shape[1], dy.size // dy.shape[1]
    per = _per_sum(lanes)
    pieces = -(-positions // per)
    gate, gated, dother = d, d.flat, None
    if saved.gate == FROM_OUTPUT:
        gate = as_rows(saved.y)  # type: ignore[arg-type]
        gated, dother = new_rows(dy.shape)
    partial, behind = buffers.empty((pieces, 2, lanes), np.float64), saved.behind
    if behind is not None:
        threads.launch(
            8 * dy.size, behind.gradient_sums, pieces, x.flat, x.pitch, d.flat, d.pitch,
            saved.center, saved.scale, saved.shift, lanes, positions, per, behind.settings,
            partial.reshape(-1),
        )  # fmt: skip
    else:
        threads.launch(
            4 * dy.size, gradient_sums, pieces, x.flat, x.pitch, d.flat, d.pitch, gate.flat,
            gate.pitch, saved.center, saved.scale, saved.shift, lanes, positions, per, pieces,
            saved.gate, gated, partial.reshape(-1),
        )  # fmt: skip
    total = partial.sum(axis=0)
    dbeta, dgamma = total[0], total[1] * saved.inv_std
    dx = None
    if need_dx:
        # dx = scale * (dy - mean(dy) - x_hat * mean(dy * x_hat)), multiplied out.
        count = positions if saved.own_statistics else np.inf
        constant = (-saved.scale * (dbeta / count)).astype(np.float32)
        slope = (-saved.scale * saved.inv_std * (dgamma / count)).astype(np.float32)
        if saved.gate == FROM_OUTPUT:
            d = Rows(gated, lanes, lanes)
        flat, dx = new_rows(dy.shape)
        per = per_piece(lanes)
        pieces = -(-positions // per)
        arguments = (
            x.flat, x.pitch, d.flat, d.pitch, saved.center, saved.scale, saved.shift, constant,
            slope, lanes, positions, per,
        )  # fmt: skip
        if behind is not None:
            threads.launch(
                8 * dy.size, behind.input_gradient, pieces, *arguments,
                int(saved.own_statistics), behind.settings, flat,
            )  # fmt: skip
        else:
            threads.launch(
                4 * dy.size, input_gradient, pieces, *arguments, pieces,
                int(saved.gate == RECOMPUTED), int(saved.own_statistics), flat,
            )  # fmt: skip
    gradients = (dgamma[:channels].astype(np.float32), dbeta[:channels].astype(np.float32))
    return dx, *gradients, dother


@inner
def read_through(x: Any, pitch: int, first: int, last: int, lanes: int, total: Any) -> Any:
    """Add up a vector of each cache line of some rows, for nothing but that they come to the cache.

    What is read from its beginning to its end comes from memory twice as fast as what is read
    channel by channel, row after row.
    """
    for p in range(first, last):
        for k in range(0, lanes, 2 * WIDTH):
            total = add(total, load(x, p * pitch + min(k, lanes - WIDTH)))
    return total


@inner
def _store_four(
    out: Any, to: int, c0: int, c1: int, c2: int, c3: int, a: Any, b: Any, c: Any, d: Any
) -> None:
    store_wide(out, to + c0, a)
    store_wide(out, to + c1, b)
    store_wide(out, to + c2, c)
    store_wide(out, to + c3, d)


@Job
def moments(
    job: int, x: Floats, pitch: int, lanes: int, positions: int, per: int, pieces: int,
    partial: Doubles,
) -> None:  # fmt: skip
    """Write for every piece its center, and the sums of what is around it and of the squares."""
    part = job // pieces
    first = part * positions + (job - part * pieces) * per
    count = min(per, (part + 1) * positions - first)
    share = splat(np.float32(-1.0 / count))
    for k in range(0, lanes, 4 * WIDTH):
        c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
        c2, c3 = min(k + 2 * WIDTH, lanes - WIDTH), min(k + 3 * WIDTH, lanes - WIDTH)
        s0, s1, s2, s3 = zero(), zero(), zero(), zero()
        for p in range(first, first + count):
            s0, s1 = add(s0, load(x, p * pitch + c0)), add(s1, load(x, p * pitch + c1))
            s2, s3 = add(s2, load(x, p * pitch + c2)), add(s3, load(x, p * pitch + c3))
        # The center is negated, so that adding it centers.
        s0, s1, s2, s3 = (
            multiply(s0, share), multiply(s1, share), multiply(s2, share), multiply(s3, share),
        )  # fmt: skip
        to = 3 * job * lanes
        none = wide_zero()
        _store_four(
            partial, to, c0, c1, c2, c3, widen(none, s0), widen(none, s1), widen(none, s2),
            widen(none, s3),
        )  # fmt: skip
        sum0, sum1, sum2, sum3 = wide_zero(), wide_zero(), wide_zero(), wide_zero()
        square0, square1, square2, square3 = wide_zero(), wide_zero(), wide_zero(), wide_zero()
        for run in range(first, first + count, RUN):
            r0, r1, r2, r3 = zero(), zero(), zero(), zero()
            q0, q1, q2, q3 = zero(), zero(), zero(), zero()
            for p in range(run, min(first + count, run + RUN)):
                v0, v1 = add(load(x, p * pitch + c0), s0), add(load(x, p * pitch + c1), s1)
                v2, v3 = add(load(x, p * pitch + c2), s2), add(load(x, p * pitch + c3), s3)
                r0, r1, r2, r3 = add(r0, v0), add(r1, v1), add(r2, v2), add(r3, v3)
                q0, q1, q2, q3 = fma(v0, v0, q0), fma(v1, v1, q1), fma(v2, v2, q2), fma(v3, v3, q3)
            sum0, sum1, sum2, sum3 = (
                widen(sum0, r0), widen(sum1, r1), widen(sum2, r2), widen(sum3, r3),
            )  # fmt: skip
            square0, square1, square2, square3 = (
                widen(square0, q0), widen(square1, q1), widen(square2, q2), widen(square3, q3),
            )  # fmt: skip
        to += lanes
        _store_four(partial, to, c0, c1, c2, c3, sum0, sum1, sum2, sum3)
        to += lanes
        _store_four(partial, to, c0, c1, c2, c3, square0, square1, square2, square3)


@Job
def _combine_moments(
    job: int, partial: Doubles, lanes: int, positions: int, per: int, total: Doubles,
    squares: Doubles, mean: Floats, variance: Floats,
) -> None:  # fmt: skip
    """Combine the pieces: squares around their own means, and those of the means.

    `total` and `squares` are zeros to work in. There is one job.
    """
    pieces = (positions + per - 1) // per
    for piece in range(pieces):
        count = min(per, positions - piece * per)
        at = 3 * piece * lanes
        for c in range(lanes):
            rest = partial[at + lanes + c]
            # Around an infinite center nothing is left that could be summed.
            total[c] += (rest if rest == rest else 0.0) - count * partial[at + c]
    for c in range(lanes):
        total[c] /= positions
    for piece in range(pieces):
        count = min(per, positions - piece * per)
        at = 3 * piece * lanes
        for c in range(lanes):
            rest = partial[at + lanes + c] / count
            away = rest - partial[at + c] - total[c]
            own = partial[at + 2 * lanes + c] - count * (rest * rest)
            squares[c] += (own if not own < 0 else 0.0) + count * (away * away)
    for c in range(lanes):
        mean[c] = total[c]
        variance[c] = squares[c] / positions


@Job
def normalise(
    job: int, x: Floats, pitch: int, other: Floats, other_pitch: int, center: Floats, scale: Floats,
    shift: Floats, lanes: int, positions: int, per: int, pieces: int, adds: int, closes: int,
    y: Floats,
) -> None:  # fmt: skip
    """Compute ``(x + center) * scale + shift``, perhaps plus `other`, perhaps followed by ReLU."""
    part = job // pieces
    first, of = part * positions + (job - part * pieces) * per, part * lanes
    for p in range(first, min((part + 1) * positions, first + per)):
        for k in range(0, lanes, WIDTH):
            c = min(k, lanes - WIDTH)
            value = add(load(x, p * pitch + c), load(center, of + c))
            value = fma(value, load(scale, of + c), load(shift, of + c))
            if adds == 1:
                value = add(value, load(other, p * other_pitch + c))
            if closes == 1:
                value = relu(value)
            store(y, p * lanes + c, value)


@Job
def gradient_sums(
    job: int, x: Floats, pitch: int, dy: Floats, dy_pitch: int, y: Floats, y_pitch: int,
    center: Floats, scale: Floats, shift: Floats, lanes: int, positions: int, per: int,
    pieces: int, gate: int, gated: Floats, partial: Doubles,
) -> None:  # fmt: skip
    """Write for every piece the sums of dy and of dy * (x + center), dy being gated by ReLU."""
    part = job // pieces
    first, of = part * positions + (job - part * pieces) * per, part * lanes
    last = min((part + 1) * positions, first + per)
    if positions * lanes >= FROM_MEMORY:
        read = read_through(x, pitch, first, last, lanes, zero())
        read = read_through(dy, dy_pitch, first, last, lanes, read)
        if gate == FROM_OUTPUT:
            read = read_through(y, y_pitch, first, last, lanes, read)
        store_wide(partial, 2 * job * lanes, widen(wide_zero(), read))  # so that it is read
    for k in range(0, lanes, 2 * WIDTH):
        c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
        m0, m1 = load(center, of + c0), load(center, of + c1)
        sum0, sum1, with0, with1 = wide_zero(), wide_zero(), wide_zero(), wide_zero()
        for run in range(first, last, RUN):
            a0, a1, b0, b1 = zero(), zero(), zero(), zero()
            for p in range(run, min(last, run + RUN)):
                d0, d1 = load(dy, p * dy_pitch + c0), load(dy, p * dy_pitch + c1)
                v0 = add(load(x, p * pitch + c0), m0)
                v1 = add(load(x, p * pitch + c1), m1)
                if gate == RECOMPUTED:
                    y0 = fma(v0, load(scale, of + c0), load(shift, of + c0))
                    y1 = fma(v1, load(scale, of + c1), load(shift, of + c1))
                    d0, d1 = where_open(y0, d0, zero()), where_open(y1, d1, zero())
                elif gate == FROM_OUTPUT:
                    d0 = where_open(load(y, p * y_pitch + c0), d0, zero())
                    d1 = where_open(load(y, p * y_pitch + c1), d1, zero())
                    store(gated, p * lanes + c0, d0)
                    store(gated, p * lanes + c1, d1)
                a0, a1 = add(a0, d0), add(a1, d1)
                b0, b1 = fma(d0, v0, b0), fma(d1, v1, b1)
            sum0, sum1 = widen(sum0, a0), widen(sum1, a1)
            with0, with1 = widen(with0, b0), widen(with1, b1)
        to = 2 * job * lanes
        store_wide(partial, to + c0, sum0)
        store_wide(partial, to + c1, sum1)
        store_wide(partial, to + lanes + c0, with0)
        store_wide(partial, to + lanes + c1, with1)


@Job
def input_gradient(
    job: int, x: Floats, pitch: int, dy: Floats, dy_pitch: int, center: Floats, scale: Floats,
    shift: Floats, constant: Floats, slope: Floats, lanes: int, positions: int, per: int,
    pieces: int, gate: int, own: int, dx: Floats,
) -> None:  # fmt: skip
    """Compute ``scale * dy``, with own statistics plus ``constant + slope * (x + center)``."""
    part = job // pieces
    first, of = part * positions + (job - part * pieces) * per, part * lanes
    for p in range(first, min((part + 1) * positions, first + per)):
        for k in range(0, lanes, WIDTH):
            c = min(k, lanes - WIDTH)
            d = load(dy, p * dy_pitch + c)
            if gate == 1 or own == 1:
                value = add(load(x, p * pitch + c), load(center, of + c))
                if gate == 1:
                    y = fma(value, load(scale, of + c), load(shift, of + c))
                    d = where_open(y, d, zero())
                if own == 1:
                    rest = fma(value, load(slope, of + c), load(constant, of + c))
                    store(dx, p * lanes + c, fma(d, load(scale, of + c), rest))
                else:
                    store(dx, p * lanes + c, multiply(d, load(scale, of + c)))
            else:
                store(dx, p * lanes + c, multiply(d, load(scale, of + c)))
