"""The columns of a convolution as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.layers.layer import Layer, Shape
from xpcnn.ops.checks import check_rank
from xpcnn.ops.columns import col2im, im2col
from xpcnn.window import as_ints, as_padding, as_window


class Unfold(Layer):
    """Lay out what a sliding window sees, one column per position: im2col.

    A convolution is a matrix product with these columns.

    Parameters
    ----------
    kernel_size : int or tuple of int
        Size of the window.
    dilation : int or tuple of int
        Distance between the elements that the window sees.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Zeros added at the borders.
    stride : int or tuple of int
        Step from one window position to the next.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or is smaller than the
        window.

    Notes
    -----
    Input (N, C, H, W), output (N, C * kH * kW, positions): row ``(c * kH + i) * kW + j`` holds
    element (i, j) of the window over channel c.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Unfold((1, 2))(np.array([[[[1.0, 2.0, 3.0]]]]))
    array([[[1., 2.],
            [2., 3.]]])
    """

    ndim = 2

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self.kernel_size = as_ints(kernel_size, self.ndim, "Unfold", "kernel_size")
        self.dilation = as_ints(dilation, self.ndim, "Unfold", "dilation")
        self.padding = as_padding(padding, self.ndim, "Unfold")
        self.stride = as_ints(stride, self.ndim, "Unfold", "stride")

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C * kH * kW, positions) for an input (N, C, H, W)."""
        check_rank(input_shape, self.ndim, self.who)
        n, channels, *spatial = input_shape
        window = as_window(spatial, *self._geometry(), self.who)
        return (n, channels * window.taps, prod(window.output_shape(spatial, self.who)))

    def _geometry(self) -> tuple[Any, Any, Any, Any]:
        """Return what im2col and col2im take."""
        return self.kernel_size, self.stride, self.padding, self.dilation

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(tuple(x.shape))
        return im2col(x, *self._geometry()), tuple(x.shape[2:])

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return col2im(dy, saved, *self._geometry())
