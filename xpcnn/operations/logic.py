"""Comparisons, logic and choice, element by element."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.layers.operation import Arrays, Needs, NoGradient
from xpcnn.operations.arithmetic import Elementwise, unbroadcast


class Question(Elementwise, NoGradient):
    """A question about the elements of one or two operands.

    Parameters
    ----------
    answer : callable
        ``answer(xp, *operands)`` returns an array of truth values; see the classes below.
    """

    _answer: Callable[..., Array]

    def __init_subclass__(cls, answer: Callable[..., Array] | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if answer is not None:
            cls._answer = staticmethod(answer)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        return (self._answer(xp, *inputs),), None


class Equal(Question, answer=lambda xp, a, b: a == b):
    """Whether two operands, which are broadcast, are equal."""


class Greater(Question, answer=lambda xp, a, b: a > b):
    """Whether the first operand is greater than the second; they are broadcast."""


class GreaterEqual(Question, answer=lambda xp, a, b: a >= b):
    """Whether the first operand is not less than the second; they are broadcast."""


class Less(Question, answer=lambda xp, a, b: a < b):
    """Whether the first operand is less than the second; they are broadcast."""


class LessEqual(Question, answer=lambda xp, a, b: a <= b):
    """Whether the first operand is not greater than the second; they are broadcast."""


class And(Question, answer=lambda xp, a, b: xp.logical_and(a, b)):
    """Whether both operands, which are broadcast, are true."""


class Or(Question, answer=lambda xp, a, b: xp.logical_or(a, b)):
    """Whether at least one of two operands, which are broadcast, is true."""


class Xor(Question, answer=lambda xp, a, b: xp.logical_xor(a, b)):
    """Whether exactly one of two operands, which are broadcast, is true."""


class Not(Question, answer=lambda xp, a: xp.logical_not(a)):
    """Whether the operand is false."""


class IsNaN(Question, answer=lambda xp, a: xp.isnan(a)):
    """Whether the operand is not a number."""


class Where(Elementwise):
    """The second input where the first is true, else the third; all are broadcast."""

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        condition, x, y = inputs
        self.output_shapes(*(tuple(a.shape) for a in inputs))
        return (xp.where(condition, x, y),), (condition, tuple(x.shape), tuple(y.shape))

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        condition, x_shape, y_shape = saved
        (dy,) = dys
        zero = xp.zeros_like(dy)
        dx = unbroadcast(xp, xp.where(condition, dy, zero), x_shape) if need[1] else None
        dother = unbroadcast(xp, xp.where(condition, zero, dy), y_shape) if need[2] else None
        return None, dx, dother
