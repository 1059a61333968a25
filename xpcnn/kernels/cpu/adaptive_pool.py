"""Pooling to a given size, by the kernels of pooling and tables of windows of any length."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu.pool import (
    MOST_TAPS,
    Links,
    Reach,
    Tables,
    declines,
    give_back,
    global_avg_pool_backward,
    global_avg_pool_forward,
    join,
    reach,
    seen_by,
    take_maxima,
    take_means,
)
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints


class Windows(NamedTuple):
    """What follows from the sizes of input and output.

    Attributes
    ----------
    reaching : three arrays
        What each window sees; see :func:`xpcnn.kernels.cpu.pool.reach`.
    tables : two arrays
        By which windows each position is seen; see :func:`xpcnn.kernels.cpu.pool.seen_by`.
    longest : tuple of int
        Taps of the largest window along each axis.
    share : float32 array
        One over the taps of every window.
    """

    reaching: Reach
    tables: Tables
    longest: Ints
    share: np.ndarray


def _links(n: int, m: int) -> Links:
    """Say what each of m windows sees of an axis of length n."""
    bounds = ((i * n // m, -(-(i + 1) * n // m)) for i in range(m))
    return tuple(tuple((p, p - start) for p in range(start, end)) for start, end in bounds)


@lru_cache(maxsize=512)
def _windows(spatial: Ints, size: Ints) -> Windows:
    axes = [_links(n, m) for n, m in zip(spatial, size, strict=True)]
    longest = tuple(max(map(len, axis)) for axis in axes)
    lines, columns = join(axes, spatial, longest)
    taps = np.outer([len(seen) for seen in lines], [len(seen) for seen in columns])
    share = (1.0 / taps).astype(np.float32).reshape(-1)
    return Windows(reach(lines, columns, 1), seen_by(lines, columns, spatial), longest, share)


def avg_forward(xp: Any, x: Any, size: Ints) -> Any:
    """Average (N, C, *spatial) over windows, as many as `size` says: (N, C, *size)."""
    if refusal := declines(x):
        return refusal
    if set(size) == {1}:
        mean, shape = global_avg_pool_forward(xp, x)
        return mean.reshape(*x.shape[:2], *size), shape
    windows = _windows(x.shape[2:], size)
    y = take_means(x, size, windows.reaching, windows.longest, 1, windows.share)
    return y, tuple(x.shape)


def avg_backward(xp: Any, dy: Any, shape: Ints) -> np.ndarray:
    """Give each number under a window its share of the gradient."""
    if set(dy.shape[2:]) == {1}:
        return global_avg_pool_backward(xp, dy.reshape(dy.shape[:2]), shape)
    windows = _windows(shape[2:], dy.shape[2:])
    none = np.zeros(1, np.uint8)
    return give_back(dy, shape, windows.tables, windows.longest, none, windows.share, average=True)


def max_forward(xp: Any, x: Any, size: Ints) -> Any:
    """Take the largest of every window; the first of equals wins, and the last NaN."""
    if refusal := declines(x):
        return refusal
    windows = _windows(x.shape[2:], size)
    if prod(windows.longest) > MOST_TAPS:
        return Declined(f"windows of {prod(windows.longest)} taps, more than {MOST_TAPS}")
    y, winner = take_maxima(x, size, windows.reaching, windows.longest, 1)
    return y, (winner, tuple(x.shape))


def max_backward(xp: Any, dy: Any, saved: Any) -> np.ndarray:
    """Send each gradient to the number that won."""
    winner, shape = saved
    windows = _windows(shape[2:], dy.shape[2:])
    none = np.ones(1, np.float32)
    return give_back(dy, shape, windows.tables, windows.longest, winner, none, average=False)
