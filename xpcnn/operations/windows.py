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
from xpcnn.ops.conv_transpose import transposed_window
from xpcnn.ops.pool import MAX_POOL_INDICES, avg_pool_divisor
from xpcnn.window import Ints, Window, as_int, as_ints, as_padding, as_window

Padding = str | Sequence[Any] | int


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


class Convolution(_Weighted):
    """Convolution with weights that are inputs: x, weight, bias (which may be left out).

    Parameters
    ----------
    stride, dilation, groups
        As in :class:`xpcnn.Conv2d`; any number of dimensions.
    padding : int, sequence, "same", "same_lower" or "valid"
        As there, and "same_lower": as "same", but an odd element goes to the front.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Convolution
    >>> x, weight = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 10.0]]])
    >>> Convolution()(x, weight).tolist()
    [[[21.0, 42.0]]]
    >>> Convolution(padding="same_lower")(x, weight, np.array([0.5])).tolist()
    [[[10.5, 21.5, 42.5]]]
    """

    op = "conv"
    padding_mode = "zeros"

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
        window = self.window(x[2:], w[2:])
        return ((x[0], w[0], *window.output_shape(x[2:], self.who)),)

    def window(self, spatial: Ints, kernel: Ints) -> Window:
        """Return the window for inputs and kernels of these sizes."""
        geometry = (kernel, self.stride, self.padding, self.dilation)
        return as_window(spatial, *geometry, self.who, lower=True)

    def _geometry(self, spatial: Ints, kernel: Ints) -> tuple[Any, ...]:
        return (self.window(spatial, kernel),)


class TransposedConvolution(_Weighted):
    """Transposed convolution with weights that are inputs: x, weight, bias (may be left out).

    Parameters
    ----------
    stride, padding, output_padding, groups, dilation
        As in :class:`xpcnn.ConvTranspose2d`; any number of dimensions. Padding may be (before,
        after) pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import TransposedConvolution
    >>> x, weight = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0]]])
    >>> TransposedConvolution()(x, weight).tolist()
    [[[1.0, 12.0, 20.0]]]
    >>> TransposedConvolution(stride=2)(x, weight).tolist()
    [[[1.0, 10.0, 2.0, 20.0]]]
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
        _, out = self.transposed_window(x[2:], w[2:])
        return ((x[0], w[1] * self.groups, *out),)

    def transposed_window(self, spatial: Ints, kernel: Ints) -> tuple[Window, Ints]:
        """Return the window that is run backwards, and the output size, for these sizes."""
        ndim, who = len(kernel), self.who
        return transposed_window(
            spatial,
            kernel,
            as_ints(self.stride, ndim, who, "stride"),
            as_padding(self.padding, ndim, who),
            as_ints(self.output_padding, ndim, who, "output_padding", 0),
            as_ints(self.dilation, ndim, who, "dilation"),
            who,
            limited=False,
        )

    _geometry = transposed_window


class _Pooling(Operation):
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
        who, ndim = type(self).__name__, len(kernel_size)
        self.kernel_size = as_ints(kernel_size, ndim, who, "kernel_size")
        self.stride = stride
        self.padding = _checked(padding)
        self.dilation = dilation
        self.ceil_mode = bool(ceil_mode)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C, *out)."""
        x = tuple(input_shapes[0] or ())
        return ((*x[:2], *self.geometry(x).output_shape(x[2:], self.who)),)

    def geometry(self, shape: Shape) -> Window:
        """Check the shape of an input, and return the window for it."""
        if len(shape) != 2 + len(self.kernel_size):
            raise ValueError(
                f"{self.who}: a window {self.kernel_size} does not fit an input of shape {shape}"
            )
        return self.window(shape[2:])

    def window(self, spatial: Shape) -> Window:
        """Return the window for inputs of this size."""
        asked = self.window_without_ceil(spatial)
        return asked.with_ceil(spatial) if self.ceil_mode else asked

    def window_without_ceil(self, spatial: Shape) -> Window:
        """Return the window without the end padding that `ceil_mode` adds."""
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        return as_window(spatial, *geometry, self.who, lower=True)

    def _options(self, x: Array) -> tuple[Any, ...]:
        return (self.geometry(tuple(x.shape)),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        y, saved = OPS[self.op](inputs[0], *self._options(inputs[0]), who=self.who)
        return (y,), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (saved(dys[0]),)


class MaxPooling(_Pooling, op="max_pool"):
    """Largest element under a sliding window of any rank, with padding of any size.

    Parameters
    ----------
    kernel_size : sequence of int
    stride, dilation : int or sequence of int
    padding : int, sequence, "same", "same_lower" or "valid"
        As in :class:`Convolution`.
    ceil_mode : bool
        Round the output size up.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import MaxPooling
    >>> MaxPooling([2], stride=2, ceil_mode=True)(np.array([[[1.0, 3.0, 2.0]]])).tolist()
    [[[3.0, 2.0]]]
    """


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

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import AveragePooling
    >>> x = np.array([[[1.0, 3.0, 2.0]]])
    >>> AveragePooling([2], padding="same")(x).tolist()
    [[[2.0, 2.5, 2.0]]]
    >>> AveragePooling([2], padding="same", count_include_pad=True)(x).tolist()
    [[[2.0, 2.5, 1.0]]]
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
        window, spatial = self.geometry(tuple(x.shape)), tuple(x.shape[2:])
        asked = self.window_without_ceil(spatial).padding
        counts = self.count_include_pad, self.divisor_override
        return window, avg_pool_divisor(window, spatial, asked, *counts)


class MaxPositions(NoGradient, _Pooling):
    """Where the largest element under each window is, as ONNX's MaxPool numbers them.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in :class:`MaxPooling`.
    column_major : bool
        Number the elements of a channel with the first spatial axis fastest.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import MaxPositions
    >>> x = np.array([[[[1.0, 2.0], [4.0, 3.0]], [[5.0, 8.0], [6.0, 7.0]]]])
    >>> MaxPositions([2, 2])(x).tolist()  # the second channel is numbered from 4 on
    [[[[2]], [[5]]]]
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
        (_, places), _ = MAX_POOL_INDICES(x, self.geometry(shape), who=self.who)
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

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import GlobalPooling
    >>> x = np.array([[[[1.0, 2.0], [3.0, 6.0]]]])
    >>> GlobalPooling()(x).tolist(), GlobalPooling("max")(x).tolist()
    ([[[[3.0]]]], [[[[6.0]]]])
    """

    keepdims = True

    def __init__(self, kind: str = "mean") -> None:
        self.kind = kind

    @property
    def op(self) -> str:
        """The name of what is computed."""
        return "global_avg_pool" if self.kind == "mean" else "global_max_pool"

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C, 1, ...)."""
        shape = tuple(input_shapes[0] or ())
        return ((*shape[:2], *(1,) * (len(shape) - 2)),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        y, saved = OPS[self.op](x, who=self.who)
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

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Col2Im
    >>> columns = np.array([[[1.0, 2.0], [10.0, 20.0]]])  # two taps at two positions
    >>> Col2Im()(columns, np.array([3]), np.array([2])).tolist()
    [[[1.0, 12.0, 20.0]]]
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
