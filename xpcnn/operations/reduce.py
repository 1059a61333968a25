"""Sums, means and the like along axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from types import ModuleType
from typing import Any, ClassVar

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, NoGradient, Operation, SameShape
from xpcnn.operations.numbers import Ints, as_ints, chosen, normal_dims
from xpcnn.ops.sums import mean, total


class Reduction(Operation):
    """A function of all elements along some axes.

    A subclass implements `_value` and `_gradient`, both with axes kept.

    Parameters
    ----------
    dims : sequence of int, optional
        The axes; if left out, those in the second input, and without one all.
    keepdim : bool
        Keep them with length 1.
    empty_is_all : bool
        Whether no axes stand for all axes; else nothing is reduced then.
    """

    def __init__(
        self, dims: Sequence[int] | None = None, keepdim: bool = True, empty_is_all: bool = True
    ) -> None:
        self.dims = as_ints(dims)
        self.keepdim = bool(keepdim)
        self.empty_is_all = bool(empty_is_all)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the lengths of what is left, if they do not depend on what an input holds."""
        if len(input_shapes) > 1 and input_shapes[1] is not None:
            return super().output_shapes(*input_shapes)
        shape = tuple(input_shapes[0] or ())
        return (self._left(shape, self._axes(len(shape), ())),)

    def _axes(self, ndim: int, inputs: tuple[Any, ...]) -> Ints:
        dims = chosen(self.dims, inputs, 1)
        if not dims:
            return tuple(range(ndim)) if self.empty_is_all else ()
        return normal_dims(dims, ndim, self.who)

    def _left(self, shape: Shape, axes: Ints) -> Shape:
        if self.keepdim:
            return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
        return tuple(n for axis, n in enumerate(shape) if axis not in axes)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        axes = self._axes(x.ndim, inputs)
        y = self._value(xp, x, axes)
        shape = self._left(tuple(x.shape), axes)
        return (xp.reshape(y, shape),), (x, y, axes)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        x, y, axes = saved
        dy = xp.reshape(dys[0], tuple(y.shape))
        return (xp.broadcast_to(self._gradient(xp, dy, x, y, axes), tuple(x.shape)),)

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        raise NotImplementedError

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        raise NotImplementedError


def _sum(xp: ModuleType, x: Array, axes: Ints) -> Array:
    if not axes:
        return x
    if _xp.is_floating(x):
        return total(xp, x, axes, keepdims=True)
    return xp.sum(x, axis=axes, keepdims=True, dtype=x.dtype)


class ReduceSum(Reduction):
    """The sum along axes; see :class:`Reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceSum
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> ReduceSum((1,))(x).tolist()
    [[3.0], [7.0]]
    >>> ReduceSum((0,), keepdim=False)(x).tolist()
    [4.0, 6.0]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        return _sum(xp, x, axes)

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return dy


class ReduceMean(Reduction):
    """The mean along axes; see :class:`Reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceMean
    >>> ReduceMean()(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[2.5]]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        if not axes:
            return x
        if not _xp.is_floating(x):
            return _sum(xp, x, axes) // prod(x.shape[axis] for axis in axes)
        return mean(xp, x, axes, keepdims=True)

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return dy / prod(x.shape[axis] for axis in axes)


class ReduceMax(Reduction):
    """The largest element along axes; see :class:`Reduction`.

    Equal ones share the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceMax
    >>> largest = ReduceMax((1,))
    >>> largest.forward(np.array([[1.0, 5.0, 5.0]]), training=True).tolist()
    [[5.0]]
    >>> largest.backward(np.array([[1.0]])).tolist()
    [[0.0, 0.5, 0.5]]
    """

    function: ClassVar[str] = "max"
    of_bools: ClassVar[str] = "any"
    of_nothing: ClassVar[float] = -inf

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        is_bool = _xp.dtype_name(x) == "bool"
        if 0 in x.shape and not is_bool:
            return _of_nothing(xp, x, axes, self.of_nothing)
        function = getattr(xp, self.of_bools if is_bool else self.function)
        return function(x, axis=axes, keepdims=True) if axes else x

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        won = xp.astype(x == y, dy.dtype)
        count = _sum(xp, won, axes)
        return won * (dy / xp.maximum(count, xp.ones_like(count)))


class ReduceMin(ReduceMax, function="min", of_bools="all", of_nothing=inf):
    """The smallest element along axes; see :class:`Reduction`.

    Equal ones share the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceMin
    >>> ReduceMin((1,), keepdim=False)(np.array([[4.0, 2.0], [1.0, 3.0]])).tolist()
    [2.0, 1.0]
    """


def _of_nothing(xp: ModuleType, x: Array, axes: Ints, value: float) -> Array:
    """Return the extremum of no elements."""
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    return xp.full(shape, value, dtype=x.dtype, device=_xp.device_of(x))


class ReduceProd(Reduction):
    """The product along axes; see :class:`Reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceProd
    >>> ReduceProd((1,), keepdim=False)(np.array([[4.0, 2.0], [1.0, 3.0]])).tolist()
    [8.0, 3.0]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        return xp.prod(x, axis=axes, keepdims=True, dtype=x.dtype) if axes else x

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        # the product of all others; where one of them is 0 it is 0 for all but this one
        zero = x == 0
        others = xp.where(zero, xp.ones_like(x), x)
        whole = self._value(xp, others, axes)
        count = _sum(xp, xp.astype(zero, x.dtype), axes)
        alone = xp.where(zero & (count == 1.0), whole, xp.zeros_like(x))
        return dy * xp.where(count == 0.0, whole / others, alone)


class ReduceL1(Reduction):
    """The sum of the absolute values along axes; see :class:`Reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceL1
    >>> ReduceL1((1,), keepdim=False)(np.array([[3.0, -4.0]])).tolist()
    [7.0]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        return _sum(xp, xp.abs(x), axes)

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return dy * _xp.sign(x)


class ReduceL2(Reduction):
    """The root of the sum of the squares along axes; see :class:`Reduction`.

    The gradient is 0 where the sum is.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceL2
    >>> ReduceL2((1,), keepdim=False)(np.array([[3.0, -4.0]])).tolist()
    [5.0]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        return xp.sqrt(_sum(xp, x * x, axes))

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return dy * (x / xp.where(y == 0, xp.ones_like(y), y))


class ReduceSumSquare(Reduction):
    """The sum of the squares along axes; see :class:`Reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceSumSquare
    >>> ReduceSumSquare((1,), keepdim=False)(np.array([[3.0, -4.0]])).tolist()
    [25.0]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        return _sum(xp, x * x, axes)

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return 2.0 * dy * x


class ReduceLogSum(Reduction):
    """The logarithm of the sum along axes; see :class:`Reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceLogSum
    >>> ReduceLogSum((1,), keepdim=False)(np.array([[4.0, 6.0]])).round(3).tolist()
    [2.303]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        return xp.log(_sum(xp, x, axes))

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return dy / xp.exp(y)


class ReduceLogSumExp(Reduction):
    """The logarithm of the sum of the exponentials along axes; see :class:`Reduction`.

    It does not overflow.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ReduceLogSumExp
    >>> ReduceLogSumExp((1,), keepdim=False)(np.array([[1000.0, 1000.0]])).round(3).tolist()
    [1000.693]
    """

    def _value(self, xp: ModuleType, x: Array, axes: Ints) -> Array:
        if not axes:
            return x
        if 0 in x.shape:
            return _of_nothing(xp, x, axes, -inf)
        top = xp.max(x, axis=axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        return xp.log(_sum(xp, xp.exp(x - top), axes)) + top

    def _gradient(self, xp: ModuleType, dy: Array, x: Array, y: Array, axes: Ints) -> Array:
        return dy * xp.exp(x - y)


class _ArgExtremum(NoGradient):
    """The position of an extremum along an axis; there is no gradient."""

    function: ClassVar[str]

    def __init__(self, dim: int = 0, keepdim: bool = True, last: bool = False) -> None:
        self.dim = int(dim)
        self.keepdim = bool(keepdim)
        self.last = bool(last)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape with the axis of length 1, or without it."""
        shape = tuple(input_shapes[0] or ())
        (axis,) = normal_dims((self.dim,), len(shape), self.who)
        return ((*shape[:axis], *((1,) if self.keepdim else ()), *shape[axis + 1 :]),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        (axis,) = normal_dims((self.dim,), x.ndim, self.who)
        if self.last:
            x = xp.flip(x, axis=axis)
        best = getattr(xp, self.function)(x, axis=axis, keepdims=self.keepdim)
        if self.last:
            best = x.shape[axis] - 1 - best
        return (best,), None


class ArgMax(_ArgExtremum, function="argmax"):
    """The position of the largest element along an axis.

    Parameters
    ----------
    dim : int
    keepdim : bool
    last : bool
        Of equal elements take the last in place of the first.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ArgMax
    >>> x = np.array([[1.0, 5.0, 5.0]])
    >>> ArgMax(1)(x).tolist(), ArgMax(1, keepdim=False, last=True)(x).tolist()
    ([[1]], [2])
    """


class ArgMin(_ArgExtremum, function="argmin"):
    """The position of the smallest element along an axis; see :class:`ArgMax`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import ArgMin
    >>> ArgMin(1, keepdim=False)(np.array([[4.0, 2.0, 3.0]])).tolist()
    [1]
    """


class Hardmax(NoGradient, SameShape):
    """1 at the first of the largest elements along an axis, 0 elsewhere; there is no gradient.

    Parameters
    ----------
    dim : int

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Hardmax
    >>> Hardmax()(np.array([[1.0, 5.0, 5.0]])).tolist()
    [[0.0, 1.0, 0.0]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = int(dim)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        (axis,) = normal_dims((self.dim,), x.ndim, self.who)
        best = xp.argmax(x, axis=axis, keepdims=True)
        places = xp.arange(x.shape[axis], dtype=best.dtype, device=_xp.device_of(x))
        places = xp.reshape(places, (-1,) + (1,) * (x.ndim - 1 - axis))
        return (xp.astype(places == best, x.dtype),), None
