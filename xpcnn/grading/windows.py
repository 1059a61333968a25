"""Convolution and pooling of any rank by plain NumPy, with everything that can be done wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from xpcnn._xp import Array

Pads = Sequence[tuple[int, int]]


def padded(x: Array, pads: Pads, value: float = 0.0, mode: Any = "constant") -> Array:
    """Pad the spatial axes."""
    widths = [(0, 0), (0, 0), *pads]
    if mode != "constant":
        return np.pad(x, widths, mode=mode)
    return np.pad(x, widths, constant_values=value)


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int]) -> Array:
    """Return (N, C, *positions, *taps)."""
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, tuple(kernel), axes)
    return view[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]


def conv(x: Array, w: Array, b: Array, stride: Sequence[int]) -> Array:
    """Cross-correlate an input that is padded already."""
    rank = w.ndim - 2
    cols = windows(x, w.shape[2:], stride)
    taps = tuple(range(2 + rank, 2 + 2 * rank))
    y = np.tensordot(cols, w, axes=((1, *taps), tuple(range(1, w.ndim))))
    return np.moveaxis(y + b, -1, 1)


def conv_dw(x: Array, dout: Array, kernel: Sequence[int], stride: Sequence[int]) -> Array:
    """Return the gradient of the filter."""
    rank = len(kernel)
    cols = windows(x, kernel, stride)
    positions = tuple(range(2, 2 + rank))
    return np.tensordot(dout, cols, axes=((0, *positions), (0, *positions)))


def spread(dout: Array, w: Array) -> Array:
    """Return the gradient of the columns, (N, C, *positions, *taps)."""
    dcols = np.tensordot(dout, w, axes=((1,), (0,)))  # N, *positions, C, *taps
    return np.moveaxis(dcols, w.ndim - 1, 1)


def scatter(dcols: Array, shape: Sequence[int], stride: Sequence[int], how: str = "add") -> Array:
    """Put columns back into a padded image of that shape.

    `how` is "add", or what comes of ``=``: the last tap stays ("taps"), or the last window
    ("windows").
    """
    rank = len(stride)
    out, kernel = dcols.shape[2 : 2 + rank], dcols.shape[2 + rank :]
    room = [
        max(s, (o - 1) * t + k) for s, o, t, k in zip(shape[2:], out, stride, kernel, strict=True)
    ]
    image = np.zeros((*shape[:2], *room))
    taps = list(product(*map(range, kernel)))
    for tap in taps if how != "windows" else reversed(taps):
        place = tuple(
            slice(t, t + s * (o - 1) + 1, s) for t, s, o in zip(tap, stride, out, strict=True)
        )
        part = dcols[(..., *tap)]
        if how == "add":
            image[(slice(None), slice(None), *place)] += part
        else:
            image[(slice(None), slice(None), *place)] = part
    return image[(slice(None), slice(None), *(slice(0, s) for s in shape[2:]))]


def unpadded(image: Array, pads: Pads) -> Array:
    """Cut the padding off."""
    inner = (slice(lo, n - hi) for n, (lo, hi) in zip(image.shape[2:], pads, strict=True))
    return image[(slice(None), slice(None), *inner)]


def one_hot_maxima(cols: Array, rank: int, which: str = "first") -> Array:
    """Return 1 at the maximum of each window: the first, last, all of them, or shared evenly."""
    flat = cols.reshape(*cols.shape[: 2 + rank], -1)
    if which in ("all", "evenly"):
        marks = (flat == flat.max(-1, keepdims=True)).astype(float)
        if which == "evenly":
            marks /= marks.sum(-1, keepdims=True)
        return marks.reshape(cols.shape)
    size = flat.shape[-1]
    best = {
        "first": lambda: flat.argmax(-1),
        "last": lambda: size - 1 - flat[..., ::-1].argmax(-1),
        "smallest": lambda: flat.argmin(-1),
    }[which]()
    return (np.arange(size) == best[..., None]).astype(float).reshape(cols.shape)
