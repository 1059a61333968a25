"""Sums, differences, products and quotients, element by element."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Operation


def unbroadcast(xp: ModuleType, gradient: Array, shape: Shape) -> Array:
    """Sum a gradient over the axes along which an operand of this shape was repeated."""
    added = gradient.ndim - len(shape)
    repeated = [axis for axis in range(gradient.ndim) if axis < added or shape[axis - added] == 1]
    repeated = [axis for axis in repeated if axis < added or gradient.shape[axis] != 1]
    if repeated:
        gradient = xp.sum(gradient, axis=tuple(repeated), keepdims=True, dtype=gradient.dtype)
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

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        self.output_shapes(*(x.shape for x in inputs))
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return (total,), [x.shape for x in inputs]

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
        (dy,) = dys
        return tuple(
            unbroadcast(xp, dy, shape) if needed else None
            for shape, needed in zip(saved, need, strict=True)
        )


class _Binary(Elementwise):
    """Two operands."""

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        if len(inputs) != 2:
            raise ValueError(f"{self.who}: expected two operands, got {len(inputs)}")
        self.output_shapes(*(x.shape for x in inputs))
        return (self._compute(xp, *inputs),), inputs

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
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
    """The first operand minus the second; they are broadcast."""

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        return a - b

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        return lambda: dy, lambda: -dy


class Multiply(_Binary):
    """The product of two operands, which are broadcast."""

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        return a * b

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        return lambda: dy * b, lambda: dy * a


class Divide(_Binary):
    """The first operand divided by the second; they are broadcast."""

    def _compute(self, xp: ModuleType, a: Array, b: Array) -> Array:
        return a / b

    def _gradients(self, xp: ModuleType, dy: Array, a: Array, b: Array) -> tuple[Any, Any]:
        return lambda: dy / b, lambda: -dy * (a / b) / b
