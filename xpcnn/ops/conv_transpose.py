"""Transposed convolution of any spatial rank: a convolution run backwards.

Take the convolution that makes (N, I, *spatial) of (N, O, *out), with the weights (I, O / groups,
*kernel). Its transpose goes the other way, and is what that convolution does to gradients:

    y = col2im(w^T @ x) + b        that is, y[stride * p + dilation * t - padding] += w[t] * x[p]

So its own gradient is the convolution again: with the columns of dy,

    dx = w @ columns        dw = x @ columns^T        db = sum of dy

Several sizes of y belong to one size of x, which is why it is given.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array, namespace
from xpcnn.errors import rank_error
from xpcnn.kernels.dispatch import Op
from xpcnn.kernels.workspace import batch_chunks, joined
from xpcnn.ops.checks import check_bias, check_dtypes, check_image, check_rank
from xpcnn.ops.conv import column_bytes, group_rows, weight_matrix
from xpcnn.ops.im2col import channel_major, col2im, crop_spatial, im2col, pad_spatial
from xpcnn.ops.sums import product, total
from xpcnn.window import Ints, Pairs, Window, as_int, as_ints, as_padding

State = tuple[Array, Array, bool]


def transposed_window(
    spatial: Ints,
    kernel: Ints,
    stride: Ints,
    padding: str | Ints | Pairs,
    output_padding: Ints,
    dilation: Ints,
    who: str,
    *,
    limited: bool = True,
) -> tuple[Window, Ints]:
    """Return the window of the convolution that is run backwards, and the size of the output.

    "same" gives ``n * stride`` outputs, the smallest size of which a "same" convolution makes n.
    `limited` keeps to PyTorch's limit on `output_padding`, which ONNX does not have.

    Raises
    ------
    ValueError
        If `output_padding` is neither below the stride nor below the dilation, or is given with
        "same", or if nothing would be left of the output.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> window, out = F.transposed_window((4,), (3,), (2,), (1,), (1,), (1,), "example")
    >>> out  # (4 - 1) * 2 + 3 - 2 * 1 + 1
    (8,)
    """
    if padding == "same":
        if any(output_padding):
            raise ValueError(
                f"{who}: padding='same' fixes the output size, so that output_padding must be 0; "
                f"got {output_padding}"
            )
        out = tuple(n * s for n, s in zip(spatial, stride, strict=True))
        return Window.resolve(out, kernel, stride, padding, dilation), out
    window = Window.resolve(spatial, kernel, stride, padding, dilation)
    for extra, s, d in zip(output_padding, stride, dilation, strict=True):
        if limited and extra >= max(s, d):
            raise ValueError(
                f"{who}: output_padding must be smaller than the stride or the dilation, got "
                f"output_padding {output_padding} with stride {stride} and dilation {dilation}"
            )
    whole = tuple(
        (n - 1) * s + e for n, s, e in zip(spatial, window.stride, window.extent, strict=True)
    )
    out = tuple(
        n - before - after + extra
        for n, (before, after), extra in zip(whole, window.padding, output_padding, strict=True)
    )
    if min(out) < 1:
        raise ValueError(
            f"{who}: an input of size {tuple(spatial)} gives {whole}, of which padding "
            f"{window.padding} leaves {out}; use less padding"
        )
    return window, out


def check(
    who: str, x: Array, w: Array, b: Array | None, window: Window, out: Ints, groups: int
) -> None:
    """Raise unless input, weight and bias fit together."""
    namespace(x, w, b, who=who)
    check_image(x, window.ndim, who)
    check_dtypes(x, w, b, who)
    if w.shape[0] % groups:
        raise ValueError(
            f"{who}: the {w.shape[0]} input channels of the weight must be divisible by "
            f"groups={groups}"
        )
    if x.shape[1] != w.shape[0]:
        raise ValueError(
            f"{who}: expected {w.shape[0]} input channels (axis 1), got {x.shape[1]} in an input "
            f"of shape {tuple(x.shape)}"
        )
    check_bias(b, w.shape[1] * groups, who)


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
    return joined(xp, pieces, axis=0), (x, w, b is not None)


def backward(
    xp: ModuleType, dy: Array, saved: State, window: Window, groups: int, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db); dx is None unless needed, db unless there was a bias."""
    x, w, has_bias = saved
    weights = weight_matrix(xp, w, groups)
    dw: Any = 0.0
    pieces = []
    for chunk in _chunks(x, w, groups):
        padded_chunk = pad_spatial(xp, channel_major(xp, dy[chunk, ...]), window)
        columns = im2col(xp, padded_chunk, window, x.shape[2:], groups)
        rows = group_rows(xp, x[chunk, ...], groups)
        dw = dw + product(xp, rows, columns)
        if need_dx:
            dx = xp.reshape(weights @ columns, (x.shape[1], -1, *x.shape[2:]))
            pieces.append(channel_major(xp, dx))
    db = total(xp, dy, (0, *range(2, dy.ndim))) if has_bias else None
    dx = joined(xp, pieces, axis=0) if need_dx else None
    return dx, xp.reshape(dw, w.shape), db


def _chunks(x: Array, w: Array, groups: int) -> list[slice]:
    return batch_chunks(x, column_bytes(w.shape[1] * groups, w, prod(x.shape[2:])))


CONV_TRANSPOSE = Op("conv_transpose", forward, backward, check=check)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """Transposed convolution of any spatial rank; the rank is that of `weight`.

    Parameters
    ----------
    x : array of shape (N, I, *spatial)
    weight : array of shape (I, O / groups, *kernel)
    bias : array of shape (O,), optional
    stride, padding, output_padding, groups, dilation
        As in :class:`xpcnn.ConvTranspose2d`.

    Returns
    -------
    array of shape (N, O, *out)

    Raises
    ------
    ValueError, TypeError
        As :func:`transposed_window`, or if the arrays do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x = np.array([[[1.0, 2.0]]])
    >>> F.conv_transpose(x, np.array([[[3.0, 5.0, 7.0]]]), stride=2)
    array([[[ 3.,  5., 13., 10., 14.]]])
    """
    who = "conv_transpose"
    namespace(x, weight, bias, who=who)
    if weight.ndim < 3:
        raise rank_error(f"{who} weight", 4, "(I, O, kH, kW)", weight.shape)
    ndim = weight.ndim - 2
    if x.ndim == ndim + 1:  # a sample without a batch axis
        xp = namespace(x)
        others = (weight, bias, stride, padding, output_padding, groups, dilation)
        alone = conv_transpose(xp.expand_dims(x, axis=0), *others)
        return xp.squeeze(alone, axis=0)
    check_rank(x.shape, ndim, who)
    window, out = transposed_window(
        tuple(x.shape[2:]),
        tuple(weight.shape[2:]),
        as_ints(stride, ndim, who, "stride"),
        as_padding(padding, ndim, who),
        as_ints(output_padding, ndim, who, "output_padding", 0),
        as_ints(dilation, ndim, who, "dilation"),
        who,
    )
    groups = as_int(groups, who, "groups", 1)
    return CONV_TRANSPOSE(x, weight, bias, window, out, groups, who=who)[0]
