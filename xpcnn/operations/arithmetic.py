"""Sums, differences, products and quotients, element by element."""

from __future__ import annotations

from functools import reduce
from operator import add
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.ops.sums import total as sum_over


def unbroadcast(xp: ModuleType, gradient: Array, shape: Shape) -> Array:
    """Sum a gradient over the axes along which an operand of this shape was repeated."""
    added = gradient.ndim - len(shape)
    repeated = [axis for axis in range(gradient.ndim) if axis < added or shape[axis - added] == 1]
    repeated = [axis for axis in repeated if axis < added or gradient.shape[axis] != 1]
    if repeated:
        gradient = sum_over(xp, gradient, tuple(repeated), keepdims=True)
    return xp.reshape(gradient, shape)


class Elementwise(Operation):
    """Operands of one shape, or of shapes that can be broadcast to one."""

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape that the operands are broadcast to."""
        shapes = [shape for shape in input_shapes if shape is not None]
        try:
            return (np.broadcast_shapes(*shapes),)
        except ValueError:
            raise ValueError(
                f"{self.who}: shapes {', '.join(map(str, shapes))} cannot be broadcast to one; "
                "from the last axis on, lengths must be equal or 1"
            ) from None


class Add(Elementwise):
    """The sum of all operands, which are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Add
    >>> Add()(np.array([1.0, 2.0]), np.array([10.0]), np.array([[100.0], [200.0]]))
    array([[111., 112.],
           [211., 212.]])
    """

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(x.shape for x in inputs))
        return (reduce(add, inputs),), [x.shape for x in inputs]

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        (dy,) = dys
        return tuple(
            unbroadcast(xp, dy, shape) if needed else None
            for shape, needed in zip(saved, need, strict=True)
        )


class _Binary(Elementwise):
    """Two operands."""

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        if len(inputs) != 2:
            raise ValueError(f"{self.who}: expected two operands, got {len(inputs)}")
        self.output_shapes(*(x.shape for x in inputs))
        return (self._compute(xp, *inputs),), inputs

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        gradients = self._gradients(xp, dys[0], *saved)
        return tuple(
            unbroadcast(xp, gradient(), x.shape) if needed else None
            for gradient, x, needed in zip(gradients, saved, need, strict=True)
        )

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        raise NotImplementedError

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        """Return two functions without arguments, each of which computes one gradient."""
        raise NotImplementedError


class Subtract(_Binary):
    """The first operand minus the second; they are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Subtract
    >>> Subtract()(np.array([5.0, 2.0]), np.array([1.0])).tolist()
    [4.0, 1.0]
    """

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        return a - b

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        return lambda: dy, lambda: -dy


class Multiply(_Binary):
    """The product of two operands, which are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Multiply
    >>> Multiply()(np.array([2.0, 3.0]), np.array([[10.0], [100.0]])).tolist()
    [[20.0, 30.0], [200.0, 300.0]]
    """

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        return a * b

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        return lambda: dy * b, lambda: dy * a


class Divide(_Binary):
    """The first operand divided by the second; they are broadcast.

    Quotients of integers are cut towards zero.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Divide
    >>> Divide()(np.array([3.0, -3.0]), np.array([2.0])).tolist()
    [1.5, -1.5]
    >>> Divide()(np.array([3, -3]), np.array([2])).tolist()
    [1, -1]
    """

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        if _xp.is_floating(a):
            return a / b
        # rounded down, which is one too low where the signs differ and something is left
        quotient = a // b
        low = ((a < 0) != (b < 0)) & (quotient * b != a)
        return quotient + xp.astype(low, quotient.dtype)

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        return lambda: dy / b, lambda: -dy * (a / b) / b


class Power(_Binary):
    """The first operand to the power of the second; they are broadcast.

    The result has the dtype of the first operand, whatever that of the second.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Power
    >>> Power()(np.array([2.0, 3.0]), np.array([3, 2])).tolist()
    [8.0, 9.0]
    """

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        if a.dtype == b.dtype:
            return xp.pow(a, b)
        if _xp.is_floating(b) and not _xp.is_floating(a):
            return xp.astype(xp.pow(xp.astype(a, b.dtype), b), a.dtype)
        return xp.pow(a, xp.astype(b, a.dtype))

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        b = xp.astype(b, a.dtype)
        a, b = xp.broadcast_arrays(a, b)
        zero = xp.zeros_like(a)

        def of_base() -> Array:
            # x^0 is constant, even where x is 0, and 0^-1 is not asked for
            flat = b == 0
            less = xp.where(flat, zero, b - 1.0)
            return dy * xp.where(flat, zero, b * xp.pow(a, less))

        def of_exponent() -> Array:
            # 0^b is constant for b > 0; the logarithm is taken of 1 there
            flat = (a == 0) & (b >= 0)
            log = xp.log(xp.where(flat, xp.ones_like(a), a))
            return dy * xp.where(flat, zero, xp.pow(a, b) * log)

        return of_base, of_exponent


class Modulo(_Binary):
    """What is left of the first operand after division by the second; they are broadcast.

    Parameters
    ----------
    sign : {"divisor", "dividend"}
        Whose sign the result has: that of the divisor, as in Python, or of the dividend, as in C.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Modulo
    >>> Modulo()(np.array([7, -7]), np.array([3])).tolist()
    [1, 2]
    >>> Modulo("dividend")(np.array([7, -7]), np.array([3])).tolist()
    [1, -1]
    """

    def __init__(self, sign: str = "divisor") -> None:
        if sign not in ("divisor", "dividend"):
            raise choice_error("Modulo", "sign", sign, ("divisor", "dividend"))
        self.sign = sign

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        if self.sign == "divisor":
            return xp.remainder(a, b)
        rest = xp.remainder(xp.abs(a), xp.abs(b))
        return xp.where(a < 0, -rest, rest)

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        times = xp.floor(a / b) if self.sign == "divisor" else xp.trunc(a / b)
        return lambda: dy, lambda: -dy * times


class _Extremum(Elementwise):
    """The largest or smallest of all operands; equal ones share the gradient."""

    function: ClassVar[str]

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        best = reduce(getattr(xp, self.function), inputs)
        return (best,), (inputs, best)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        inputs, best = saved
        (dy,) = dys
        won = [xp.astype(x == best, dy.dtype) for x in inputs]
        count = reduce(add, won)
        share = dy / xp.maximum(count, xp.ones_like(count))  # a NaN is nobody's
        return tuple(
            unbroadcast(xp, share * one, tuple(x.shape)) if needed else None
            for x, one, needed in zip(inputs, won, need, strict=True)
        )


class Maximum(_Extremum, function="maximum"):
    """The largest of all operands, which are broadcast; NaN wins.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Maximum
    >>> Maximum()(np.array([1.0, 5.0]), np.array([3.0]), np.array([2.0, 2.0])).tolist()
    [3.0, 5.0]
    """


class Minimum(_Extremum, function="minimum"):
    """The smallest of all operands, which are broadcast; NaN wins.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Minimum
    >>> Minimum()(np.array([1.0, 5.0]), np.array([3.0]), np.array([2.0, 2.0])).tolist()
    [1.0, 2.0]
    """
