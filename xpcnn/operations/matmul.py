"""The matrix product."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.operations.arithmetic import unbroadcast


class MatMul(Operation):
    """The product of matrices in the last two axes; the axes in front are broadcast.

    A vector on the left is a row, on the right a column, and that axis is not in the result.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import MatMul
    >>> a = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> MatMul()(a, np.array([[1.0], [10.0]])).tolist()
    [[21.0], [43.0]]
    >>> MatMul()(a, np.array([1.0, 10.0])).tolist()
    [21.0, 43.0]
    """

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape of the product."""
        a, b = (tuple(shape or ()) for shape in input_shapes)
        if not a or not b:
            raise ValueError(f"{self.who}: expected vectors or matrices, got shapes {a} and {b}")
        inner = b[-2] if len(b) > 1 else b[0]
        try:
            if a[-1] != inner:
                raise ValueError
            front = np.broadcast_shapes(a[:-2], b[:-2])
        except ValueError:
            raise ValueError(f"{self.who}: cannot multiply the shapes {a} and {b}") from None
        return ((*front, *(a[-2:-1] if len(a) > 1 else ()), *(b[-1:] if len(b) > 1 else ())),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        return (xp.matmul(*inputs),), inputs

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        a, b = saved
        dy = dys[0]
        if b.ndim == 1:
            dy = xp.expand_dims(dy, axis=-1)
        if a.ndim == 1:
            dy = xp.expand_dims(dy, axis=-2)
        left = xp.expand_dims(a, axis=0) if a.ndim == 1 else a
        right = xp.expand_dims(b, axis=1) if b.ndim == 1 else b
        da = db = None
        if need[0]:
            da = xp.matmul(dy, xp.matrix_transpose(right))
            da = xp.reshape(unbroadcast(xp, da, tuple(left.shape)), tuple(a.shape))
        if need[1]:
            db = xp.matmul(xp.matrix_transpose(left), dy)
            db = xp.reshape(unbroadcast(xp, db, tuple(right.shape)), tuple(b.shape))
        return da, db
