"""Pooling to a given size, of any spatial rank.

An axis of length n is cut into m windows, which may overlap, or share elements where m > n: window
i goes from ``floor(i n / m)`` up to, without, ``ceil((i + 1) n / m)``. Mean and maximum of a box
are taken axis by axis.

The windows that hold element j are, by the same formula with m and n exchanged, those from
``floor(j m / n)`` up to ``ceil((j + 1) m / n)``. So both directions gather.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.op import Op
from xpcnn.ops.select import beats
from xpcnn.window import Ints

MaxStage = tuple[int, int, Array]
"""An axis, its length before, and which of its elements won."""


def avg_forward(xp: ModuleType, x: Array, size: Ints) -> tuple[Array, Ints]:
    """Average (N, C, *spatial) over windows, as many as `size` says: (N, C, *size)."""
    shape = tuple(x.shape)
    for axis, m in _changing(shape, size):
        x = _sum_windows(xp, x, axis, m) * _shares(xp, x, axis, shape[axis], m)
    return (x if tuple(x.shape) != shape else xp.asarray(x, copy=True)), shape


def avg_backward(xp: ModuleType, dy: Array, shape: Ints) -> Array:
    """Give each element under a window its share of the gradient."""
    for axis, m in reversed(_changing(shape, tuple(dy.shape[2:]))):
        n = shape[axis]
        dy = _sum_windows(xp, dy * _shares(xp, dy, axis, n, m), axis, n)
    return dy


def max_forward(xp: ModuleType, x: Array, size: Ints) -> tuple[Array, list[MaxStage]]:
    """Take the largest of every window, as many as `size` says: (N, C, *size).

    The first of equal elements wins, and the last NaN.
    """
    shape, stages = tuple(x.shape), []
    for axis, m in reversed(_changing(shape, size)):  # so that ties go by rows
        x, winner = _max_windows(xp, x, axis, m)
        stages.append((axis, shape[axis], winner))
    return (x if stages else xp.asarray(x, copy=True)), stages


def max_backward(xp: ModuleType, dy: Array, stages: list[MaxStage]) -> Array:
    """Send each gradient to the element that won."""
    for axis, n, winner in reversed(stages):
        dy = _sum_won(xp, dy, winner, axis, n)
    return dy


def _changing(shape: Ints, size: Ints) -> list[tuple[int, int]]:
    """List the axes that get another length, and that length."""
    return [(axis, m) for axis, m in enumerate(size, start=2) if shape[axis] != m]


def _windows(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first element and the length of every window."""
    i = np.arange(m)
    starts = i * n // m
    return starts, -(-(i + 1) * n // m) - starts


def _along(xp: ModuleType, x: Array, axis: int, numbers: np.ndarray, dtype: object) -> Array:
    """Return numbers as an array that lies along one axis of x."""
    row = xp.asarray(numbers, dtype=dtype, device=_xp.device_of(x))
    return xp.reshape(row, tuple(-1 if a == axis else 1 for a in range(x.ndim)))


def _shares(xp: ModuleType, x: Array, axis: int, n: int, m: int) -> Array:
    """Return one over the length of every window."""
    return _along(xp, x, axis, 1.0 / _windows(n, m)[1], x.dtype)


def _pick(xp: ModuleType, x: Array, axis: int, t: int, m: int) -> Array:
    """Take element t of each of m windows; of a shorter one, the last."""
    starts, lengths = _windows(x.shape[axis], m)
    numbers = (starts + np.minimum(t, lengths - 1)).astype(np.int32)
    return xp.take(x, xp.asarray(numbers, device=_xp.device_of(x)), axis=axis)


def _longest(n: int, m: int) -> int:
    return int(_windows(n, m)[1].max())


def _sum_windows(xp: ModuleType, x: Array, axis: int, m: int) -> Array:
    """Add up each of m windows along an axis."""
    n = x.shape[axis]
    lengths = _windows(n, m)[1]
    total = _pick(xp, x, axis, 0, m)
    for t in range(1, _longest(n, m)):
        there = _along(xp, x, axis, lengths > t, xp.bool)
        total = total + xp.where(there, _pick(xp, x, axis, t, m), 0.0)
    return total


def _max_windows(xp: ModuleType, x: Array, axis: int, m: int) -> tuple[Array, Array]:
    """Return the largest element of each of m windows along an axis, and its number."""
    n = x.shape[axis]
    places = _along(xp, x, axis, np.arange(n), xp.int32)
    best, winner = (_pick(xp, a, axis, 0, m) for a in (x, places))
    for t in range(1, _longest(n, m)):
        value = _pick(xp, x, axis, t, m)
        wins = beats(xp, value, best)
        winner = xp.where(wins, _pick(xp, places, axis, t, m), winner)
        best = xp.where(wins, value, best)
    return best, xp.broadcast_to(winner, best.shape)


def _sum_won(xp: ModuleType, dy: Array, winner: Array, axis: int, n: int) -> Array:
    """Add up, for each of n elements, the gradients of the windows that it won."""
    m = dy.shape[axis]
    lengths = _windows(m, n)[1]
    own = _along(xp, dy, axis, np.arange(n), xp.int32)
    total = None
    for t in range(_longest(m, n)):
        won = (_pick(xp, winner, axis, t, n) == own) & _along(xp, dy, axis, lengths > t, xp.bool)
        part = xp.where(won, _pick(xp, dy, axis, t, n), 0.0)
        total = part if total is None else total + part
    return total


ADAPTIVE_AVG_POOL = Op("adaptive_avg_pool", avg_forward, avg_backward)
ADAPTIVE_MAX_POOL = Op("adaptive_max_pool", max_forward, max_backward)
