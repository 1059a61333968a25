"""Comparisons, logic and choice, element by element."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.operations.arithmetic import Elementwise, unbroadcast


class _Test(Elementwise):
    """A question about two operands; there is no gradient."""

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        return (self._answer(xp, *inputs),), len(inputs)

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
        return (None,) * saved

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        raise NotImplementedError


class Equal(_Test):
    """Whether two operands, which are broadcast, are equal."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return operands[0] == operands[1]


class Greater(_Test):
    """Whether the first operand is greater than the second; they are broadcast."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return operands[0] > operands[1]


class GreaterEqual(_Test):
    """Whether the first operand is not less than the second; they are broadcast."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return operands[0] >= operands[1]


class Less(_Test):
    """Whether the first operand is less than the second; they are broadcast."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return operands[0] < operands[1]


class LessEqual(_Test):
    """Whether the first operand is not greater than the second; they are broadcast."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return operands[0] <= operands[1]


class And(_Test):
    """Whether both operands, which are broadcast, are true."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return xp.logical_and(*operands)


class Or(_Test):
    """Whether at least one of two operands, which are broadcast, is true."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return xp.logical_or(*operands)


class Xor(_Test):
    """Whether exactly one of two operands, which are broadcast, is true."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return xp.logical_xor(*operands)


class Not(_Test):
    """Whether the operand is false."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return xp.logical_not(*operands)


class IsNaN(_Test):
    """Whether the operand is not a number."""

    def _answer(self, xp: ModuleType, *operands: Array) -> Array:
        return xp.isnan(*operands)


class Where(Elementwise):
    """The second input where the first is true, else the third; all are broadcast."""

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        condition, x, y = inputs
        self.output_shapes(*(tuple(a.shape) for a in inputs))
        return (xp.where(condition, x, y),), (condition, tuple(x.shape), tuple(y.shape))

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
        condition, x_shape, y_shape = saved
        (dy,) = dys
        zero = xp.zeros_like(dy)
        dx = unbroadcast(xp, xp.where(condition, dy, zero), x_shape) if need[1] else None
        dother = unbroadcast(xp, xp.where(condition, zero, dy), y_shape) if need[2] else None
        return None, dx, dother
