"""Layers that add elements around the spatial axes, or crop them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.op_layer import OpLayer
from xpcnn.ops.checks import check_rank
from xpcnn.ops.pad import pad_pairs
from xpcnn.window import Ints, Pairs, as_int, as_number


@lru_cache(maxsize=512)
def _padded(spatial: Ints, pairs: Pairs, mode: str, who: str) -> Ints:
    """Check that an input of that size can be padded so, and return the padded size."""
    pad_pairs(spatial, pairs, mode, who)
    return tuple(n + sum(sides) for n, sides in zip(spatial, pairs, strict=True))


class _Pad(OpLayer):
    """What the layers that extend the spatial axes have in common."""

    op = "pad"
    ndim: ClassVar[int]
    mode: ClassVar[str]
    value: float = 0.0
    padding: Ints

    def __init__(self, padding: Any) -> None:
        self.padding = self._sides(padding)

    def _sides(self, padding: Any) -> Ints:
        who, count = type(self).__name__, 2 * self.ndim
        single = not hasattr(padding, "__iter__") or isinstance(padding, str)
        values = (padding,) * count if single else tuple(padding)
        if len(values) != count:
            raise ValueError(
                f"{who}: padding must be one integer, or {count}: before and after the last axis, "
                f"then before and after the one in front of it, and so on; got {padding!r}"
            )
        return tuple(as_int(n, who, "padding", -sys.maxsize) for n in values)

    @property
    def pairs(self) -> Pairs:
        """The (before, after) of each spatial axis, the first axis first."""
        return tuple(zip(self.padding[-2::-2], self.padding[::-2], strict=True))

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *spatial) with the padding added."""
        check_rank(input_shape, self.ndim, self.who)
        padded = _padded(tuple(input_shape[2:]), self.pairs, self.mode, self.who)
        return (*input_shape[:2], *padded)

    def _options(self, x: Array) -> tuple[Any, ...]:
        self.output_shape(x.shape)
        return self.pairs, self.mode, self.value


class ConstantPad(_Pad):
    """Extend the spatial axes by a constant.

    The layers to use are ConstantPad1d, ConstantPad2d and ConstantPad3d.

    Parameters
    ----------
    padding : int or tuple of int
        Elements to add on every side, or two numbers for each axis: before and after the last axis,
        then before and after the one in front of it, and so on, as in PyTorch. Negative numbers
        crop.
    value : float
        What the added elements are.

    Raises
    ------
    ValueError
        If an input has the wrong rank, or an axis is cropped to nothing.

    Notes
    -----
    Input (N, C, *spatial), output the same with longer axes.
    """

    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = as_number(value, type(self).__name__, "value", finite=False)


class ZeroPad(_Pad):
    """Extend the spatial axes by zeros.

    The layers to use are ZeroPad1d, ZeroPad2d and ZeroPad3d.

    Parameters
    ----------
    padding : int or tuple of int
        Elements to add on every side, or two numbers for each axis: before and after the last axis,
        then before and after the one in front of it, and so on, as in PyTorch. Negative numbers
        crop.

    Raises
    ------
    ValueError
        If an input has the wrong rank, or an axis is cropped to nothing.

    Notes
    -----
    Input (N, C, *spatial), output the same with longer axes.
    """

    mode = "constant"


class ReflectionPad(_Pad):
    """Extend the spatial axes by their mirror image, without repeating the edge.

    The layers to use are ReflectionPad1d, ReflectionPad2d and ReflectionPad3d.

    Parameters
    ----------
    padding : int or tuple of int
        Elements to add on every side, or two numbers for each axis: before and after the last axis,
        then before and after the one in front of it, and so on, as in PyTorch. Negative numbers
        crop.

    Raises
    ------
    ValueError
        If an input has the wrong rank, or an axis is not longer than that.

    Notes
    -----
    Input (N, C, *spatial), output the same with longer axes.
    """

    mode = "reflect"


class ReplicationPad(_Pad):
    """Extend the spatial axes by copies of the edge.

    The layers to use are ReplicationPad1d, ReplicationPad2d and ReplicationPad3d.

    Parameters
    ----------
    padding : int or tuple of int
        Elements to add on every side, or two numbers for each axis: before and after the last axis,
        then before and after the one in front of it, and so on, as in PyTorch. Negative numbers
        crop.

    Raises
    ------
    ValueError
        If an input has the wrong rank, or an axis is cropped to nothing.

    Notes
    -----
    Input (N, C, *spatial), output the same with longer axes.
    """

    mode = "replicate"


class CircularPad(_Pad):
    """Extend the spatial axes by what stands at the other end.

    The layers to use are CircularPad1d, CircularPad2d and CircularPad3d.

    Parameters
    ----------
    padding : int or tuple of int
        Elements to add on every side, or two numbers for each axis: before and after the last axis,
        then before and after the one in front of it, and so on, as in PyTorch. Negative numbers
        crop.

    Raises
    ------
    ValueError
        If an input has the wrong rank, or an axis is shorter than that.

    Notes
    -----
    Input (N, C, *spatial), output the same with longer axes.
    """

    mode = "circular"


class ConstantPad1d(ConstantPad, ndim=1):
    """Constant padding of (N, C, L); for the arguments see :class:`ConstantPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ConstantPad1d(1, 9.0)(np.array([[[1.0, 2.0]]])).tolist()
    [[[9.0, 1.0, 2.0, 9.0]]]
    """


class ConstantPad2d(ConstantPad, ndim=2):
    """Constant padding of (N, C, H, W); for the arguments see :class:`ConstantPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ConstantPad2d((1, 0, 0, 1), 5.0)  # left, right, top, bottom
    >>> layer(np.array([[[[1.0]]]])).tolist()
    [[[[5.0, 1.0], [5.0, 5.0]]]]
    """


class ConstantPad3d(ConstantPad, ndim=3):
    """Constant padding of (N, C, D, H, W); for the arguments see :class:`ConstantPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.ConstantPad3d(1, 1.0)(np.zeros((1, 1, 1, 1, 1)))
    >>> y.shape, float(y.sum())  # all of 3 * 3 * 3 numbers but one
    ((1, 1, 3, 3, 3), 26.0)
    """


class ZeroPad1d(ZeroPad, ndim=1):
    """Zero padding of (N, C, L); for the arguments see :class:`ZeroPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ZeroPad1d((1, 2))(np.array([[[5.0, 6.0]]])).tolist()
    [[[0.0, 5.0, 6.0, 0.0, 0.0]]]
    """


class ZeroPad2d(ZeroPad, ndim=2):
    """Zero padding of (N, C, H, W); for the arguments see :class:`ZeroPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ZeroPad2d(1)(np.array([[[[5.0]]]])).tolist()
    [[[[0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]]]
    """


class ZeroPad3d(ZeroPad, ndim=3):
    """Zero padding of (N, C, D, H, W); for the arguments see :class:`ZeroPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ZeroPad3d((0, 0, 0, 0, 1, 1))  # the last axis comes first
    >>> layer(np.ones((1, 1, 2, 2, 2))).shape
    (1, 1, 4, 2, 2)
    """


class ReflectionPad1d(ReflectionPad, ndim=1):
    """Reflection padding of (N, C, L); for the arguments see :class:`ReflectionPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ReflectionPad1d(2)(np.array([[[1.0, 2.0, 3.0]]])).tolist()  # 1 and 3 stay single
    [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]]]
    """


class ReflectionPad2d(ReflectionPad, ndim=2):
    """Reflection padding of (N, C, H, W); for the arguments see :class:`ReflectionPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ReflectionPad2d((1, 0, 1, 0))  # left, right, top, bottom
    >>> layer(np.array([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]))[0, 0].tolist()
    [[5.0, 4.0, 5.0, 6.0], [2.0, 1.0, 2.0, 3.0], [5.0, 4.0, 5.0, 6.0]]
    """


class ReflectionPad3d(ReflectionPad, ndim=3):
    """Reflection padding of (N, C, D, H, W); for the arguments see :class:`ReflectionPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.ReflectionPad3d(1)(np.arange(27.0).reshape(1, 1, 3, 3, 3))
    >>> y.shape, int(y[0, 0, 0, 0, 0])  # one step in from the corner, along all axes: 9 + 3 + 1
    ((1, 1, 5, 5, 5), 13)
    """


class ReplicationPad1d(ReplicationPad, ndim=1):
    """Replication padding of (N, C, L); for the arguments see :class:`ReplicationPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ReplicationPad1d((1, 2))(np.array([[[1.0, 2.0]]])).tolist()
    [[[1.0, 1.0, 2.0, 2.0, 2.0]]]
    """


class ReplicationPad2d(ReplicationPad, ndim=2):
    """Replication padding of (N, C, H, W); for the arguments see :class:`ReplicationPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ReplicationPad2d((0, 1, 1, 0))(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0].tolist()
    [[1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [3.0, 4.0, 4.0]]
    """


class ReplicationPad3d(ReplicationPad, ndim=3):
    """Replication padding of (N, C, D, H, W); for the arguments see :class:`ReplicationPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.ReplicationPad3d(1)(np.full((1, 1, 1, 1, 1), 7.0))
    >>> y.shape, int(y.sum())  # 27 sevens
    ((1, 1, 3, 3, 3), 189)
    """


class CircularPad1d(CircularPad, ndim=1):
    """Circular padding of (N, C, L); for the arguments see :class:`CircularPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.CircularPad1d((1, 2))(np.array([[[1.0, 2.0, 3.0]]])).tolist()
    [[[3.0, 1.0, 2.0, 3.0, 1.0, 2.0]]]
    """


class CircularPad2d(CircularPad, ndim=2):
    """Circular padding of (N, C, H, W); for the arguments see :class:`CircularPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.CircularPad2d((1, 0, 0, 1))(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0].tolist()
    [[2.0, 1.0, 2.0], [4.0, 3.0, 4.0], [2.0, 1.0, 2.0]]
    """


class CircularPad3d(CircularPad, ndim=3):
    """Circular padding of (N, C, D, H, W); for the arguments see :class:`CircularPad`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.CircularPad3d(1)(np.arange(8.0).reshape(1, 1, 2, 2, 2))
    >>> y.shape, int(y[0, 0, 0, 0, 0])  # in the corner is what lies in the opposite one
    ((1, 1, 4, 4, 4), 7)
    """
