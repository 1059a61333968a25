"""Pooling on plain arrays."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.functional._check import LAYOUTS, check_float
from xpcnn.window import Ints, Pairs, Window, as_ints, as_padding


def pool_window(
    spatial: Ints,
    kernel: Ints,
    stride: Ints,
    padding: str | Ints | Pairs,
    dilation: Ints,
    ceil_mode: bool,
    who: str,
) -> Window:
    """Make the window of a pooling for one input size.

    Raises
    ------
    ValueError
        If the padding is more than half the window (a window could then lie wholly in it), or the
        window does not fit into the padded input.
    """
    window = Window.resolve(spatial, kernel, stride, padding, dilation)
    for sides, extent in zip(window.padding, window.extent, strict=True):
        if 2 * min(sides) > extent or max(sides) >= extent:
            raise ValueError(
                f"{who}: padding may be at most half the window, got padding {window.padding} "
                f"with a window covering {window.extent}"
            )
    if ceil_mode:
        window = window.with_ceil(spatial)
    window.output_shape(spatial, who)
    return window


def max_pool_forward(
    x: Array, window: Window, *, who: str = "max_pool"
) -> tuple[Array, kernels.Saved]:
    """Take the maximum under each window and keep what the backward pass needs."""
    xp = _check(x, window, who)
    result = kernels.run(xp, "max_pool", x, window)
    assert result is not None, "the generic kernels take every pooling"
    return result


def max_pool_indices_forward(
    x: Array, window: Window, *, who: str = "max_pool_indices"
) -> tuple[tuple[Array, Array], kernels.Saved]:
    """Take maxima and their places, and keep what :func:`pool_backward` needs for the maxima."""
    xp = _check(x, window, who)
    result = kernels.run(xp, "max_pool_indices", x, window)
    assert result is not None, "the generic kernels take every pooling"
    both, saved = result
    return (both[0], both[1]), saved


def avg_pool_forward(
    x: Array, window: Window, divisor: np.ndarray | float, *, who: str = "avg_pool"
) -> tuple[Array, kernels.Saved]:
    """Average under each window and keep what the backward pass needs."""
    xp = _check(x, window, who)
    result = kernels.run(xp, "avg_pool", x, window, divisor)
    assert result is not None, "the generic kernels take every pooling"
    return result


def pool_backward(dy: Array, saved: kernels.Saved, window: Window) -> Array:
    """Return the gradient dx of a max or average pooling."""
    return saved.backward(_xp.namespace(dy), dy, saved.state, window)


def avg_pool_divisor(
    window: Window,
    spatial: Ints,
    padding: Pairs,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray | float:
    """Say by what each window's sum is divided.

    `padding` is what the user asked for: elements that only ``ceil_mode`` added never count.
    """
    if divisor_override is not None:
        return float(divisor_override)
    counts = np.ones(())
    for axis, m in enumerate(window.output_shape(spatial)):
        taps = window.dilation[axis] * np.arange(window.kernel[axis]) - window.padding[axis][0]
        seen = window.stride[axis] * np.arange(m)[:, None] + taps
        before, after = padding[axis] if count_include_pad else (0, 0)
        inside = (seen >= -before) & (seen < spatial[axis] + after)
        # A dilated window can see nothing but padding; the mean of nothing is 0.
        counts = np.multiply.outer(counts, np.maximum(inside.sum(axis=1), 1))
    return float(counts.flat[0]) if (counts == counts.flat[0]).all() else counts


def max_pool(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Array:
    """Max pooling of any spatial rank; the arguments are those of :class:`xpcnn.MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.max_pool(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[3., 5.]]])
    """
    who = "max_pool"
    window, _ = _window(x, kernel_size, stride, padding, dilation, ceil_mode, who)
    return max_pool_forward(x, window, who=who)[0]


def max_pool_indices(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Max pooling that also returns the position of each maximum.

    The arguments are those of :class:`xpcnn.MaxPool2d`.

    Returns
    -------
    y : array of shape (N, C, *out)
    indices : array of integers of that shape
        Place in the input without its padding, counted row by row from zero in each channel of
        each sample, as PyTorch's ``return_indices=True`` has it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.max_pool_indices(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    (array([[[3., 5.]]]), array([[[1, 3]]]))
    """
    who = "max_pool_indices"
    window, _ = _window(x, kernel_size, stride, padding, dilation, ceil_mode, who)
    return max_pool_indices_forward(x, window, who=who)[0]


def avg_pool(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Average pooling of any spatial rank; the arguments are those of :class:`xpcnn.AvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.avg_pool(np.array([[[1.0, 3.0, 2.0, 6.0]]]), 2)
    array([[[2., 4.]]])
    """
    who = "avg_pool"
    window, asked = _window(x, kernel_size, stride, padding, 1, ceil_mode, who)
    divisor = avg_pool_divisor(
        window, tuple(x.shape[2:]), asked, count_include_pad, divisor_override
    )
    return avg_pool_forward(x, window, divisor, who=who)[0]


def lp_pool_forward(
    x: Array, window: Window, divisor: np.ndarray | float, p: float, *, who: str = "lp_pool"
) -> tuple[Array, kernels.Saved]:
    """Take the power mean under each window and keep what the backward pass needs.

    `divisor` is that of an average, from :func:`avg_pool_divisor`. The average is multiplied by
    the size of the window afterwards, as in PyTorch: what ``ceil_mode`` leaves of a window at the
    border counts as if it were a whole one.
    """
    xp = _check(x, window, who)
    result = kernels.run(xp, "lp_pool", x, window, divisor / window.taps, p)
    assert result is not None, "the generic kernels take every pooling"
    return result


def lp_pool_backward(dy: Array, saved: kernels.Saved, window: Window, p: float) -> Array:
    """Return the gradient dx of a power-mean pooling."""
    return saved.backward(_xp.namespace(dy), dy, saved.state, window, p)


def as_norm_type(value: Any, who: str) -> float:
    """Return the power of a power mean, or say why it cannot be one."""
    power = float(value)
    if power == 0.0 or isnan(power):
        raise ValueError(f"{who}: norm_type must be a number other than zero, got {value!r}")
    return power


def lp_pool(
    x: Array,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """Power-mean pooling of any spatial rank; the arguments are those of :class:`xpcnn.LPPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.lp_pool(np.array([[[3.0, 4.0, 6.0, 8.0]]]), 2, 2)
    array([[[ 5., 10.]]])
    """
    who = "lp_pool"
    power = as_norm_type(norm_type, who)
    window, asked = _window(x, kernel_size, stride, padding, dilation, ceil_mode, who)
    divisor = avg_pool_divisor(window, tuple(x.shape[2:]), asked, True, None)
    return lp_pool_forward(x, window, divisor, power, who=who)[0]


def _window(
    x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, who: str
) -> tuple[Window, Pairs]:
    _xp.namespace(x, who=who)
    ndim = x.ndim - 2
    if ndim < 1:
        raise rank_error(who, 4, LAYOUTS[2], x.shape)
    spatial = tuple(x.shape[2:])
    kernel = as_ints(kernel, ndim, who, "kernel_size")
    stride = kernel if stride is None else as_ints(stride, ndim, who, "stride")
    dilation = as_ints(dilation, ndim, who, "dilation")
    padding = as_padding(padding, ndim, who)
    window = pool_window(spatial, kernel, stride, padding, dilation, ceil_mode, who)
    return window, Window.resolve(spatial, kernel, stride, padding, dilation).padding


def _check(x: Array, window: Window, who: str) -> Any:
    xp = _xp.namespace(x, who=who)
    if x.ndim != window.ndim + 2:
        raise rank_error(who, window.ndim + 2, LAYOUTS[window.ndim], x.shape)
    check_float(x, who)
    return xp
