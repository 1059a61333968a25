"""Transposed convolution of any spatial rank: a convolution run backwards.

Take the convolution that makes (N, I, *spatial) of (N, O, *out), with the weights (I, O / groups,
*kernel). Its transpose goes the other way, and is what that convolution does to gradients:

    y = col2im(w^T @ x) + b        that is, y[stride * p + dilation * t - padding] += w[t] * x[p]

So its own gradient is the convolution again: with the columns of dy,

    dx = w @ columns        dw = x @ columns^T        db = sum of dy

Several sizes of y belong to one size of x, which is why it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.kernels.op import Op
from xpcnn.kernels.workspace import batch_chunks
from xpcnn.ops.conv import column_bytes, group_columns, group_rows, weight_matrix
from xpcnn.ops.im2col import channel_major, col2im, crop_spatial
from xpcnn.ops.sums import product, total
from xpcnn.window import Ints, Window

State = tuple[Array, Array, bool]


def forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None, window: Window, out: Ints, groups: int
) -> tuple[Array, State]:
    """Run a convolution backwards.

    Parameters
    ----------
    x : array of shape (N, I, *spatial)
    w : array of shape (I, O / groups, *kernel)
    b : array of shape (O,), or None
    window : Window
        Of the convolution that makes x of y; its padding is what y is cut by.
    out : tuple of int
        Spatial size of y. Positions that no window reaches hold the bias.

    Returns
    -------
    y : array of shape (N, O, *out)
    saved : tuple
        For :func:`backward`.
    """
    n_out = w.shape[1] * groups
    padded = window.padded_shape(out)
    transposed = xp.permute_dims(weight_matrix(xp, w, groups), (0, 2, 1))
    pieces = []
    for chunk in _chunks(x, w, groups):
        columns = transposed @ group_rows(xp, x[chunk, ...], groups)
        columns = xp.reshape(columns, (n_out * window.taps, -1))
        shape = (n_out, chunk.stop - chunk.start, *padded)
        y = crop_spatial(col2im(xp, columns, shape, window, x.shape[2:]), window, out)
        if b is not None:
            y = y + xp.reshape(b, (-1, *(1,) * (y.ndim - 1)))
        pieces.append(channel_major(xp, y))
    return _join(xp, pieces), (x, w, b is not None)


def backward(
    xp: ModuleType, dy: Array, saved: State, window: Window, groups: int, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db); dx is None unless needed, db unless there was a bias."""
    x, w, has_bias = saved
    weights = weight_matrix(xp, w, groups)
    dw: Any = 0.0
    pieces = []
    for chunk in _chunks(x, w, groups):
        columns = group_columns(xp, dy[chunk, ...], window, x.shape[2:], groups)
        rows = group_rows(xp, x[chunk, ...], groups)
        dw = dw + product(xp, rows, columns)
        if need_dx:
            dx = xp.reshape(weights @ columns, (x.shape[1], -1, *x.shape[2:]))
            pieces.append(channel_major(xp, dx))
    db = total(xp, dy, (0, *range(2, dy.ndim))) if has_bias else None
    return _join(xp, pieces) if need_dx else None, xp.reshape(dw, w.shape), db


def _chunks(x: Array, w: Array, groups: int) -> Iterator[slice]:
    return batch_chunks(x, column_bytes(w.shape[1] * groups, w, prod(x.shape[2:])))


def _join(xp: ModuleType, pieces: list[Array]) -> Array:
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)


CONV_TRANSPOSE = Op("conv_transpose", forward, backward)
