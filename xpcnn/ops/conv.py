"""Convolution (cross-correlation, as everywhere in deep learning) of any spatial rank.

    y[n, o, p] = b[o] + sum over c, t of w[o, c, t] * x[n, c, stride * p + dilation * t - padding]

Forward: gather columns, multiply by the weight matrix. Backward, with the same columns:

    dw = dy @ columns^T        db = sum of dy        dx = col2im(w^T @ dy)

The columns of a whole batch would be `taps` times the size of the input, so the batch is worked
off in chunks, and backward gathers the columns anew instead of keeping them.

Here is the whole computation, with these helpers. ``xp`` is the array library, with NumPy's names,
and an ``Array`` one of its arrays; ``namespace(x)`` returns the library of an array,
``dtype_name(x)`` its dtype as text. A ``Window`` is the geometry: kernel, stride, padding,
dilation, `taps` (the elements of a kernel), and the size of the output; ``as_window`` and
``as_int`` make it of a user's arguments, and refuse wrong ones, as ``check_image``,
``check_dtypes`` and ``check_bias`` do with arrays; ``rank_error`` is the error of a wrong number
of axes, and ``LAYOUTS`` has those that are right. ``batch_chunks`` cuts the batch into slices that
need little memory, and ``joined`` puts the results together. ``total`` and ``product`` are
``xp.sum`` and ``a @ b^T``, exact enough for very many terms. ``Op`` joins the check, the forward
and the backward to an operation; called, it checks and runs, by a faster kernel if there is one.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array, dtype_name, namespace
from xpcnn.errors import rank_error
from xpcnn.kernels.dispatch import Op
from xpcnn.kernels.workspace import batch_chunks, joined
from xpcnn.ops.checks import LAYOUTS, check_bias, check_dtypes, check_image
from xpcnn.ops.im2col import channel_major, col2im, crop_spatial, im2col, pad_spatial
from xpcnn.ops.sums import product, total
from xpcnn.window import Window, as_int, as_window

ConvState = tuple[Array, Array, bool]


def check(who: str, x: Array, w: Array, b: Array | None, window: Window, groups: int) -> None:
    """Raise unless input, weight and bias fit together, and the kernel into the input."""
    namespace(x, w, b, who=who)
    check_image(x, window.ndim, who)
    check_dtypes(x, w, b, who)
    if w.shape[0] % groups or x.shape[1] % groups:
        raise ValueError(
            f"{who}: {x.shape[1]} input and {w.shape[0]} output channels must both be "
            f"divisible by groups={groups}"
        )
    if w.shape[1] * groups != x.shape[1]:
        raise ValueError(
            f"{who}: expected {w.shape[1] * groups} input channels (axis 1), got {x.shape[1]} "
            f"in an input of shape {tuple(x.shape)}"
        )
    check_bias(b, w.shape[0], who)
    window.output_shape(x.shape[2:], who)


def forward(
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
        For :func:`backward`.
    """
    n_out = w.shape[0]
    out = window.output_shape(x.shape[2:])
    weights = weight_matrix(xp, w, groups)
    bias = None if b is None else xp.reshape(b, (n_out, *(1,) * (x.ndim - 1)))
    pieces = []
    for chunk in batch_chunks(x, column_bytes(x.shape[1], w, prod(out))):
        padded = pad_spatial(xp, channel_major(xp, x[chunk, ...]), window)
        columns = im2col(xp, padded, window, out, groups)
        y = xp.reshape(weights @ columns, (n_out, chunk.stop - chunk.start, *out))
        pieces.append(y if bias is None else y + bias)
    return channel_major(xp, joined(xp, pieces, axis=1)), (x, w, b is not None)


def backward(
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
    for chunk in batch_chunks(x, column_bytes(x.shape[1], w, prod(out))):
        padded_chunk = pad_spatial(xp, channel_major(xp, x[chunk, ...]), window)
        columns = im2col(xp, padded_chunk, window, out, groups)
        dy_chunk = group_rows(xp, dy[chunk, ...], groups)
        dw = dw + product(xp, dy_chunk, columns)
        if need_dx:
            columns = xp.reshape(transposed @ dy_chunk, (x.shape[1] * window.taps, -1))
            shape = (x.shape[1], chunk.stop - chunk.start, *padded)
            dx = col2im(xp, columns, shape, window, out)
            pieces.append(channel_major(xp, crop_spatial(dx, window, x.shape[2:])))
    db = total(xp, dy, (0, *range(2, dy.ndim))) if has_bias else None
    dx = joined(xp, pieces, axis=0) if need_dx else None
    return dx, xp.reshape(dw, w.shape), db


def weight_matrix(xp: ModuleType, w: Array, groups: int) -> Array:
    """View (O, C / groups, *kernel) as (groups, O / groups, C / groups * taps)."""
    return xp.reshape(w, (groups, w.shape[0] // groups, prod(w.shape[1:])))


def group_rows(xp: ModuleType, y: Array, groups: int) -> Array:
    """Lay (N, O, *out) out as (groups, O / groups, N * positions)."""
    return xp.reshape(channel_major(xp, y), (groups, y.shape[1] // groups, -1))


def column_bytes(channels: int, w: Array, positions: int) -> int:
    """Size of the columns of that many channels at so many positions, and of their products."""
    itemsize = 8 if dtype_name(w) == "float64" else 4
    return (channels * prod(w.shape[2:]) + w.shape[0]) * positions * itemsize


CONV = Op("conv", forward, backward, check=check)


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Convolve images of any spatial rank; the rank is that of `weight`.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    weight : array of shape (O, C / groups, *kernel)
    bias : array of shape (O,), optional
    stride, dilation : int or tuple of int
    padding : int, tuple, "same" or "valid"
        As in :class:`xpcnn.Conv2d`.
    groups : int

    Returns
    -------
    array of shape (N, O, *out)

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the kernel does not fit into the padded input.
    TypeError
        If the arrays come from different libraries or differ in dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    >>> F.conv(x, np.array([[[3.0, 5.0, 7.0]]]), np.array([1.0]))
    array([[[35., 50.]]])
    """
    who = "conv"
    namespace(x, weight, bias, who=who)
    if weight.ndim < 3:
        raise rank_error(f"{who} weight", 4, "(O, C, kH, kW)", weight.shape)
    ndim = weight.ndim - 2
    if x.ndim == ndim + 1:  # a sample without a batch axis
        xp = namespace(x)
        alone = conv(xp.expand_dims(x, axis=0), weight, bias, stride, padding, dilation, groups)
        return xp.squeeze(alone, axis=0)
    if x.ndim != weight.ndim:
        raise rank_error(who, ndim + 2, LAYOUTS[ndim], x.shape)
    window = as_window(x.shape[2:], weight.shape[2:], stride, padding, dilation, who)
    return CONV(x, weight, bias, window, as_int(groups, who, "groups", 1), who=who)[0]
