"""Convolution layers.

What a convolution does is in :mod:`xpcnn.ops.conv`; here are the arguments, the parameters and the
shapes.

The names from other files: a ``Shape`` is a tuple of int, an ``Array`` of any library. A
``Parameter`` holds an array in `data`, and its gradient; ``fan_in_uniform`` draws its first
values. ``WeightedLayer`` is the base of layers with a weight and a bias, which calls `_forward`
and `_backward`: `operands` returns the arrays of both, in the dtype to compute in, and
`accumulate` adds to their gradients; ``self.who`` is the layer's name in messages. A ``Window`` is
the geometry (kernel, stride, padding, dilation); ``as_int``, ``as_ints`` and ``as_padding`` check
arguments, ``check_inferred`` looks for channels that are last, and ``rank_error`` and
``choice_error`` are errors, the former about axes other than ``LAYOUTS`` has. ``CONV.run(xp,
...)`` convolves and returns the output and what it keeps: ``saved(dy, need_dx)`` is the backward.
``PAD`` is the same for padding that is not zeros; ``pad_pairs`` checks how much, and
``PADDING_MODES`` are the ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.errors import choice_error, rank_error
from xpcnn.initializers import fan_in_uniform
from xpcnn.layers.layer import Shape, WeightedLayer, check_inferred
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.checks import LAYOUTS
from xpcnn.ops.conv import CONV
from xpcnn.ops.pad import PAD, PADDING_MODES, pad_pairs
from xpcnn.window import Window, as_int, as_ints, as_padding


class _ConvBase(WeightedLayer):
    """What convolutions, separable and transposed ones have in common: arguments and checks."""

    ndim: ClassVar[int]
    computes_with_operands = True
    in_channels: int | None
    groups: int = 1
    bias: Parameter | None

    def _set_arguments(
        self,
        in_channels: int | None,
        out_channels: int | None,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int = 1,
    ) -> None:
        """Check and keep the arguments that all have."""
        who = type(self).__name__
        if out_channels is None or kernel_size is None:
            raise TypeError(
                f"{who} needs out_channels and kernel_size; write {who}(1, 30, 5), or "
                f"{who}(out_channels=30, kernel_size=5) to infer in_channels from the input"
            )
        self.in_channels = (
            None if in_channels is None else as_int(in_channels, who, "in_channels", 1)
        )
        self.out_channels = as_int(out_channels, who, "out_channels", 1)
        self.kernel_size = as_ints(kernel_size, self.ndim, who, "kernel_size")
        self.stride = as_ints(stride, self.ndim, who, "stride")
        self.padding = as_padding(padding, self.ndim, who)
        self.dilation = as_ints(dilation, self.ndim, who, "dilation")
        self.groups = as_int(groups, who, "groups", 1)
        self._check_groups(self.in_channels)

    def _weight_shapes(self, in_channels: int | None) -> dict[str, tuple[int | None, ...]]:
        """Return the shape of every weight by name; what `in_channels` decides may be open."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _weight_shapes")

    def _declare(self, bias: bool) -> None:
        """Declare weights and bias."""
        for name, pattern in self._weight_shapes(None).items():
            weight = Parameter(None, _by_fan_in)
            weight.pattern = pattern
            setattr(self, name, weight)
        self.bias = Parameter((self.out_channels,), self._init_bias) if bias else None
        self._set_weight_shapes()

    def _set_weight_shapes(self) -> None:
        if self.in_channels is not None:
            for name, shape in self._weight_shapes(self.in_channels).items():
                getattr(self, name).shape = shape

    def _init_bias(self, shape: Shape, rng: Any) -> Any:
        """PyTorch's default: the bound of the weight, of the last one where there are two."""
        weight = getattr(self, list(self._weight_shapes(None))[-1])
        return fan_in_uniform(prod(weight.shape[1:]))(shape, rng)

    def window(self, spatial: Shape) -> Window:
        """Return the window for inputs of this size."""
        return Window.resolve(spatial, self.kernel_size, self.stride, self.padding, self.dilation)

    def _infer(self, input_shape: Shape) -> None:
        if self.in_channels is None and len(input_shape) == self.ndim + 2:
            self.in_channels = input_shape[1]
            self._set_weight_shapes()

    def _check_groups(self, in_channels: int | None) -> None:
        widths = {"in_channels": in_channels, "out_channels": self.out_channels}
        for name, channels in widths.items():
            if channels is not None and channels % self.groups:
                raise ValueError(
                    f"{self.who}: {name}={channels} must be divisible by groups={self.groups}"
                )

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) != self.ndim + 2:
            raise rank_error(self.who, self.ndim + 2, LAYOUTS[self.ndim], shape)
        if self.in_channels is None:
            check_inferred(self.who, shape)
            self._check_groups(shape[1])
        if self.in_channels is not None and shape[1] != self.in_channels:
            hint = ""
            if shape[-1] == self.in_channels:
                hint = "; the channels seem to be last, move them with numpy.moveaxis(x, -1, 1)"
            raise ValueError(
                f"{self.who}: expected {self.in_channels} input channels (axis 1), got "
                f"{shape[1]} in an input of shape {shape}{hint}"
            )


def _by_fan_in(shape: Shape, rng: Any) -> Any:
    """PyTorch's default: uniform on +-1 / sqrt(fan_in)."""
    return fan_in_uniform(prod(shape[1:]))(shape, rng)


class Conv(_ConvBase):
    """Convolution (cross-correlation) over any number of dimensions, with PyTorch's arguments.

    The layers to use are Conv1d, Conv2d and Conv3d.

    Parameters
    ----------
    in_channels : int, optional
        Channels of the input; inferred from the first input if left out.
    out_channels : int
        Number of filters.
    kernel_size : int or tuple of int
        Size of a filter.
    stride : int or tuple of int
        Step from one window position to the next.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Elements added at the borders. "same" gives ``ceil(n / stride)`` outputs for any stride;
        an odd element goes to the end.
    dilation : int or tuple of int
        Distance between the taps of a filter.
    groups : int
        Number of blocks the channels are cut into; each output sees its block only.
    bias : bool
        Whether to add a learned number per output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding holds.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels / groups, *kernel_size)
    bias : Parameter of shape (out_channels,), or None

    Raises
    ------
    ValueError
        If the arguments contradict each other, or an input has the wrong rank or channels or is
        smaller than the kernel.

    Notes
    -----
    Input (N, C, *spatial), output the same with `out_channels` and, per dimension,
    ``floor((n + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1``.
    """

    weight: Parameter

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        self._set_arguments(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups
        )
        if padding_mode not in PADDING_MODES:
            raise choice_error(type(self).__name__, "padding_mode", padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
        self._declare(bias)

    def geometry(self, shape: Shape) -> Window:
        """Check the shape of an input, and return the window for it."""
        self._check_shape(shape)
        window = self.window(shape[2:])
        if self.padding_mode != "zeros":
            pad_pairs(shape[2:], window.padding, self.padding_mode, self.who)
        window.output_shape(shape[2:], self.who)
        return window

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, out_channels, *out) for an input (N, in_channels, *spatial)."""
        window = self.geometry(tuple(input_shape))
        return (input_shape[0], self.out_channels, *window.output_shape(input_shape[2:]))

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return out elements times taps times input channels per group."""
        outputs = prod(self.output_shape(input_shape))
        return outputs * prod(self.kernel_size) * (input_shape[1] // self.groups)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        window, saved_pad = self.geometry(tuple(x.shape)), None
        if self.padding_mode != "zeros" and window.is_padded:
            x, saved_pad = PAD.run(xp, x, window.padding, self.padding_mode)
            window = window.without_padding()
        y, saved = CONV.run(xp, x, *self.operands(), window, self.groups)
        return y, (saved, saved_pad)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        saved, saved_pad = saved
        dx, dw, db = saved(dy, need_dx)
        self.accumulate(dw, db)
        if need_dx and saved_pad is not None:
            dx = saved_pad(dx)
        return dx

    def _after_load(self) -> None:
        if self.in_channels is None and self.weight.shape is not None:
            self.in_channels = self.weight.shape[1] * self.groups

    def _weight_shapes(self, in_channels: int | None) -> dict[str, tuple[int | None, ...]]:
        per_group = None if in_channels is None else in_channels // self.groups
        return {"weight": (self.out_channels, per_group, *self.kernel_size)}


class Conv1d(Conv, ndim=1):
    """One-dimensional convolution of (N, C, L); for the arguments see :class:`Conv`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Conv1d(3, 8, 3, padding="same")
    >>> layer(np.zeros((2, 3, 9), dtype="float32")).shape
    (2, 8, 9)
    """


class Conv2d(Conv, ndim=2):
    """Two-dimensional convolution of (N, C, H, W); for the arguments see :class:`Conv`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Conv2d(3, 8, 3, padding="same")
    >>> layer(np.zeros((2, 3, 9, 9), dtype="float32")).shape
    (2, 8, 9, 9)
    """


class Conv3d(Conv, ndim=3):
    """Three-dimensional convolution of (N, C, D, H, W); for the arguments see :class:`Conv`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Conv3d(3, 8, 3, padding="same")
    >>> layer(np.zeros((2, 3, 5, 5, 5), dtype="float32")).shape
    (2, 8, 5, 5, 5)
    """
