"""Operations that keep the numbers and change how they are laid out, and those that tell shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, NoGradient, Operation, Steered
from xpcnn.operations.arithmetic import unbroadcast
from xpcnn.operations.numbers import as_ints, chosen, needed, normal_dims, whole_numbers
from xpcnn.ops.sums import total


class _Reshaping(Steered):
    """The first input in another shape; the others only say which."""

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = tuple(inputs[0].shape)
        return (xp.reshape(inputs[0], self._new(shape, inputs)),), shape

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (xp.reshape(dys[0], saved),)


class Reshape(_Reshaping):
    """The same elements, in the same order, in another shape.

    Parameters
    ----------
    shape : sequence of int, optional
        One length may be -1: it follows from the others. A length of 0 is that of the input's
        axis at the same place. If left out, the second input holds the shape.
    allow_zero : bool
        A length of 0 is a length of 0.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Reshape
    >>> Reshape((0, -1))(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, shape: Sequence[int] | None = None, allow_zero: bool = False) -> None:
        self.shape = as_ints(shape)
        self.allow_zero = bool(allow_zero)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        asked = needed(self.shape, inputs, self.who, "a shape")
        new = list(asked)
        if not self.allow_zero:
            if any(n == 0 and axis >= len(shape) for axis, n in enumerate(new)):
                raise ValueError(f"{self.who}: {asked} copies a length that {shape} does not have")
            new = [shape[axis] if n == 0 else n for axis, n in enumerate(new)]
        known = prod(n for n in new if n != -1)
        if new.count(-1) == 1 and known and prod(shape) % known == 0:
            new[new.index(-1)] = prod(shape) // known
        if any(n < 0 for n in new) or prod(new) != prod(shape):
            raise ValueError(f"{self.who}: cannot turn the shape {shape} into {asked}")
        return tuple(new)


class Squeeze(_Reshaping):
    """Axes of length 1 removed.

    Parameters
    ----------
    dims : sequence of int, optional
        The axes; if left out, those in the second input, and without one all of length 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Squeeze
    >>> x = np.zeros((1, 3, 1))
    >>> Squeeze()(x).shape, Squeeze([0])(x).shape
    ((3,), (3, 1))
    """

    def __init__(self, dims: Sequence[int] | None = None) -> None:
        self.dims = as_ints(dims)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        asked = chosen(self.dims, inputs, 1)
        if asked is None:
            return tuple(n for n in shape if n != 1)
        dims = normal_dims(asked, len(shape), self.who)
        if any(shape[dim] != 1 for dim in dims):
            raise ValueError(f"{self.who}: the axes {asked} of the shape {shape} are not all 1")
        return tuple(n for axis, n in enumerate(shape) if axis not in dims)


class Unsqueeze(_Reshaping):
    """Axes of length 1 added.

    Parameters
    ----------
    dims : sequence of int, optional
        Where the new axes are in the result; if left out, the second input says so.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Unsqueeze
    >>> Unsqueeze([0, -1])(np.zeros((3,))).shape
    (1, 3, 1)
    """

    def __init__(self, dims: Sequence[int] | None = None) -> None:
        self.dims = as_ints(dims)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        asked = needed(self.dims, inputs, self.who, "axes")
        ndim = len(shape) + len(asked)
        dims = normal_dims(asked, ndim, self.who)
        lengths = iter(shape)
        return tuple(1 if axis in dims else next(lengths) for axis in range(ndim))


class MergeDims(_Reshaping):
    """Two axes: all before `dim` merged, and all from it on merged.

    Parameters
    ----------
    dim : int
        From 0 to the number of axes; counted from the end where negative.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import MergeDims
    >>> x = np.zeros((2, 3, 4))
    >>> MergeDims()(x).shape, MergeDims(2)(x).shape
    ((2, 12), (6, 4))
    """

    def __init__(self, dim: int = 1) -> None:
        self.dim = int(dim)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        if not -len(shape) <= self.dim <= len(shape):
            raise ValueError(
                f"{self.who}: dim={self.dim} is out of range for an input of shape {shape}"
            )
        cut = self.dim + len(shape) if self.dim < 0 else self.dim
        return prod(shape[:cut]), prod(shape[cut:])


class Transpose(Operation):
    """The axes in another order.

    Parameters
    ----------
    dims : sequence of int, optional
        For each axis of the result, which axis of the input it is; reversed if left out.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Transpose
    >>> Transpose()(np.array([[1, 2], [3, 4]])).tolist()
    [[1, 3], [2, 4]]
    >>> Transpose((0, 2, 3, 1))(np.zeros((8, 3, 32, 24))).shape  # channels to the end
    (8, 32, 24, 3)
    """

    def __init__(self, dims: Sequence[int] | None = None) -> None:
        self.dims = as_ints(dims)

    def _order(self, ndim: int) -> tuple[int, ...]:
        if self.dims is None:
            return tuple(reversed(range(ndim)))
        dims = normal_dims(self.dims, ndim, self.who)
        if len(dims) != ndim:
            raise ValueError(f"{self.who}: {self.dims} does not name all of {ndim} axes")
        return dims

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the lengths in the new order."""
        shape = input_shapes[0] or ()
        return (tuple(shape[dim] for dim in self._order(len(shape))),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        order = self._order(inputs[0].ndim)
        return (xp.permute_dims(inputs[0], order),), order

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (xp.permute_dims(dys[0], tuple(int(a) for a in np.argsort(saved))),)


class Expand(Steered):
    """An array repeated along axes of length 1, and along new ones in front.

    Parameters
    ----------
    shape : sequence of int, optional
        What the input's shape is broadcast with: a length of 1 keeps that of the input. If left
        out, the second input holds it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Expand
    >>> Expand((2, 3))(np.array([[1], [2]])).tolist()
    [[1, 1, 1], [2, 2, 2]]
    """

    def __init__(self, shape: Sequence[int] | None = None) -> None:
        self.shape = as_ints(shape)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        asked = chosen(self.shape, inputs, 1) or ()
        try:
            return np.broadcast_shapes(shape, asked)
        except ValueError:
            raise ValueError(f"{self.who}: cannot expand the shape {shape} to {asked}") from None

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = tuple(inputs[0].shape)
        return (xp.broadcast_to(inputs[0], self._new(shape, inputs)),), shape

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (unbroadcast(xp, dys[0], saved),)


class Tile(Steered):
    """The whole array repeated along its axes.

    Parameters
    ----------
    repeats : sequence of int, optional
        How often, for each axis; if left out, the second input says so.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Tile
    >>> Tile((1, 2))(np.array([[1, 2], [3, 4]])).tolist()
    [[1, 2, 1, 2], [3, 4, 3, 4]]
    """

    def __init__(self, repeats: Sequence[int] | None = None) -> None:
        self.repeats = as_ints(repeats)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        return tuple(n * m for n, m in zip(shape, self._times(shape, inputs), strict=True))

    def _times(self, shape: Shape, inputs: Arrays) -> Shape:
        repeats = chosen(self.repeats, inputs, 1) or ()
        if len(repeats) != len(shape):
            raise ValueError(f"{self.who}: {repeats} does not fit an input of shape {shape}")
        return repeats

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = tuple(inputs[0].shape)
        repeats = self._times(shape, inputs)
        return (xp.tile(inputs[0], repeats),), (shape, repeats)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        shape, repeats = saved
        apart = [n for pair in zip(repeats, shape, strict=True) for n in pair]
        dx = xp.reshape(dys[0], tuple(apart))
        return (total(xp, dx, tuple(range(0, len(apart), 2))),)


class ShapeOf(NoGradient):
    """The shape of an array, as an array of whole numbers.

    Parameters
    ----------
    start, end : int
        Which axes; counted from the end where negative, and cut to those that are there.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ShapeOf
    >>> x = np.zeros((8, 3, 32, 24))
    >>> ShapeOf()(x).tolist(), ShapeOf(start=-2)(x).tolist()
    ([8, 3, 32, 24], [32, 24])
    """

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        self.start = int(start)
        self.end = None if end is None else int(end)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the number of axes."""
        return ((len((input_shapes[0] or ())[self.start : self.end]),),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = tuple(inputs[0].shape)[self.start : self.end]
        return (whole_numbers(xp, shape, inputs[0]),), None


class Size(ShapeOf):
    """The number of elements of an array, as an array without axes.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Size
    >>> int(Size()(np.zeros((2, 3, 4))))
    24
    """

    def __init__(self) -> None:
        super().__init__()

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape of a single number."""
        return ((),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        return (whole_numbers(xp, prod(inputs[0].shape), inputs[0]),), None
