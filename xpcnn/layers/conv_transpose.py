"""Transposed convolution layers.

What a transposed convolution does is in :mod:`xpcnn.ops.conv_transpose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.layers.conv import _ConvBase
from xpcnn.layers.layer import Shape
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.conv_transpose import CONV_TRANSPOSE, transposed_window
from xpcnn.window import Window, as_ints


class ConvTranspose(_ConvBase):
    """Transposed convolution over any number of dimensions, with PyTorch's arguments.

    A convolution run backwards: what :class:`~xpcnn.layers.conv.Conv` does to gradients. With a
    stride it makes its input larger. The layers to use are ConvTranspose1d, ConvTranspose2d and
    ConvTranspose3d.

    Parameters
    ----------
    in_channels : int, optional
        Channels of the input; inferred from the first input if left out.
    out_channels : int
        Channels of the output.
    kernel_size : int or tuple of int
        Size of a filter.
    stride : int or tuple of int
        Distance in the output from what one input element adds to to what the next one does.
    padding : int, tuple of int, tuple of (before, after) pairs, "same" or "valid"
        Elements cut off at the borders of the output. "same" gives ``n * stride`` outputs.
    output_padding : int or tuple of int
        Elements added to the output behind its end: several output sizes belong to one input size.
        Less than the stride or than the dilation.
    groups : int
        Number of blocks the channels are cut into; each output sees its block only.
    bias : bool
        Whether to add a learned number per output channel.
    dilation : int or tuple of int
        Distance between the taps of a filter.
    padding_mode : {"zeros"}
        Present for PyTorch's order of arguments.

    Attributes
    ----------
    weight : Parameter of shape (in_channels, out_channels / groups, *kernel_size)
    bias : Parameter of shape (out_channels,), or None

    Raises
    ------
    ValueError
        If the arguments contradict each other, or an input has the wrong rank or channels, or
        nothing is left of the output.

    Notes
    -----
    Input (N, C, *spatial), output the same with `out_channels` and, per dimension,
    ``(n - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1``.

    Source: Zeiler et al., "Deconvolutional networks" (2010); Dumoulin & Visin, "A guide to
    convolution arithmetic for deep learning" (2016).
    """

    weight: Parameter

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
    ) -> None:
        who = type(self).__name__
        self._set_arguments(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups
        )
        self.output_padding = as_ints(output_padding, self.ndim, who, "output_padding", 0)
        if padding_mode != "zeros":
            raise choice_error(who, "padding_mode", padding_mode, ("zeros",))
        self.padding_mode = padding_mode
        self._declare(bias)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, out_channels, *out) for an input (N, in_channels, *spatial)."""
        self._check_shape(tuple(input_shape))
        _, out = self.transposed_window(tuple(input_shape[2:]))
        return (input_shape[0], self.out_channels, *out)

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return input elements times taps times output channels per group."""
        taps = prod(self.kernel_size)
        return prod(input_shape) * taps * (self.out_channels // self.groups)

    def transposed_window(self, spatial: Shape) -> tuple[Window, Shape]:
        """Return the window that is run backwards, and the output size, for inputs of this size."""
        steps = (self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation)
        return transposed_window(spatial, *steps, self.who)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self._check_shape(tuple(x.shape))
        window, out = self.transposed_window(tuple(x.shape[2:]))
        return CONV_TRANSPOSE.run(xp, x, *self.operands(), window, out, self.groups)

    def _after_load(self) -> None:
        if self.in_channels is None and self.weight.shape is not None:
            self.in_channels = self.weight.shape[0]

    def _weight_shapes(self, in_channels: int | None) -> dict[str, tuple[int | None, ...]]:
        return {"weight": (in_channels, self.out_channels // self.groups, *self.kernel_size)}


class ConvTranspose1d(ConvTranspose, ndim=1):
    """One-dimensional :class:`ConvTranspose` of (N, C, L); for the arguments see there.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ConvTranspose1d(3, 8, 3, stride=2, padding=1, output_padding=1)
    >>> layer(np.zeros((2, 3, 4), dtype="float32")).shape
    (2, 8, 8)
    """


class ConvTranspose2d(ConvTranspose, ndim=2):
    """Two-dimensional :class:`ConvTranspose` of (N, C, H, W); for the arguments see there.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1)
    >>> layer(np.zeros((2, 3, 4, 4), dtype="float32")).shape
    (2, 8, 8, 8)
    """


class ConvTranspose3d(ConvTranspose, ndim=3):
    """Three-dimensional :class:`ConvTranspose` of (N, C, D, H, W); for the arguments see there.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ConvTranspose3d(3, 8, 3, stride=2, padding=1, output_padding=1)
    >>> layer(np.zeros((2, 3, 4, 4, 4), dtype="float32")).shape
    (2, 8, 8, 8, 8)
    """
