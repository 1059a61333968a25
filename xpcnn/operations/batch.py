"""What depends on the number of samples."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.ops.sums import total


class RepeatForBatch(Operation):
    """The first input, one sample, once for every sample that the second input has.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import RepeatForBatch
    >>> RepeatForBatch()(np.array([[1.0, 2.0]]), np.zeros((3, 5)))
    array([[1., 2.],
           [1., 2.],
           [1., 2.]])
    """

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape with the length of the second's first axis in front."""
        sample, like = input_shapes[0] or (), input_shapes[1] or ()
        if not sample or not like or sample[0] != 1:
            raise ValueError(
                f"{self.who}: expected one sample, of shape (1, ...), and an input with a batch "
                f"axis; got shapes {sample} and {like}"
            )
        return ((like[0], *sample[1:]),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shapes = [tuple(x.shape) for x in inputs]
        (shape,) = self.output_shapes(*shapes)
        return (xp.broadcast_to(inputs[0], shape),), None

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (total(xp, dys[0], 0, keepdims=True),)
