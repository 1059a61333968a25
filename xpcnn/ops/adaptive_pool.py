"""Pooling to a given size, of any spatial rank.

An axis of length n is cut into m windows, which may overlap, or share elements where m > n: window
i goes from ``floor(i n / m)`` up to, without, ``ceil((i + 1) n / m)``. Mean and maximum of a box
are taken axis by axis.

The windows that hold element j are, by the same formula with m and n exchanged, those from
``floor(j m / n)`` up to ``ceil((j + 1) m / n)``. So both directions gather.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import OPS, Op, Saved
from xpcnn.ops.checks import check_floats, check_image, check_spatial
from xpcnn.ops.select import beats
from xpcnn.ops.tables import along, pick
from xpcnn.window import Ints, Window, as_int

MaxStage = tuple[int, int, Array]
"""An axis, its length before, and which of its elements won."""
OutputSize = tuple[int | None, ...]
AdaptiveSaved = tuple[Saved, bool]


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


def _shares(xp: ModuleType, x: Array, axis: int, n: int, m: int) -> Array:
    """Return one over the length of every window."""
    return along(xp, x, axis, 1.0 / _windows(n, m)[1], x.dtype)


def _pick(xp: ModuleType, x: Array, axis: int, t: int, m: int) -> Array:
    """Take element t of each of m windows; of a shorter one, the last."""
    starts, lengths = _windows(x.shape[axis], m)
    return pick(xp, x, axis, (starts + np.minimum(t, lengths - 1)).astype(np.int32))


def _longest(n: int, m: int) -> int:
    return int(_windows(n, m)[1].max())


def _sum_windows(xp: ModuleType, x: Array, axis: int, m: int) -> Array:
    """Add up each of m windows along an axis."""
    n = x.shape[axis]
    lengths = _windows(n, m)[1]
    total = _pick(xp, x, axis, 0, m)
    for t in range(1, _longest(n, m)):
        there = along(xp, x, axis, lengths > t, xp.bool)
        total = total + xp.where(there, _pick(xp, x, axis, t, m), 0.0)
    return total


def _max_windows(xp: ModuleType, x: Array, axis: int, m: int) -> tuple[Array, Array]:
    """Return the largest element of each of m windows along an axis, and its number."""
    n = x.shape[axis]
    places = along(xp, x, axis, np.arange(n), xp.int32)
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
    own = along(xp, dy, axis, np.arange(n), xp.int32)
    total = None
    for t in range(_longest(m, n)):
        won = (_pick(xp, winner, axis, t, n) == own) & along(xp, dy, axis, lengths > t, xp.bool)
        part = xp.where(won, _pick(xp, dy, axis, t, n), 0.0)
        total = part if total is None else total + part
    return total


ADAPTIVE_AVG_POOL = Op("adaptive_avg_pool", avg_forward, avg_backward, check=check_floats)
ADAPTIVE_MAX_POOL = Op("adaptive_max_pool", max_forward, max_backward, check=check_floats)


def as_output_size(value: Any, ndim: int, who: str) -> OutputSize:
    """Turn one output size, or one per dimension, into a tuple; ``None`` keeps an axis as it is.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> F.as_output_size(7, 2, "example"), F.as_output_size((None, 7), 2, "example")
    ((7, 7), (None, 7))
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{who}: output_size must be integers or None, got {value!r}")
    values = tuple(value) if hasattr(value, "__iter__") else (value,)
    if len(values) == 1:
        values *= ndim
    if len(values) != ndim:
        raise ValueError(
            f"{who}: output_size must be one integer or {ndim}, one per spatial dimension; "
            f"got {value!r}"
        )
    return tuple(None if v is None else as_int(v, who, "output_size", 1) for v in values)


def adaptive_size(spatial: Ints, output_size: OutputSize) -> Ints:
    """Return the output size for one input size.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> F.adaptive_size((32, 24), (None, 7))
    (32, 7)
    """
    return tuple(n if m is None else m for n, m in zip(spatial, output_size, strict=True))


def adaptive_pool_forward(
    kind: str, x: Array, output_size: OutputSize, *, who: str = "adaptive_pool"
) -> tuple[Array, AdaptiveSaved]:
    """Pool to a size and keep what the backward pass needs; `kind` is "avg" or "max".

    One output is global pooling, and where every size divides, all windows are alike: other
    operations do that faster.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> y, saved = F.adaptive_pool_forward("avg", np.array([[[1.0, 3.0, 2.0, 6.0]]]), (2,))
    >>> y.tolist()
    [[[2.0, 4.0]]]
    """
    _xp.namespace(x, who=who)
    check_image(x, len(output_size), who)
    spatial = tuple(x.shape[2:])
    size = adaptive_size(spatial, output_size)
    if prod(size) == 1:
        y, saved = OPS[f"global_{kind}_pool"](x, who=who)
        return _xp.namespace(y).reshape(y, (*y.shape, *size)), (saved, True)
    if all(n % m == 0 for n, m in zip(spatial, size, strict=True)):
        kernel = tuple(n // m for n, m in zip(spatial, size, strict=True))
        window = Window.resolve(spatial, kernel, kernel, "valid", (1,) * len(kernel))
        divisor = (float(window.taps),) if kind == "avg" else ()
        y, saved = OPS[f"{kind}_pool"](x, window, *divisor, who=who)
        return y, (saved, False)
    y, saved = OPS[f"adaptive_{kind}_pool"](x, size, who=who)
    return y, (saved, False)


def adaptive_pool_backward(dy: Array, saved: AdaptiveSaved) -> Array:
    """Return the gradient dx of an adaptive pooling.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> y, saved = F.adaptive_pool_forward("max", np.array([[[1.0, 3.0, 2.0, 6.0]]]), (2,))
    >>> F.adaptive_pool_backward(np.array([[[10.0, 20.0]]]), saved).tolist()
    [[[0.0, 10.0, 0.0, 20.0]]]
    """
    inner, is_global = saved
    return inner(_xp.namespace(dy).reshape(dy, dy.shape[:2]) if is_global else dy)


def adaptive_avg_pool(x: Array, output_size: Any) -> Array:
    """Average to a size: (N, C, *spatial) to (N, C, *output_size).

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    output_size : int or None, or a tuple of them
        As in :class:`xpcnn.AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.adaptive_avg_pool(np.array([[[1.0, 3.0, 2.0, 6.0, 4.0]]]), 2)
    array([[[2., 4.]]])
    """
    return _adaptive("avg", x, output_size, "adaptive_avg_pool")


def adaptive_max_pool(x: Array, output_size: Any) -> Array:
    """Take the largest elements: (N, C, *spatial) to (N, C, *output_size).

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    output_size : int or None, or a tuple of them
        As in :class:`xpcnn.AdaptiveMaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.adaptive_max_pool(np.array([[[1.0, 3.0, 2.0, 6.0, 4.0]]]), 2)
    array([[[3., 6.]]])
    """
    return _adaptive("max", x, output_size, "adaptive_max_pool")


def _adaptive(kind: str, x: Array, output_size: Any, who: str) -> Array:
    _xp.namespace(x, who=who)
    check_spatial(x.shape, who)
    return adaptive_pool_forward(kind, x, as_output_size(output_size, x.ndim - 2, who), who=who)[0]
