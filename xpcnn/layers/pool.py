"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.op_layer import OpLayer
from xpcnn.ops.checks import check_rank
from xpcnn.ops.lp_pool import as_norm_type
from xpcnn.ops.pool import avg_pool_divisor, pool_window
from xpcnn.window import Ints, Window, as_int, as_ints, as_padding


class _Pool(OpLayer):
    """What max and average pooling of all ranks have in common: the sliding window."""

    ndim: ClassVar[int]
    kernel_size: Ints
    ceil_mode: bool

    def _set_window(
        self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
    ) -> None:
        who = type(self).__name__
        self.kernel_size = as_ints(kernel_size, self.ndim, who, "kernel_size")
        self.stride = (
            self.kernel_size if stride is None else as_ints(stride, self.ndim, who, "stride")
        )
        self.padding = as_padding(padding, self.ndim, who)
        self.dilation = as_ints(dilation, self.ndim, who, "dilation")
        self.ceil_mode = bool(ceil_mode)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *out) for an input (N, C, *spatial)."""
        return (*input_shape[:2], *self.geometry(input_shape).output_shape(input_shape[2:]))

    def geometry(self, shape: Sequence[int]) -> Window:
        """Check the shape of an input, and return the window for it."""
        check_rank(shape, self.ndim, self.who)
        return self.window(tuple(shape[2:]))

    def window(self, spatial: Shape) -> Window:
        """Return the window for inputs of this size."""
        return pool_window(spatial, *self._steps(), self.ceil_mode, self.who)

    def _steps(self) -> tuple[Ints, Ints, Any, Ints]:
        return self.kernel_size, self.stride, self.padding, self.dilation

    def window_without_ceil(self, spatial: Shape) -> Window:
        """Return the window without the end padding that `ceil_mode` adds."""
        return Window.resolve(spatial, *self._steps())

    def _divisor(
        self, window: Window, spatial: Shape, count_include_pad: bool, override: int | None
    ) -> np.ndarray | float:
        """Say by what each window's sum is divided."""
        asked = self.window_without_ceil(spatial).padding
        return avg_pool_divisor(window, spatial, asked, count_include_pad, override)


def no_indices(return_indices: bool, who: str) -> bool:
    """Refuse to return the places of the largest elements, as PyTorch's layers can."""
    if return_indices:
        raise ValueError(
            f"{who}: return_indices is not supported, since a layer has one output; leave it out"
        )
    return False


class MaxPool(_Pool):
    """Largest element under a sliding window, over any number of dimensions.

    The layers to use are MaxPool1d, MaxPool2d and MaxPool3d.

    Parameters
    ----------
    kernel_size : int or tuple of int
        Size of the window.
    stride : int or tuple of int, optional
        Step from one window to the next; the window's size if left out.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Elements added at the borders, at most half the window.
    dilation : int or tuple of int
        Distance between the elements of a window.
    return_indices : bool
        Present for PyTorch's order of arguments; must be ``False``.
    ceil_mode : bool
        Round the output size up instead of down.

    Raises
    ------
    ValueError
        If the padding is too large, or an input has the wrong rank or is smaller than the window.

    Notes
    -----
    Input (N, C, *spatial), output the same with fewer positions. Padding never wins; NaN does. The
    gradient goes to the first of equal elements, as in PyTorch.
    """

    op = "max_pool"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.return_indices = no_indices(return_indices, type(self).__name__)
        self._set_window(kernel_size, stride, padding, dilation, ceil_mode)

    def _options(self, x: Array) -> tuple[Any, ...]:
        return (self.geometry(x.shape),)


class AvgPool(_Pool):
    """Mean of the elements under a sliding window, over any number of dimensions.

    The layers to use are AvgPool1d, AvgPool2d and AvgPool3d.

    Parameters
    ----------
    kernel_size : int or tuple of int
        Size of the window.
    stride : int or tuple of int, optional
        Step from one window to the next; the window's size if left out.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Elements added at the borders, at most half the window.
    ceil_mode : bool
        Round the output size up instead of down.
    count_include_pad : bool
        Whether the zeros of the padding count as elements.
    divisor_override : int, optional
        Divide by this instead of the number of elements.
    dilation : int or tuple of int
        Distance between the elements of a window (an addition to PyTorch's arguments).

    Raises
    ------
    ValueError
        If the padding is too large, or an input has the wrong rank or is smaller than the window.

    Notes
    -----
    Input (N, C, *spatial), output the same with fewer positions.
    """

    op = "avg_pool"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        dilation: Any = 1,
    ) -> None:
        self._set_window(kernel_size, stride, padding, dilation, ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = divisor_override
        if divisor_override is not None:
            as_int(divisor_override, type(self).__name__, "divisor_override", 1)

    def _options(self, x: Array) -> tuple[Any, ...]:
        window = self.geometry(x.shape)
        counts = self.count_include_pad, self.divisor_override
        return window, self._divisor(window, tuple(x.shape[2:]), *counts)


class LPPool(_Pool):
    """Power mean of the elements under a sliding window, over any number of dimensions.

    ``y = (sum of x ** norm_type) ** (1 / norm_type)``: the sum with a `norm_type` of 1, and closer
    and closer to the largest absolute value as it grows. The layers to use are LPPool1d, LPPool2d
    and LPPool3d.

    Parameters
    ----------
    norm_type : float
        A number other than zero; infinity takes the largest absolute value, minus infinity the
        smallest.
    kernel_size : int or tuple of int
        Size of the window.
    stride : int or tuple of int, optional
        Step from one window to the next; the window's size if left out.
    ceil_mode : bool
        Round the output size up instead of down. What is left of a window at the border counts as
        if it were a whole one, as in PyTorch.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Zeros added at the borders, at most half the window (an addition to PyTorch's arguments).
    dilation : int or tuple of int
        Distance between the elements of a window (an addition to PyTorch's arguments).

    Raises
    ------
    ValueError
        If `norm_type` is zero, the padding is too large, or an input has the wrong rank or is
        smaller than the window.

    Notes
    -----
    Input (N, C, *spatial), output the same with fewer positions. As in PyTorch, elements keep their
    sign: with an odd `norm_type` the sum may be negative, and its root NaN. The gradient is zero
    where the sum is.
    """

    op = "lp_pool"

    def __init__(
        self,
        norm_type: float,
        kernel_size: Any,
        stride: Any = None,
        ceil_mode: bool = False,
        padding: Any = 0,
        dilation: Any = 1,
    ) -> None:
        self.norm_type = as_norm_type(norm_type, type(self).__name__)
        self._set_window(kernel_size, stride, padding, dilation, ceil_mode)

    def _options(self, x: Array) -> tuple[Any, ...]:
        window = self.geometry(x.shape)
        divisor = self._divisor(window, tuple(x.shape[2:]), True, None)
        return window, divisor / window.taps, self.norm_type


class GlobalPool(OpLayer):
    """Mean or largest element of all positions of a channel, over any number of dimensions.

    The layers to use are GlobalAvgPool1d, GlobalMaxPool1d, and so on up to three dimensions.

    Parameters
    ----------
    keepdims : bool
        Keep the spatial axes with length 1.

    Raises
    ------
    ValueError
        If an input has the wrong rank.

    Notes
    -----
    Input (N, C, *spatial), output (N, C).
    """

    ndim: ClassVar[int]

    def __init__(self, keepdims: bool = False) -> None:
        self.keepdims = bool(keepdims)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C), or (N, C, 1, ...) with `keepdims`."""
        check_rank(input_shape, self.ndim, self.who)
        return (*input_shape[:2], *((1,) * self.ndim if self.keepdims else ()))

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        shape = self.output_shape(x.shape)
        y, saved = super()._forward(xp, x, training)
        return xp.reshape(y, shape), saved

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return super()._backward(xp, xp.reshape(dy, dy.shape[:2]), saved, need_dx)


class MaxPool1d(MaxPool, ndim=1):
    """Max pooling of (N, C, L); for the arguments see :class:`MaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.MaxPool1d(2)(np.array([[[1.0, 5.0, 3.0, 2.0]]])).tolist()
    [[[5.0, 3.0]]]
    """


class MaxPool2d(MaxPool, ndim=2):
    """Max pooling of (N, C, H, W); for the arguments see :class:`MaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> xpcnn.MaxPool2d(2)(x).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """


class MaxPool3d(MaxPool, ndim=3):
    """Max pooling of (N, C, D, H, W); for the arguments see :class:`MaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.MaxPool3d(2)
    >>> layer(np.arange(8.0).reshape(1, 1, 2, 2, 2)).tolist()
    [[[[[7.0]]]]]
    >>> layer.output_shape((1, 3, 8, 9, 10))  # what fills no window is left out
    (1, 3, 4, 4, 5)
    """


class AvgPool1d(AvgPool, ndim=1):
    """Average pooling of (N, C, L); for the arguments see :class:`AvgPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.AvgPool1d(3, stride=1)(np.array([[[1.0, 3.0, 8.0, 1.0]]])).tolist()
    [[[4.0, 4.0]]]
    """


class AvgPool2d(AvgPool, ndim=2):
    """Average pooling of (N, C, H, W); for the arguments see :class:`AvgPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> xpcnn.AvgPool2d(2)(x).tolist()  # (0 + 1 + 4 + 5) / 4, ...
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """


class AvgPool3d(AvgPool, ndim=3):
    """Average pooling of (N, C, D, H, W); for the arguments see :class:`AvgPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.AvgPool3d(2)(np.arange(8.0).reshape(1, 1, 2, 2, 2)).tolist()  # (0 + ... + 7) / 8
    [[[[[3.5]]]]]
    """


class LPPool1d(LPPool, ndim=1):
    """Power mean pooling of (N, C, L); for the arguments see :class:`LPPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[3.0, 4.0, 6.0, 8.0]]])
    >>> xpcnn.LPPool1d(2, kernel_size=2)(x).round(4).tolist()  # sqrt(9 + 16), sqrt(36 + 64)
    [[[5.0, 10.0]]]
    """


class LPPool2d(LPPool, ndim=2):
    """Power mean pooling of (N, C, H, W); for the arguments see :class:`LPPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> xpcnn.LPPool2d(1, kernel_size=2)(x).round(4).tolist()  # a norm_type of 1 is the sum
    [[[[10.0]]]]
    """


class LPPool3d(LPPool, ndim=3):
    """Power mean pooling of (N, C, D, H, W); for the arguments see :class:`LPPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.LPPool3d(3, kernel_size=2)(np.ones((1, 1, 2, 2, 2)))
    >>> y.round(4).tolist()  # the cube root of 8
    [[[[[2.0]]]]]
    """


class GlobalAvgPool1d(GlobalPool, ndim=1, op="global_avg_pool"):
    """Mean of all positions of a channel of (N, C, L); see :class:`GlobalPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GlobalAvgPool1d()(np.array([[[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]])).tolist()
    [[3.0, 1.0]]
    """


class GlobalAvgPool2d(GlobalPool, ndim=2, op="global_avg_pool"):
    """Mean of all positions of a channel of (N, C, H, W); see :class:`GlobalPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[[1.0, 2.0], [3.0, 6.0]]]])
    >>> xpcnn.GlobalAvgPool2d()(x).tolist()  # (1 + 2 + 3 + 6) / 4
    [[3.0]]
    """


class GlobalAvgPool3d(GlobalPool, ndim=3, op="global_avg_pool"):
    """Mean of all positions of a channel of (N, C, D, H, W); see :class:`GlobalPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GlobalAvgPool3d()(np.ones((2, 8, 3, 4, 5))).shape
    (2, 8)
    """


class GlobalMaxPool1d(GlobalPool, ndim=1, op="global_max_pool"):
    """Largest of all positions of a channel of (N, C, L); see :class:`GlobalPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GlobalMaxPool1d()(np.array([[[1.0, 6.0, 2.0], [-3.0, -1.0, -2.0]]])).tolist()
    [[6.0, -1.0]]
    """


class GlobalMaxPool2d(GlobalPool, ndim=2, op="global_max_pool"):
    """Largest of all positions of a channel of (N, C, H, W); see :class:`GlobalPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[[1.0, 2.0], [9.0, 4.0]]]])
    >>> xpcnn.GlobalMaxPool2d()(x).tolist()
    [[9.0]]
    """


class GlobalMaxPool3d(GlobalPool, ndim=3, op="global_max_pool"):
    """Largest of all positions of a channel of (N, C, D, H, W); see :class:`GlobalPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GlobalMaxPool3d()(np.arange(54.0).reshape(1, 2, 3, 3, 3)).tolist()
    [[26.0, 53.0]]
    """
