"""Resizing: along one axis after the other, every new element is a weighted sum of a few old ones.

Which ones, and with which weights, is worked out on the host; see
:mod:`xpcnn.functional.resize`. The backward is the same operation with the tables transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array


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
        transposed, is_used = transpose(taps, n)
        dy = _apply(xp, dy, axis, transposed)
        if not is_used.all():
            shape = (1,) * axis + (n,) + (1,) * (dy.ndim - axis - 1)
            mask = xp.asarray(is_used, device=_xp.device_of(dy))
            dy = xp.where(xp.reshape(mask, shape), dy, xp.zeros_like(dy))
    return dy


def transpose(taps: Taps, n: int) -> tuple[Taps, np.ndarray]:
    """Turn "new from old" into "old from new", for an old axis of length n.

    Returns
    -------
    taps : Taps
        Rows that are shorter than others repeat their first entry with weight zero, so that no
        element reads a stranger, which might be infinite.
    is_used : numpy.ndarray of bool, shape (n,)
        Whether an old element goes into any new one.
    """
    out, k = taps.indices.shape
    old = taps.indices.reshape(-1)
    new = np.repeat(np.arange(out), k)
    weights = np.ones(out * k) if taps.weights is None else taps.weights.reshape(-1)
    order = np.argsort(old, kind="stable")
    old, new, weights = old[order], new[order], weights[order]
    counts = np.bincount(old, minlength=n)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(old)) - starts[old]
    is_used = counts > 0
    first = np.where(is_used, new[np.minimum(starts, len(new) - 1)], 0)
    indices = np.repeat(first[:, None], max(counts), axis=1)
    table = np.zeros(indices.shape)
    indices[old, place] = new
    table[old, place] = weights
    if taps.weights is None and counts.min() == counts.max() == 1:
        return Taps(indices, None), is_used
    return Taps(indices, table), is_used


def _apply(xp: ModuleType, x: Array, axis: int, taps: Taps) -> Array:
    device = _xp.device_of(x)
    shape = (1,) * axis + (-1,) + (1,) * (x.ndim - axis - 1)
    total = None
    for k in range(taps.indices.shape[1]):
        index = xp.asarray(np.ascontiguousarray(taps.indices[:, k]), device=device)
        part = xp.take(x, index, axis=axis)
        if taps.weights is not None:
            weights = np.ascontiguousarray(taps.weights[:, k])
            part = part * xp.reshape(xp.asarray(weights, dtype=x.dtype, device=device), shape)
        total = part if total is None else total + part
    return total
