"""Convolution (cross-correlation, as everywhere in deep learning) of any spatial rank.

    y[n, o, p] = b[o] + sum over c, t of w[o, c, t] * x[n, c, stride * p + dilation * t - padding]

Forward: gather columns, multiply by the weight matrix. Backward, with the same columns:

    dw = dy @ columns^T        db = sum of dy        dx = col2im(w^T @ dy)

The columns of a whole batch would be `taps` times the size of the input, so the batch is worked
off in chunks, and backward gathers the columns anew instead of keeping them.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.kernels.op import Op
from xpcnn.kernels.workspace import batch_chunks
from xpcnn.ops.im2col import channel_major, col2im, crop_spatial, im2col, pad_spatial
from xpcnn.ops.sums import product, total
from xpcnn.window import Ints, Window

ConvState = tuple[Array, Array, bool]


def conv_forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None, window: Window, groups: int
) -> tuple[Array, ConvState]:
    """Convolve.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    w : array of shape (O, C / groups, *kernel)
    b : array of shape (O,), or None

    Returns
    -------
    y : array of shape (N, O, *out)
    saved : tuple
        For :func:`conv_backward`.
    """
    n_out = w.shape[0]
    out = window.output_shape(x.shape[2:])
    weights = weight_matrix(xp, w, groups)
    pieces = []
    for chunk in batch_chunks(x, bytes_per_sample(x, w, window)):
        columns = group_columns(xp, x[chunk, ...], window, out, groups)
        y = xp.reshape(weights @ columns, (n_out, -1))
        if b is not None:
            y = y + b[:, None]
        pieces.append(xp.reshape(y, (n_out, chunk.stop - chunk.start, *out)))
    y = pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=1)
    return channel_major(xp, y), (x, w, b is not None)


def conv_backward(
    xp: ModuleType, dy: Array, saved: ConvState, window: Window, groups: int, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db); dx is None unless needed, db unless there was a bias."""
    x, w, has_bias = saved
    out = window.output_shape(x.shape[2:])
    padded = window.padded_shape(x.shape[2:])
    weights = weight_matrix(xp, w, groups)
    transposed = xp.permute_dims(weights, (0, 2, 1))
    dw: Any = 0.0
    pieces = []
    for chunk in batch_chunks(x, bytes_per_sample(x, w, window)):
        columns = group_columns(xp, x[chunk, ...], window, out, groups)
        dy_chunk = group_rows(xp, dy[chunk, ...], groups)
        dw = dw + product(xp, dy_chunk, columns)
        if need_dx:
            columns = xp.reshape(transposed @ dy_chunk, (x.shape[1] * window.taps, -1))
            shape = (x.shape[1], chunk.stop - chunk.start, *padded)
            dx = col2im(xp, columns, shape, window, out)
            pieces.append(channel_major(xp, crop_spatial(dx, window, x.shape[2:])))
    db = total(xp, dy, (0, *range(2, dy.ndim))) if has_bias else None
    dx = None
    if need_dx:
        dx = pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)
    return dx, xp.reshape(dw, w.shape), db


def weight_matrix(xp: ModuleType, w: Array, groups: int) -> Array:
    """View (O, C / groups, *kernel) as (groups, O / groups, C / groups * taps)."""
    return xp.reshape(w, (groups, w.shape[0] // groups, prod(w.shape[1:])))


def group_rows(xp: ModuleType, y: Array, groups: int) -> Array:
    """Lay (N, O, *out) out as (groups, O / groups, N * positions)."""
    return xp.reshape(channel_major(xp, y), (groups, y.shape[1] // groups, -1))


def group_columns(xp: ModuleType, x: Array, window: Window, out: Ints, groups: int) -> Array:
    """Gather the columns of some samples, as (groups, C / groups * taps, N * positions)."""
    padded = pad_spatial(xp, channel_major(xp, x), window)
    columns = im2col(xp, padded, window, out)
    return xp.reshape(columns, (groups, columns.shape[0] // groups, columns.shape[1]))


def bytes_per_sample(x: Array, w: Array, window: Window) -> int:
    """Size of one sample's columns and outputs."""
    return column_bytes(x.shape[1], w, prod(window.output_shape(x.shape[2:])))


def column_bytes(channels: int, w: Array, positions: int) -> int:
    """Size of the columns of that many channels at so many positions, and of their products."""
    itemsize = 8 if "64" in str(w.dtype) else 4
    return (channels * prod(w.shape[2:]) + w.shape[0]) * positions * itemsize


CONV = Op("conv", conv_forward, conv_backward)
