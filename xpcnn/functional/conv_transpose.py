"""Transposed convolution on plain arrays."""

from __future__ import annotations

from typing import Any

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.functional._check import LAYOUTS, check_float
from xpcnn.functional.conv import check_bias, check_dtypes
from xpcnn.window import Ints, Pairs, Window, as_int, as_ints, as_padding


def transposed_window(
    spatial: Ints,
    kernel: Ints,
    stride: Ints,
    padding: str | Ints | Pairs,
    output_padding: Ints,
    dilation: Ints,
    who: str,
) -> tuple[Window, Ints]:
    """Return the window of the convolution that is run backwards, and the size of the output.

    "same" gives ``n * stride`` outputs, the smallest size of which a "same" convolution makes n.

    Raises
    ------
    ValueError
        If `output_padding` is neither below the stride nor below the dilation, or is given with
        "same", or if nothing would be left of the output.
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
        if extra >= max(s, d):
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


def conv_transpose_forward(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    out: Ints,
    groups: int = 1,
    *,
    who: str = "conv_transpose",
) -> tuple[Array, kernels.Saved]:
    """Run a convolution backwards and keep what the backward pass needs.

    Parameters
    ----------
    x : array of shape (N, I, *spatial)
    w : array of shape (I, O / groups, *kernel)
    b : array of shape (O,) or None
    window : Window
        As :func:`transposed_window` returns it, together with `out`.
    out : tuple of int
        Spatial size of the output.
    groups : int
    who : str
        Name for error messages.

    Returns
    -------
    y : array of shape (N, O, *out)
    saved : Saved
        To be given to :func:`conv_transpose_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    TypeError
        If the arrays come from different libraries or differ in dtype.
    """
    xp = _xp.namespace(x, w, b, who=who)
    if x.ndim != window.ndim + 2:
        raise rank_error(who, window.ndim + 2, LAYOUTS[window.ndim], x.shape)
    check_float(x, who)
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
    result = kernels.run(xp, "conv_transpose", x, w, b, window, out, groups)
    assert result is not None, "the generic kernels take every transposed convolution"
    return result


def conv_transpose_backward(
    dy: Array, saved: kernels.Saved, window: Window, groups: int = 1, need_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db); dx is None unless `need_dx`."""
    gradients: tuple[Array | None, Array, Array | None]
    gradients = saved.backward(_xp.namespace(dy), dy, saved.state, window, groups, need_dx)
    return gradients


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
        As :func:`transposed_window` and :func:`conv_transpose_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x = np.array([[[1.0, 2.0]]])
    >>> F.conv_transpose(x, np.array([[[3.0, 5.0, 7.0]]]), stride=2)
    array([[[ 3.,  5., 13., 10., 14.]]])
    """
    who = "conv_transpose"
    _xp.namespace(x, weight, bias, who=who)
    if weight.ndim < 3:
        raise rank_error(f"{who} weight", 4, "(I, O, kH, kW)", weight.shape)
    ndim = weight.ndim - 2
    if x.ndim == ndim + 1:  # a sample without a batch axis
        xp = _xp.namespace(x)
        alone = conv_transpose(
            xp.expand_dims(x, axis=0),
            weight,
            bias,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
        )
        return xp.squeeze(alone, axis=0)
    if x.ndim != weight.ndim:
        raise rank_error(who, ndim + 2, LAYOUTS[ndim], x.shape)
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
    return conv_transpose_forward(x, weight, bias, window, out, groups, who=who)[0]
