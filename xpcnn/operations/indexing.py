"""Parts of arrays: slices, elements by their numbers, pieces."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation, Steered
from xpcnn.operations.joining import cut
from xpcnn.operations.numbers import Ints, as_ints, chosen, normal_dims
from xpcnn.operations.tables import add_back


class _Cut(NamedTuple):
    """A basic index with steps above zero, and the axes to be turned round behind it."""

    parts: tuple[slice, ...]
    flipped: Ints


class Slice(Steered):
    """Every `step`-th element from `start` to before `end`, along some axes.

    Parameters
    ----------
    starts, ends : sequence of int, optional
        One for each axis in `dims`, counted from the end where negative, cut to what is there.
        What is left out is taken from the inputs behind the first: starts, ends, dims, steps.
    dims : sequence of int, optional
        The axes; the first ones if left out everywhere.
    steps : sequence of int, optional
        1 if left out everywhere; a negative one goes backwards.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Slice
    >>> x = np.array([[0, 1, 2, 3, 4, 5]])
    >>> Slice([1], [5], dims=[1], steps=[2])(x).tolist()
    [[1, 3]]
    >>> Slice([-1], [-4], dims=[1], steps=[-1])(x).tolist()
    [[5, 4, 3]]
    """

    def __init__(
        self,
        starts: Sequence[int] | None = None,
        ends: Sequence[int] | None = None,
        dims: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        self.starts = as_ints(starts)
        self.ends = as_ints(ends)
        self.dims = as_ints(dims)
        self.steps = as_ints(steps)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        parts = self._cut(shape, inputs).parts
        return tuple(len(range(*p.indices(n))) for p, n in zip(parts, shape, strict=True))

    def _cut(self, shape: Shape, inputs: tuple[Any, ...]) -> _Cut:
        starts, ends = chosen(self.starts, inputs, 1), chosen(self.ends, inputs, 2)
        if starts is None or ends is None:
            raise ValueError(f"{self.who}: needs starts and ends, as arguments or as inputs")
        dims = chosen(self.dims, inputs, 3)
        dims = normal_dims(range(len(starts)) if dims is None else dims, len(shape), self.who)
        steps = chosen(self.steps, inputs, 4) or (1,) * len(starts)
        if not len(starts) == len(ends) == len(dims) == len(steps) or 0 in steps:
            raise ValueError(
                f"{self.who}: expected one start, end and step other than 0 for each axis, got "
                f"starts {starts}, ends {ends}, axes {dims}, steps {steps}"
            )
        index, flipped = [slice(None)] * len(shape), []
        for start, end, dim, step in zip(starts, ends, dims, steps, strict=True):
            n = shape[dim]
            if step < 0 and end < -n:
                end = -n - 1  # up to the first element and with it
            taken = range(*slice(start, end, step).indices(n))
            if step < 0 and len(taken):
                # not every library goes backwards: the same elements forwards, then turned round
                taken = taken[::-1]
                flipped.append(dim)
            index[dim] = slice(0, 0)
            if len(taken):
                index[dim] = slice(taken.start, taken[-1] + 1, taken.step)
        return _Cut(tuple(index), tuple(flipped))

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        cut = self._cut(tuple(x.shape), inputs)
        y = x[cut.parts]
        if cut.flipped:
            y = xp.flip(y, axis=cut.flipped)
        return (y,), (cut, tuple(x.shape))

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        cut, shape = saved
        dy = xp.flip(dys[0], axis=cut.flipped) if cut.flipped else dys[0]
        dx = xp.zeros(shape, dtype=dy.dtype, device=_xp.device_of(dy))
        return (_xp.set_at(dx, cut.parts, dy),)


class Gather(Operation):
    """Elements along an axis by their numbers, which are the second input.

    Parameters
    ----------
    dim : int
        The axis; the axes of the numbers take its place.

    Notes
    -----
    Negative numbers count from the end.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Gather
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> Gather()(x, np.array([2, 0])).tolist()
    [[5.0, 6.0], [1.0, 2.0]]
    >>> Gather(1)(x, np.array([-1])).tolist()
    [[2.0], [4.0], [6.0]]
    """

    def __init__(self, dim: int = 0) -> None:
        self.dim = int(dim)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape with the axis replaced by those of the numbers."""
        shape, numbers = tuple(input_shapes[0] or ()), tuple(input_shapes[1] or ())
        (axis,) = normal_dims((self.dim,), len(shape), self.who)
        return ((*shape[:axis], *numbers, *shape[axis + 1 :]),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x, numbers = inputs
        (shape,) = self.output_shapes(tuple(x.shape), tuple(numbers.shape))
        axis = self.dim % x.ndim
        n = x.shape[axis]
        flat = xp.reshape(numbers, (-1,))
        flat = xp.where(flat < 0, flat + n, flat)
        if flat.shape[0] and not 0 <= int(xp.min(flat)) <= int(xp.max(flat)) < n:
            raise ValueError(
                f"{self.who}: a number is out of range for axis {axis} of an input of shape "
                f"{tuple(x.shape)}"
            )
        y = xp.reshape(xp.take(x, flat, axis=axis), shape)
        return (y,), (tuple(x.shape), axis, flat)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        shape, axis, flat = saved
        dy = xp.reshape(dys[0], (*shape[:axis], flat.shape[0], *shape[axis + 1 :]))
        positions = np.asarray(_xp.to_numpy(flat), dtype=np.int64)
        return (add_back(xp, dy, axis, positions, shape[axis]),)


class Split(Operation):
    """Consecutive pieces of an array along an axis.

    Parameters
    ----------
    dim : int
        The axis.
    sizes : sequence of int, optional
        Lengths of the pieces; if left out, the second input holds them.
    pieces : int, optional
        In place of sizes: so many pieces of one length, of which the last may be shorter.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Split
    >>> x = np.array([1, 2, 3, 4, 5])
    >>> [piece.tolist() for piece in Split(sizes=[1, 4])(x)]
    [[1], [2, 3, 4, 5]]
    >>> [piece.tolist() for piece in Split(pieces=2)(x)]
    [[1, 2, 3], [4, 5]]
    """

    def __init__(
        self, dim: int = 0, sizes: Sequence[int] | None = None, pieces: int | None = None
    ) -> None:
        self.dim = int(dim)
        self.sizes = as_ints(sizes)
        self.pieces = None if pieces is None else int(pieces)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shapes of the pieces, if they do not depend on what an input holds."""
        if len(input_shapes) > 1:
            return super().output_shapes(*input_shapes)
        shape = tuple(input_shapes[0] or ())
        axis, sizes = self._sizes(shape, ())
        return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)

    def _sizes(self, shape: Shape, inputs: tuple[Any, ...]) -> tuple[int, Ints]:
        (axis,) = normal_dims((self.dim,), len(shape), self.who)
        n = shape[axis]
        sizes = chosen(self.sizes, inputs, 1)
        if sizes is None:
            if self.pieces is None or self.pieces < 1:
                raise ValueError(f"{self.who}: needs sizes, or a number of pieces of at least 1")
            each = -(-n // self.pieces)
            sizes = tuple(max(min(each, n - i * each), 0) for i in range(self.pieces))
        if sum(sizes) != n or any(size < 0 for size in sizes):
            raise ValueError(
                f"{self.who}: pieces of {sizes} elements do not make up axis {axis} of an input of "
                f"shape {shape}"
            )
        return axis, sizes

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        axis, sizes = self._sizes(tuple(x.shape), inputs)
        pieces = cut(x, axis, sizes)
        return tuple(pieces), (axis, [tuple(piece.shape) for piece in pieces])

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        axis, shapes = saved
        like = next(dy for dy in dys if dy is not None)
        parts = [
            xp.zeros(shape, dtype=like.dtype, device=_xp.device_of(like)) if dy is None else dy
            for dy, shape in zip(dys, shapes, strict=True)
        ]
        return (xp.concat(parts, axis=axis),)
