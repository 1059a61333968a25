"""Pooling layers that are given the size of their output."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.pool import no_indices
from xpcnn.ops.adaptive_pool import (
    adaptive_pool_backward,
    adaptive_pool_forward,
    adaptive_size,
    as_output_size,
)
from xpcnn.ops.checks import check_rank


class AdaptivePool(Layer):
    """Mean or largest element of as many windows as asked for, over any number of dimensions.

    The layers to use are AdaptiveAvgPool1d, AdaptiveMaxPool1d, and so on up to three dimensions.

    Parameters
    ----------
    output_size : int or None, or a tuple of them
        Number of windows per dimension, which need not divide the size of the input and may exceed
        it; ``None`` keeps an axis as it is.

    Raises
    ------
    ValueError
        If an input has the wrong rank.

    Notes
    -----
    Input (N, C, *spatial), output the same with `output_size` positions. Along an axis of length n,
    window i of m goes from ``floor(i n / m)`` up to ``ceil((i + 1) n / m)``, as in PyTorch.
    """

    ndim: ClassVar[int]
    kind: ClassVar[str]

    def __init__(self, output_size: Any) -> None:
        self.output_size = as_output_size(output_size, self.ndim, type(self).__name__)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *output_size) for an input (N, C, *spatial)."""
        check_rank(input_shape, self.ndim, self.who)
        return (*input_shape[:2], *adaptive_size(tuple(input_shape[2:]), self.output_size))

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return adaptive_pool_forward(self.kind, x, self.output_size, who=self.who)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return adaptive_pool_backward(dy, saved) if need_dx else None


class AdaptiveMaxPool(AdaptivePool):
    """Largest element of as many windows as asked for; see :class:`AdaptivePool`.

    Parameters
    ----------
    output_size : int or None, or a tuple of them
        Number of windows per dimension.
    return_indices : bool
        Present for PyTorch's order of arguments; must be ``False``.

    Notes
    -----
    The gradient goes to the first of equal elements.
    """

    kind = "max"

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.return_indices = no_indices(return_indices, type(self).__name__)
        super().__init__(output_size)


class AdaptiveAvgPool1d(AdaptivePool):
    """Average pooling of (N, C, L) to a given size; see :class:`AdaptivePool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.AdaptiveAvgPool1d(3)
    >>> layer(np.zeros((2, 4, 8), dtype="float32")).shape
    (2, 4, 3)
    """

    ndim, kind = 1, "avg"


class AdaptiveAvgPool2d(AdaptivePool):
    """Average pooling of (N, C, H, W) to a given size; see :class:`AdaptivePool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.AdaptiveAvgPool2d(3)
    >>> layer(np.zeros((2, 4, 8, 8), dtype="float32")).shape
    (2, 4, 3, 3)
    """

    ndim, kind = 2, "avg"


class AdaptiveAvgPool3d(AdaptivePool):
    """Average pooling of (N, C, D, H, W) to a given size; see :class:`AdaptivePool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.AdaptiveAvgPool3d(3)
    >>> layer(np.zeros((2, 4, 8, 8, 8), dtype="float32")).shape
    (2, 4, 3, 3, 3)
    """

    ndim, kind = 3, "avg"


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """Max pooling of (N, C, L) to a given size; see :class:`AdaptiveMaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.AdaptiveMaxPool1d(3)
    >>> layer(np.zeros((2, 4, 8), dtype="float32")).shape
    (2, 4, 3)
    """

    ndim = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """Max pooling of (N, C, H, W) to a given size; see :class:`AdaptiveMaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.AdaptiveMaxPool2d(3)
    >>> layer(np.zeros((2, 4, 8, 8), dtype="float32")).shape
    (2, 4, 3, 3)
    """

    ndim = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """Max pooling of (N, C, D, H, W) to a given size; see :class:`AdaptiveMaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.AdaptiveMaxPool3d(3)
    >>> layer(np.zeros((2, 4, 8, 8, 8), dtype="float32")).shape
    (2, 4, 3, 3, 3)
    """

    ndim = 3
