"""Layers that make images larger (or smaller) by interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpcnn._xp import Array, dtype_name
from xpcnn.errors import choice_error, rank_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.op_layer import OpLayer
from xpcnn.ops.checks import LAYOUTS, check_rank
from xpcnn.ops.resize import Taps
from xpcnn.ops.taps import LARGE_IMAGE, UPSAMPLE_MODES, upsample_taps
from xpcnn.window import as_int, as_number

RANKS = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
"""Number of spatial axes of the modes that are for one only."""


class Upsample(OpLayer):
    """Resize the spatial axes.

    Parameters
    ----------
    size : int or tuple of int, optional
        New length of the axes.
    scale_factor : float or tuple of float, optional
        By how much the axes get longer; the new length is rounded down. Give this or `size`.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"}
        "linear", "bilinear" and "trilinear" are for one, two and three spatial axes, "bicubic" for
        two (Keys, 1981, with a = -0.75), the others for any of them. "nearest" rounds positions
        down, "nearest-exact" takes the element whose middle is nearest.
    align_corners : bool, optional
        Whether the middles of the corner elements stay where they are, rather than their outer
        edges. Only where elements are mixed.
    recompute_scale_factor : bool, optional
        Whether distances are computed from the lengths, rather than from `scale_factor`; that
        differs where the new length was rounded.

    Raises
    ------
    ValueError
        If the arguments contradict each other, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, *spatial), output the same with other lengths. No filter prevents aliasing where
    axes get shorter. As in PyTorch, "nearest" in two dimensions repeats elements evenly where an
    axis keeps its length or doubles it, although 1.3 times three, say, is no whole number; in one
    and three dimensions, and where the new height and width come to more than 128 together,
    positions are divided by `scale_factor` there too.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Upsample(scale_factor=2)(np.array([[[1.0, 2.0]]]))
    array([[[1., 1., 2., 2.]]])
    >>> xpcnn.Upsample(scale_factor=2, mode="linear")(np.array([[[1.0, 2.0]]]))
    array([[[1.  , 1.25, 1.75, 2.  ]]])
    """

    op = "resize"

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        who = type(self).__name__
        if mode not in UPSAMPLE_MODES:
            raise choice_error(who, "mode", mode, UPSAMPLE_MODES)
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"{who}: give either size or scale_factor, got {size!r} and {scale_factor!r}"
            )
        if align_corners is not None and mode not in RANKS:
            raise ValueError(
                f"{who}: align_corners is only for modes that mix elements, {', '.join(RANKS)}; "
                f"leave it out with mode={mode!r}"
            )
        if recompute_scale_factor and size is not None:
            raise ValueError(f"{who}: recompute_scale_factor needs scale_factor, not size")
        self.size = None if size is None else _each(size, lambda n: as_int(n, who, "size", 1))
        self.scale_factor = None if scale_factor is None else _each(scale_factor, self._factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def _factor(self, value: Any) -> float:
        who = type(self).__name__
        factor = as_number(value, who, "scale_factor", finite=False)
        if not 0.0 < factor < math.inf:
            raise ValueError(f"{who}: scale_factor must be positive and finite, got {value!r}")
        return factor

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *new) for an input (N, C, *spatial)."""
        spatial = tuple(input_shape[2:])
        rank = RANKS.get(self.mode)
        if rank is not None:
            check_rank(input_shape, rank, self.who)
        if len(spatial) not in LAYOUTS:
            raise rank_error(self.who, 4, LAYOUTS[2], input_shape)
        if self.size is not None:
            return (*input_shape[:2], *self._per_axis(self.size, len(spatial), "size"))
        factors = self._per_axis(self.scale_factor, len(spatial), "scale_factor")
        new = tuple(math.floor(n * factor) for n, factor in zip(spatial, factors, strict=True))
        if min(new) < 1:
            raise ValueError(
                f"{self.who}: expected a larger input or scale_factor; {self.scale_factor} leaves "
                f"nothing of an input of shape {tuple(input_shape)}"
            )
        return (*input_shape[:2], *new)

    def _per_axis(self, value: Any, ndim: int, argument: str) -> tuple[Any, ...]:
        values = value if isinstance(value, tuple) else (value,) * ndim
        if len(values) != ndim:
            raise ValueError(
                f"{self.who}: expected one {argument}, or {ndim} for this input, got {value!r}"
            )
        return values

    def factors(self, ndim: int) -> tuple[float | None, ...]:
        """Return the factor of each axis; ``None`` where it follows from the lengths."""
        if self.scale_factor is None or self.recompute_scale_factor:
            return (None,) * ndim
        return self._per_axis(self.scale_factor, ndim, "scale_factor")

    def taps(self, shape: Sequence[int], dtype: str) -> list[Taps]:
        """Return what the positions of each spatial axis are made of, for such an input."""
        new = self.output_shape(shape)[2:]
        corners, ndim, large = bool(self.align_corners), len(new), sum(new) > LARGE_IMAGE
        return [
            upsample_taps(n, out, factor, self.mode, corners, dtype, ndim, large)
            for n, out, factor in zip(shape[2:], new, self.factors(ndim), strict=True)
        ]

    def _options(self, x: Array) -> tuple[Any, ...]:
        return (tuple(enumerate(self.taps(x.shape, dtype_name(x)), start=2)),)


class UpsamplingNearest2d(Upsample):
    """Resize images by repeating elements: :class:`Upsample` with mode "nearest".

    Parameters
    ----------
    size : int or tuple of int, optional
        New height and width.
    scale_factor : float or tuple of float, optional
        By how much they grow. Give this or `size`.

    Raises
    ------
    ValueError
        If the arguments contradict each other, or an input has the wrong rank.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.UpsamplingNearest2d(scale_factor=2)(np.array([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, new H, new W)."""
        check_rank(input_shape, 2, self.who)
        return super().output_shape(input_shape)


class UpsamplingBilinear2d(Upsample):
    """Resize images by mixing neighbours: :class:`Upsample` bilinear, with aligned corners.

    Parameters
    ----------
    size : int or tuple of int, optional
        New height and width.
    scale_factor : float or tuple of float, optional
        By how much they grow. Give this or `size`.

    Raises
    ------
    ValueError
        If the arguments contradict each other, or an input has the wrong rank.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.UpsamplingBilinear2d(size=(1, 3))(np.array([[[[2.0, 6.0]]]])).tolist()
    [[[[2.0, 4.0, 6.0]]]]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


def _each(value: Any, check: Any) -> Any:
    """Check one number, or each of several."""
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return tuple(check(item) for item in value)
    return check(value)
