"""Layers that only rearrange."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.functional import in_order, rearrange
from xpcnn.layers.layer import Layer, Shape
from xpcnn.ops.checks import check_rank, check_spatial
from xpcnn.window import as_int


class Flatten(Layer):
    """Merge the axes from `start_dim` to `end_dim` into one.

    Parameters
    ----------
    start_dim, end_dim : int
        First and last axis to merge, both included.

    Raises
    ------
    ValueError
        If an input does not have these axes.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.zeros((2, 3, 4, 5))
    >>> xpcnn.Flatten()(x).shape, xpcnn.Flatten(2)(x).shape
    ((2, 60), (2, 3, 20))
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = int(start_dim)
        self.end_dim = int(end_dim)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape with the merged axes."""
        shape, ndim = tuple(input_shape), len(input_shape)
        start = self.start_dim + (ndim if self.start_dim < 0 else 0)
        end = self.end_dim + (ndim if self.end_dim < 0 else 0)
        if not 0 <= start <= end < ndim:
            raise ValueError(
                f"{self.who}: cannot merge axes {self.start_dim} to {self.end_dim} of an input of "
                f"shape {shape}"
            )
        return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return xp.reshape(in_order(x), self.output_shape(x.shape)), tuple(x.shape)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return xp.reshape(dy, saved) if need_dx else None


class Unflatten(Layer):
    """Cut one axis into several: the inverse of :class:`Flatten`.

    Parameters
    ----------
    dim : int
        The axis to cut.
    unflattened_size : tuple of int
        Lengths of the axes it becomes; one may be -1 and follows from the others.

    Raises
    ------
    ValueError
        If an input does not have the axis, or its length is not the product of the others.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Unflatten(1, (3, 4))(np.zeros((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        self.dim = as_int(dim, "Unflatten", "dim", -sys.maxsize)
        if not hasattr(unflattened_size, "__iter__"):
            raise TypeError(
                f"Unflatten: unflattened_size must be a tuple of integers, got {unflattened_size!r}"
            )
        sizes = tuple(as_int(n, "Unflatten", "unflattened_size", -1) for n in unflattened_size)
        if not sizes or 0 in sizes or sizes.count(-1) > 1:
            raise ValueError(
                "Unflatten: unflattened_size must be positive lengths, one of them -1 at most; "
                f"got {sizes}"
            )
        self.unflattened_size = sizes

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape with the new axes."""
        shape, sizes = tuple(input_shape), self.unflattened_size
        if not -len(shape) <= self.dim < len(shape):
            raise ValueError(
                f"{self.who}: dim={self.dim} is out of range for an input of shape {shape}"
            )
        axis = self.dim % len(shape)
        known = prod(n for n in sizes if n > 0)
        rest = shape[axis] // known if -1 in sizes else 1
        if known * rest != shape[axis]:
            raise ValueError(
                f"{self.who}: expected an axis {self.dim} that can be cut into {sizes}, got length "
                f"{shape[axis]} in an input of shape {shape}"
            )
        new = tuple(rest if n == -1 else n for n in sizes)
        return (*shape[:axis], *new, *shape[axis + 1 :])

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return xp.reshape(x, self.output_shape(x.shape)), tuple(x.shape)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return xp.reshape(dy, saved) if need_dx else None


class Identity(Layer):
    """Return the input as it is.

    It takes any arguments, as PyTorch's does, so that it can stand in for another layer.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Identity()(np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def arguments(self) -> dict[str, Any]:
        """Return nothing: the arguments have no meaning."""
        return {}

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return x, None

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return dy if need_dx else None


def rearrange_back(dy: Array, cut: Shape, order: Shape, shape: Shape) -> Array:
    """Undo :func:`xpcnn.functional.rearrange`, for an array that had this shape before."""
    back = tuple(order.index(axis) for axis in range(len(order)))
    return rearrange(dy, tuple(cut[axis] for axis in order), back, shape)


class _Rearrange(Layer):
    """Cut axes into pieces, exchange pieces, and merge them again.

    A subclass says how by `plan`; the shape after merging is that of the output.
    """

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        """Return the shape with the axes cut, and the new order of the pieces."""
        raise NotImplementedError

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        merged = self.output_shape(x.shape)
        plan = self.plan(tuple(x.shape))
        return rearrange(x, *plan, merged), (*plan, tuple(x.shape))

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return rearrange_back(dy, *saved) if need_dx else None


class PixelShuffle(_Rearrange):
    """Turn channels into positions (Shi et al., 2016): (N, C r^2, H, W) to (N, C, H r, W r).

    Parameters
    ----------
    upscale_factor : int
        The r in the formula.

    Raises
    ------
    ValueError
        If an input has the wrong rank or its channels are no multiple of r^2.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[[0.0]], [[1.0]], [[2.0]], [[3.0]]]])  # four channels, one place
    >>> xpcnn.PixelShuffle(2)(x).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """

    sample_ndim = 3

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = as_int(upscale_factor, "PixelShuffle", "upscale_factor", 1)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, H r, W r) for an input (N, C r^2, H, W)."""
        r = self.upscale_factor
        check_rank(input_shape, 2, self.who)
        n, c, h, w = input_shape
        if c % (r * r):
            raise ValueError(
                f"{self.who}: expected channels (axis 1) divisible by {r * r}, "
                f"the square of upscale_factor, got {c} in an input of shape {tuple(input_shape)}"
            )
        return n, c // (r * r), h * r, w * r

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        n, c, h, w = shape
        r = self.upscale_factor
        return (n, c // (r * r), r, r, h, w), (0, 1, 4, 2, 5, 3)


class PixelUnshuffle(_Rearrange):
    """Turn positions into channels: (N, C, H r, W r) to (N, C r^2, H, W).

    Parameters
    ----------
    downscale_factor : int
        The r in the formula.

    Raises
    ------
    ValueError
        If an input has the wrong rank or its height or width is no multiple of r.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[[0.0, 1.0], [2.0, 3.0]]]])  # one channel, four places
    >>> xpcnn.PixelUnshuffle(2)(x).tolist()
    [[[[0.0]], [[1.0]], [[2.0]], [[3.0]]]]
    """

    sample_ndim = 3

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = as_int(downscale_factor, "PixelUnshuffle", "downscale_factor", 1)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C r^2, H, W) for an input (N, C, H r, W r)."""
        r = self.downscale_factor
        check_rank(input_shape, 2, self.who)
        n, c, h, w = input_shape
        if h % r or w % r:
            raise ValueError(
                f"{self.who}: expected height and width divisible by downscale_factor={r}, got an "
                f"input of shape {tuple(input_shape)}"
            )
        return n, c * r * r, h // r, w // r

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        n, c, h, w = shape
        r = self.downscale_factor
        return (n, c, h // r, r, w // r, r), (0, 1, 3, 5, 2, 4)


class ChannelShuffle(_Rearrange):
    """Mix the channels of groups (Zhang et al., 2018): the first of each, then the second, ...

    Parameters
    ----------
    groups : int
        Number of groups the channels are cut into.

    Raises
    ------
    ValueError
        If an input has fewer than three dimensions or its channels cannot be cut so.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[0.0], [1.0], [2.0], [3.0]]])  # (0, 1) and (2, 3) are the groups
    >>> xpcnn.ChannelShuffle(2)(x).tolist()
    [[[0.0], [2.0], [1.0], [3.0]]]
    """

    def __init__(self, groups: int) -> None:
        self.groups = as_int(groups, "ChannelShuffle", "groups", 1)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = tuple(input_shape)
        check_spatial(shape, self.who)
        if shape[1] % self.groups:
            raise ValueError(
                f"{self.who}: expected channels (axis 1) divisible by groups={self.groups}, got "
                f"{shape[1]} in an input of shape {shape}"
            )
        return shape

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        n, c, *spatial = shape
        order = (0, 2, 1, *range(3, len(shape) + 1))
        return (n, self.groups, c // self.groups, *spatial), order
