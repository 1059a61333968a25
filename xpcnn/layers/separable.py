"""Separable convolution layers, as Keras has them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.layers.conv import _ConvBase
from xpcnn.layers.layer import Shape
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.conv import CONV
from xpcnn.window import Window, as_int


class SeparableConv(_ConvBase):
    """Separable convolution over any number of dimensions, as Keras has it.

    Each channel is convolved with `depth_multiplier` filters of its own, and the results are mixed
    position by position; the bias comes last. Nothing is applied in between. The layers to use are
    SeparableConv1d and SeparableConv2d.

    Parameters
    ----------
    in_channels : int, optional
        Channels of the input; inferred from the first input if left out.
    out_channels : int
        Channels of the output.
    kernel_size : int or tuple of int
        Size of a filter.
    stride : int or tuple of int
        Step from one window position to the next.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Zeros added at the borders. "same" gives ``ceil(n / stride)`` outputs for any stride; an odd
        element goes to the end.
    dilation : int or tuple of int
        Distance between the taps of a filter.
    depth_multiplier : int
        Filters for each input channel.
    bias : bool
        Whether to add a learned number per output channel.

    Attributes
    ----------
    depthwise_weight : Parameter of shape (in_channels * depth_multiplier, 1, *kernel_size)
        Filter ``c * depth_multiplier + m`` is number m of channel c.
    pointwise_weight : Parameter of shape (out_channels, in_channels * depth_multiplier, 1, ...)
    bias : Parameter of shape (out_channels,), or None

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or channels or is smaller
        than the kernel.

    Notes
    -----
    Input (N, C, *spatial), output the same with `out_channels`.

    Of Keras' weights, depthwise_kernel (kH, kW, C, M) becomes
    ``moveaxis(k.reshape(kH, kW, C * M, 1), (-2, -1), (0, 1))``, and pointwise_kernel
    (1, 1, C * M, O) ``moveaxis(k, (-1, -2), (0, 1))``; in one dimension there is k for kH, kW, and
    one 1.

    Source: Chollet, "Xception" (2017).
    """

    depthwise_weight: Parameter
    pointwise_weight: Parameter

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
    ) -> None:
        self._set_arguments(in_channels, out_channels, kernel_size, stride, padding, dilation)
        self.depth_multiplier = as_int(depth_multiplier, type(self).__name__, "depth_multiplier", 1)
        self._declare(bias)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, out_channels, *out) for an input (N, in_channels, *spatial)."""
        window = self.geometry(tuple(input_shape))
        return (input_shape[0], self.out_channels, *window.output_shape(input_shape[2:]))

    def geometry(self, shape: Shape) -> Window:
        """Check the shape of an input, and return the window for it."""
        self._check_shape(shape)
        window = self.window(shape[2:])
        window.output_shape(shape[2:], self.who)
        return window

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return positions times channels in between times taps and output channels."""
        positions = prod(self.output_shape(input_shape)) // self.out_channels
        between = input_shape[1] * self.depth_multiplier
        return positions * between * (prod(self.kernel_size) + self.out_channels)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        window = self.geometry(tuple(x.shape))
        weight = self.depthwise_weight.operand
        between, depthwise = CONV.run(xp, x, weight, None, window, x.shape[1])
        bias = None if self.bias is None else self.bias.operand
        weight = self.pointwise_weight.operand
        y, pointwise = CONV.run(xp, between, weight, bias, self._point(), 1)
        return y, (depthwise, pointwise)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        depthwise, pointwise = saved
        between, dw, db = pointwise(dy, True)
        self.pointwise_weight.accumulate(dw)
        if self.bias is not None:
            self.bias.accumulate(db)
        dx, dw, _ = depthwise(between, need_dx)
        self.depthwise_weight.accumulate(dw)
        return dx

    def _point(self) -> Window:
        """Return the window that sees one position."""
        ones = (1,) * self.ndim
        return Window(ones, ones, ((0, 0),) * self.ndim, ones)

    def _after_load(self) -> None:
        if self.in_channels is None and self.depthwise_weight.shape is not None:
            self.in_channels = self.depthwise_weight.shape[0] // self.depth_multiplier

    def _weight_shapes(self, in_channels: int | None) -> dict[str, tuple[int | None, ...]]:
        between = None if in_channels is None else in_channels * self.depth_multiplier
        return {
            "depthwise_weight": (between, 1, *self.kernel_size),
            "pointwise_weight": (self.out_channels, between, *(1,) * self.ndim),
        }


class SeparableConv1d(SeparableConv, ndim=1):
    """One-dimensional :class:`SeparableConv` of (N, C, L); for the arguments see there.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.SeparableConv1d(3, 8, 3, padding="same", depth_multiplier=2)
    >>> layer(np.zeros((2, 3, 9), dtype="float32")).shape
    (2, 8, 9)
    """


class SeparableConv2d(SeparableConv, ndim=2):
    """Two-dimensional :class:`SeparableConv` of (N, C, H, W); for the arguments see there.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.SeparableConv2d(3, 8, 3, padding="same", depth_multiplier=2)
    >>> layer(np.zeros((2, 3, 9, 9), dtype="float32")).shape
    (2, 8, 9, 9)
    """
