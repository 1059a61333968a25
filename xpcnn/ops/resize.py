"""Resizing: along one axis after the other, every new element is a weighted sum of a few old ones.

Which ones, and with which weights, is worked out on the host; see
:mod:`xpcnn.ops.taps`. The backward is the same operation with the tables transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_float
from xpcnn.ops.tables import along, pick


class Taps(NamedTuple):
    """What each position of a resized axis is made of.

    Attributes
    ----------
    indices : numpy.ndarray of int64, shape (out, K)
        Positions on the old axis.
    weights : numpy.ndarray of float64, shape (out, K), or None
        Their shares; ``None`` takes the one position there is (K = 1) as it is.
    """

    indices: np.ndarray
    weights: np.ndarray | None


def check(who: str, x: Array, axes: Sequence[tuple[int, Taps]]) -> None:
    """Raise unless each table is for an axis of that length."""
    for axis, taps in axes:
        if not 0 <= axis < x.ndim or taps.indices.max() >= x.shape[axis]:
            raise ValueError(
                f"{who}: the table for axis {axis} does not fit an input of shape {tuple(x.shape)}"
            )
    check_float(x, who)


def resize_forward(xp: ModuleType, x: Array, axes: Sequence[tuple[int, Taps]]) -> tuple[Array, Any]:
    """Resize some axes of x, each by its taps."""
    lengths = [x.shape[axis] for axis, _ in axes]
    for axis, taps in axes:
        x = _apply(xp, x, axis, taps)
    return x, (axes, lengths)


def resize_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    """Give every old element the gradients of the new ones it went into."""
    axes, lengths = saved
    for (axis, taps), n in zip(reversed(axes), reversed(lengths), strict=True):
        dy = _apply(xp, dy, axis, *transpose(taps, n))
    return dy


def transpose(taps: Taps, n: int) -> tuple[Taps, np.ndarray]:
    """Turn "new from old" into "old from new", for an old axis of length n.

    Returns
    -------
    taps : Taps
    counts : numpy.ndarray of int64, shape (n,)
        How many entries of each row count; the others hold anything.
    """
    out, k = taps.indices.shape
    old, new = taps.indices.reshape(-1), np.repeat(np.arange(out), k)
    order = np.argsort(old, kind="stable")
    old = old[order]
    counts = np.bincount(old, minlength=n)
    # the first new element of an old one stands in column 0, the second in column 1, and so on
    column = np.arange(len(old)) - (np.cumsum(counts) - counts)[old]
    indices = np.zeros((n, max(counts)), dtype=np.int64)
    indices[old, column] = new[order]
    if taps.weights is None:
        return Taps(indices, None), counts
    weights = np.ones(indices.shape)
    weights[old, column] = taps.weights.reshape(-1)[order]
    return Taps(indices, weights), counts


def _apply(
    xp: ModuleType, x: Array, axis: int, taps: Taps, counts: np.ndarray | None = None
) -> Array:
    total = None
    for k in range(taps.indices.shape[1]):
        part = pick(xp, x, axis, taps.indices[:, k])
        if taps.weights is not None:
            part = part * along(xp, x, axis, taps.weights[:, k], x.dtype)
        if counts is not None and min(counts) <= k:
            # not multiplied by zero, which would make NaN of an infinity
            part = xp.where(along(xp, x, axis, counts > k), part, xp.zeros_like(part))
        total = part if total is None else total + part
    return total


RESIZE = Op("resize", resize_forward, resize_backward, check=check)
