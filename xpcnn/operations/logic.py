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

    Attributes
    ----------
    answer : callable
        ``answer(xp, *operands)`` returns an array of truth values.
    """

    answer: Callable[..., Array]

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        return (self.answer(xp, *inputs),), None


class Equal(Question, answer=lambda xp, a, b: a == b):
    """Whether two operands, which are broadcast, are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Equal
    >>> Equal()(np.array([1, 2, 3]), np.array([2])).tolist()
    [False, True, False]
    """


class Greater(Question, answer=lambda xp, a, b: a > b):
    """Whether the first operand is greater than the second; they are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Greater
    >>> Greater()(np.array([1, 2, 3]), np.array([2])).tolist()
    [False, False, True]
    """


class GreaterEqual(Question, answer=lambda xp, a, b: a >= b):
    """Whether the first operand is not less than the second; they are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import GreaterEqual
    >>> GreaterEqual()(np.array([1, 2, 3]), np.array([2])).tolist()
    [False, True, True]
    """


class Less(Question, answer=lambda xp, a, b: a < b):
    """Whether the first operand is less than the second; they are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Less
    >>> Less()(np.array([1, 2, 3]), np.array([2])).tolist()
    [True, False, False]
    """


class LessEqual(Question, answer=lambda xp, a, b: a <= b):
    """Whether the first operand is not greater than the second; they are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import LessEqual
    >>> LessEqual()(np.array([1, 2, 3]), np.array([2])).tolist()
    [True, True, False]
    """


class And(Question, answer=lambda xp, a, b: xp.logical_and(a, b)):
    """Whether both operands, which are broadcast, are true.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import And
    >>> And()(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [True, False, False]
    """


class Or(Question, answer=lambda xp, a, b: xp.logical_or(a, b)):
    """Whether at least one of two operands, which are broadcast, is true.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Or
    >>> Or()(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [True, True, False]
    """


class Xor(Question, answer=lambda xp, a, b: xp.logical_xor(a, b)):
    """Whether exactly one of two operands, which are broadcast, is true.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Xor
    >>> Xor()(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [False, True, False]
    """


class Not(Question, answer=lambda xp, a: xp.logical_not(a)):
    """Whether the operand is false.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Not
    >>> Not()(np.array([True, False])).tolist()
    [False, True]
    """


class IsNaN(Question, answer=lambda xp, a: xp.isnan(a)):
    """Whether the operand is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import IsNaN
    >>> IsNaN()(np.array([1.0, np.nan, np.inf])).tolist()
    [False, True, False]
    """


class Where(Elementwise):
    """The second input where the first is true, else the third; all are broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Where
    >>> Where()(np.array([True, False]), np.array([1.0, 2.0]), np.array([-1.0])).tolist()
    [1.0, -1.0]
    """

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
