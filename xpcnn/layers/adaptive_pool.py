"""Pooling layers that are given the size of their output."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.layers.layer import Layer, Shape
from xpcnn.ops.adaptive_pool import (
    adaptive_pool_backward,
    adaptive_pool_forward,
    adaptive_size,
    as_output_size,
)
from xpcnn.ops.checks import LAYOUTS


class _AdaptivePool(Layer):
    """What adaptive pooling of all kinds and ranks has in common."""

    ndim: ClassVar[int]
    kind: ClassVar[str]

    def __init__(self, output_size: Any) -> None:
        self.output_size = as_output_size(output_size, self.ndim, type(self).__name__)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *output_size) for an input (N, C, *spatial)."""
        if len(input_shape) != self.ndim + 2:
            raise rank_error(self.who, self.ndim + 2, LAYOUTS[self.ndim], input_shape)
        return (*input_shape[:2], *adaptive_size(tuple(input_shape[2:]), self.output_size))

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return adaptive_pool_forward(self.kind, x, self.output_size, who=self.who)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return adaptive_pool_backward(dy, saved) if need_dx else None


class _AdaptiveMaxPool(_AdaptivePool):
    kind = "max"

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        if return_indices:
            raise ValueError(
                f"{type(self).__name__}: return_indices is not supported, since a layer has one "
                "output; leave it out"
            )
        self.return_indices = False
        super().__init__(output_size)


class AdaptiveAvgPool1d(_AdaptivePool):
    ndim, kind = 1, "avg"


class AdaptiveAvgPool2d(_AdaptivePool):
    ndim, kind = 2, "avg"


class AdaptiveAvgPool3d(_AdaptivePool):
    ndim, kind = 3, "avg"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    ndim = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    ndim = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    ndim = 3


_DOC = """{what} of as many windows as asked for, over {ndim} dimension(s).

    Parameters
    ----------
    output_size : int or None, or a tuple of them
        Number of windows per dimension, which need not divide the size of the input and may exceed
        it; ``None`` keeps an axis as it is.{more}

    Raises
    ------
    ValueError
        If an input has the wrong rank.

    Notes
    -----
    Input {layout}, output the same with `output_size` positions. Along an axis of length n, window
    i of m goes from ``floor(i n / m)`` up to ``ceil((i + 1) n / m)``, as in PyTorch.{note}

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.{name}(3)
    >>> layer(np.zeros({shape}, dtype="float32")).shape
    {result}
    """

_INDICES = """
    return_indices : bool
        Present for PyTorch's order of arguments; must be ``False``."""

_cls: type[_AdaptivePool]
for _cls in (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
):
    _is_max = _cls.kind == "max"
    _cls.__doc__ = _DOC.format(
        what="Largest element" if _is_max else "Mean",
        ndim=_cls.ndim,
        layout=LAYOUTS[_cls.ndim],
        name=_cls.__name__,
        more=_INDICES if _is_max else "",
        note=" The\n    gradient goes to the first of equal elements." if _is_max else "",
        shape=(2, 4, *(8,) * _cls.ndim),
        result=(2, 4, *(3,) * _cls.ndim),
    )
