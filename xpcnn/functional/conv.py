"""Convolution on plain arrays."""

from __future__ import annotations

from typing import Any

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.functional._check import LAYOUTS, check_float
from xpcnn.window import Window, as_int, as_ints, as_padding


def conv_forward(
    x: Array, w: Array, b: Array | None, window: Window, groups: int = 1, *, who: str = "conv"
) -> tuple[Array, kernels.Saved]:
    """Convolve and keep what the backward pass needs.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    w : array of shape (O, C / groups, *kernel)
    b : array of shape (O,) or None
    window : Window
        Geometry; its kernel must be the spatial shape of `w`.
    groups : int
        The input and output channels are cut into this many independent convolutions.
    who : str
        Name for error messages.

    Returns
    -------
    y : array of shape (N, O, *out)
    saved : Saved
        To be given to :func:`conv_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the kernel does not fit into the padded input.
    TypeError
        If the arrays come from different libraries or differ in dtype.
    """
    xp = _xp.namespace(x, w, b, who=who)
    check_operands(x, w, b, window.ndim, groups, who)
    window.output_shape(x.shape[2:], who)
    result = kernels.run(xp, "conv", x, w, b, window, groups)
    assert result is not None, "the generic kernels take every convolution"
    return result


def conv_backward(
    dy: Array, saved: kernels.Saved, window: Window, groups: int = 1, need_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db) of a convolution; dx is None unless `need_dx`."""
    xp = _xp.namespace(dy)
    gradients: tuple[Array | None, Array, Array | None]
    gradients = saved.backward(xp, dy, saved.state, window, groups, need_dx)
    return gradients


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
    ValueError, TypeError
        As :func:`conv_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    >>> F.conv(x, np.array([[[3.0, 5.0, 7.0]]]), np.array([1.0]))
    array([[[35., 50.]]])
    """
    who = "conv"
    _xp.namespace(x, weight, bias, who=who)
    if weight.ndim < 3:
        raise rank_error(f"{who} weight", 4, "(O, C, kH, kW)", weight.shape)
    ndim = weight.ndim - 2
    if x.ndim == ndim + 1:  # a sample without a batch axis
        xp = _xp.namespace(x)
        alone = conv(xp.expand_dims(x, axis=0), weight, bias, stride, padding, dilation, groups)
        return xp.squeeze(alone, axis=0)
    if x.ndim != weight.ndim:
        raise rank_error(who, ndim + 2, LAYOUTS[ndim], x.shape)
    window = Window.resolve(
        tuple(x.shape[2:]),
        tuple(weight.shape[2:]),
        as_ints(stride, ndim, who, "stride"),
        as_padding(padding, ndim, who),
        as_ints(dilation, ndim, who, "dilation"),
    )
    return conv_forward(x, weight, bias, window, as_int(groups, who, "groups", 1), who=who)[0]


def check_operands(x: Array, w: Array, b: Array | None, ndim: int, groups: int, who: str) -> None:
    """Raise unless input, weight and bias of a convolution fit together."""
    if x.ndim != ndim + 2:
        raise rank_error(who, ndim + 2, LAYOUTS[ndim], x.shape)
    check_float(x, who)
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


def check_dtypes(x: Array, w: Array, b: Array | None, who: str) -> None:
    """Raise unless weight and bias have the dtype of the input."""
    for name, other in (("weight", w), ("bias", b)):
        if other is not None and other.dtype != x.dtype:
            raise TypeError(
                f"{who}: the input has dtype {_xp.dtype_name(x)} but the {name} "
                f"{_xp.dtype_name(other)}; convert one of them"
            )


def check_bias(b: Array | None, channels: int, who: str) -> None:
    """Raise unless a bias, if there is one, has a number for each output channel."""
    if b is not None and tuple(b.shape) != (channels,):
        raise ValueError(f"{who}: expected a bias of shape ({channels},), got {tuple(b.shape)}")
