"""Convolution and pooling whose weights, or whose padding, the layers do not take."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any, ClassVar

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, NoGradient, Operation
from xpcnn.operations.numbers import chosen
from xpcnn.ops import OPS
from xpcnn.ops.columns import col2im, im2col
from xpcnn.ops.pool import MAX_POOL_INDICES, avg_pool_divisor
from xpcnn.window import Ints, Window, as_int, as_ints, as_padding

Padding = str | Sequence[Any] | int


class _Windowed(Operation):
    """What convolution and pooling have in common: a window that slides."""

    padding: Any

    def _resolve(self, spatial: Ints, kernel: Ints, stride: Any, dilation: Any) -> Window:
        ndim = len(spatial)
        stride = as_ints(stride, ndim, self.who, "stride")
        dilation = as_ints(dilation, ndim, self.who, "dilation")
        if self.padding != "same_lower":
            padding = as_padding(self.padding, ndim, self.who)
            return Window.resolve(spatial, kernel, stride, padding, dilation)
        # as "same", with an odd element in front
        window = Window.resolve(spatial, kernel, stride, "same", dilation)
        pairs = tuple((after, before) for before, after in window.padding)
        return Window(kernel, stride, pairs, dilation)


def _checked(padding: Padding) -> Any:
    """Keep a padding as it can be compared and saved; its length is checked where it is used."""
    if isinstance(padding, str) or not hasattr(padding, "__iter__"):
        return padding
    return tuple(tuple(p) if hasattr(p, "__iter__") else p for p in padding)


class _Weighted(Operation):
    """What convolution and its transpose have in common: inputs x, weight and perhaps bias.

    A subclass names the operation, and returns in `_geometry` what it takes behind these.
    """

    op: ClassVar[str]
    groups: int

    def _geometry(self, spatial: Ints, kernel: Ints) -> tuple[Any, ...]:
        raise NotImplementedError

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x, w, b = (*inputs, None)[:3]
        if x.ndim != w.ndim or x.ndim < 3:
            raise ValueError(
                f"{self.who}: an input of shape {tuple(x.shape)} and a weight of shape "
                f"{tuple(w.shape)} do not fit together"
            )
        geometry = self._geometry(tuple(x.shape[2:]), tuple(w.shape[2:]))
        y, saved = OPS[self.op](x, w, b, *geometry, self.groups, who=self.who)
        return (y,), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return saved(dys[0], need[0])


class Convolution(_Weighted, _Windowed):
    """Convolution with weights that are inputs: x, weight, bias (which may be left out).

    Parameters
    ----------
    stride, dilation, groups
        As in :class:`xpcnn.Conv2d`; any number of dimensions.
    padding : int, sequence, "same", "same_lower" or "valid"
        As there, and "same_lower": as "same", but an odd element goes to the front.
    """

    op = "conv"

    def __init__(
        self, stride: Any = 1, padding: Padding = 0, dilation: Any = 1, groups: int = 1
    ) -> None:
        self.stride = stride
        self.padding = _checked(padding)
        self.dilation = dilation
        self.groups = as_int(groups, "Convolution", "groups", 1)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, O, *out)."""
        x, w = tuple(input_shapes[0] or ()), tuple(input_shapes[1] or ())
        window = self._resolve(x[2:], w[2:], self.stride, self.dilation)
        return ((x[0], w[0], *window.output_shape(x[2:], self.who)),)

    def _geometry(self, spatial: Ints, kernel: Ints) -> tuple[Any, ...]:
        return (self._resolve(spatial, kernel, self.stride, self.dilation),)


class TransposedConvolution(_Weighted):
    """Transposed convolution with weights that are inputs: x, weight, bias (may be left out).

    Parameters
    ----------
    stride, padding, output_padding, groups, dilation
        As in :class:`xpcnn.ConvTranspose2d`; any number of dimensions. Padding may be (before,
        after) pairs.
    """

    op = "conv_transpose"

    def __init__(
        self,
        stride: Any = 1,
        padding: Padding = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> None:
        self.stride = stride
        self.padding = _checked(padding)
        self.output_padding = output_padding
        self.groups = as_int(groups, "TransposedConvolution", "groups", 1)
        self.dilation = dilation

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, O, *out)."""
        x, w = tuple(input_shapes[0] or ()), tuple(input_shapes[1] or ())
        _, out = self._window(x[2:], w[2:])
        return ((x[0], w[1] * self.groups, *out),)

    def _window(self, spatial: Ints, kernel: Ints) -> tuple[Window, Ints]:
        """Return the window of the convolution that this one inverts, and the output's size."""
        ndim, who = len(kernel), self.who
        stride = as_ints(self.stride, ndim, who, "stride")
        extra = as_ints(self.output_padding, ndim, who, "output_padding", 0)
        dilation = as_ints(self.dilation, ndim, who, "dilation")
        padding = as_padding(self.padding, ndim, who)
        window = Window.resolve(spatial, kernel, stride, padding, dilation)
        out = tuple(
            (n - 1) * s + extent + more - before - after
            for n, s, extent, more, (before, after) in zip(
                spatial, stride, window.extent, extra, window.padding, strict=True
            )
        )
        if any(n < 1 for n in out):
            raise ValueError(f"{who}: nothing is left of an input of size {spatial}: {out}")
        return window, out

    _geometry = _window


class _Pooling(_Windowed):
    """What all pooling has in common.

    A subclass names the operation, and returns in `_options` what it takes behind the input.
    """

    op: ClassVar[str]

    def __init__(
        self,
        kernel_size: Sequence[int],
        stride: Any = 1,
        padding: Padding = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = as_ints(
            kernel_size, len(kernel_size), type(self).__name__, "kernel_size"
        )
        self.stride = stride
        self.padding = _checked(padding)
        self.dilation = dilation
        self.ceil_mode = bool(ceil_mode)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C, *out)."""
        x = tuple(input_shapes[0] or ())
        return ((*x[:2], *self._windows(x)[0].output_shape(x[2:], self.who)),)

    def _windows(self, shape: Shape) -> tuple[Window, Window]:
        """Return the window that covers all positions, and that without those of `ceil_mode`."""
        spatial = shape[2:]
        if len(spatial) != len(self.kernel_size):
            raise ValueError(
                f"{self.who}: a window {self.kernel_size} does not fit an input of shape {shape}"
            )
        asked = self._resolve(spatial, self.kernel_size, self.stride, self.dilation)
        return (asked.with_ceil(spatial) if self.ceil_mode else asked), asked

    def _options(self, x: Array) -> tuple[Any, ...]:
        return (self._windows(tuple(x.shape))[0],)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        y, saved = OPS[self.op](inputs[0], *self._options(inputs[0]), who=self.who)
        return (y,), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (saved(dys[0]),)


class MaxPooling(_Pooling):
    """Largest element under a sliding window of any rank, with padding of any size.

    Parameters
    ----------
    kernel_size : sequence of int
    stride, dilation : int or sequence of int
    padding : int, sequence, "same", "same_lower" or "valid"
        As in :class:`Convolution`.
    ceil_mode : bool
        Round the output size up.
    """

    op = "max_pool"


class AveragePooling(_Pooling):
    """Mean, or sum, of the elements under a sliding window of any rank.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in :class:`MaxPooling`.
    count_include_pad : bool
        Whether the zeros of the padding count as elements.
    divisor_override : int, optional
        Divide by this instead of the number of elements; 1 gives sums.
    """

    op = "avg_pool"

    def __init__(
        self,
        kernel_size: Sequence[int],
        stride: Any = 1,
        padding: Padding = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = divisor_override

    def _options(self, x: Array) -> tuple[Any, ...]:
        window, asked = self._windows(tuple(x.shape))
        counts = self.count_include_pad, self.divisor_override
        return window, avg_pool_divisor(window, tuple(x.shape[2:]), asked.padding, *counts)


class MaxPositions(NoGradient, _Pooling):
    """Where the largest element under each window is, as ONNX's MaxPool numbers them.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in :class:`MaxPooling`.
    column_major : bool
        Number the elements of a channel with the first spatial axis fastest.
    """

    def __init__(
        self,
        kernel_size: Sequence[int],
        stride: Any = 1,
        padding: Padding = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        column_major: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.column_major = bool(column_major)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        shape = tuple(x.shape)
        window, _ = self._windows(shape)
        (_, places), _ = MAX_POOL_INDICES(x, window, who=self.who)
        if self.column_major:
            # the last axis of a place is what is left after division by the axis' length
            rest, places, step = places, xp.zeros_like(places), prod(shape[2:])
            for n in reversed(shape[2:]):
                step //= n
                places = places + rest % n * step
                rest = rest // n
        planes = xp.arange(shape[0] * shape[1], dtype=places.dtype, device=_xp.device_of(places))
        planes = xp.reshape(planes, (*shape[:2], *(1,) * (x.ndim - 2)))
        return (places + planes * prod(shape[2:]),), None


class GlobalPooling(Operation):
    """The mean or the largest of all positions of a channel, for any number of spatial axes.

    Parameters
    ----------
    kind : {"mean", "max"}
    """

    def __init__(self, kind: str = "mean") -> None:
        self.kind = kind

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C, 1, ...)."""
        shape = tuple(input_shapes[0] or ())
        return ((*shape[:2], *(1,) * (len(shape) - 2)),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        op = "global_avg_pool" if self.kind == "mean" else "global_max_pool"
        y, saved = OPS[op](x, who=self.who)
        return (xp.reshape(y, self.output_shapes(tuple(x.shape))[0]),), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (saved(xp.reshape(dys[0], tuple(dys[0].shape[:2]))),)


class Col2Im(Operation):
    """Columns, one for each position of a window, added up to images.

    See :func:`xpcnn.functional.col2im`.

    Inputs are the columns (N, C * taps, positions), the size of the images and, last, the size
    of the window.

    Parameters
    ----------
    stride, padding, dilation
        As in :class:`Convolution`.
    """

    def __init__(self, stride: Any = 1, padding: Padding = 0, dilation: Any = 1) -> None:
        self.stride = stride
        self.padding = _checked(padding)
        self.dilation = dilation

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        size, kernel = chosen(None, inputs, 1) or (), chosen(None, inputs, 2) or ()
        geometry = (kernel, self.stride, self.padding, self.dilation)
        return (col2im(inputs[0], size, *geometry),), geometry

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (im2col(dys[0], *saved),)
