"""Several arrays put together."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.functional import concat
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation


class Concat(Operation):
    """Arrays behind one another along an axis.

    Parameters
    ----------
    dim : int
        The axis; 1 is that of the channels. Along all others the lengths must be equal.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Concat
    >>> Concat(1)(np.array([[1.0], [2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])).tolist()
    [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    """

    def __init__(self, dim: int = 1) -> None:
        self.dim = int(dim)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape of the result."""
        shapes = [shape for shape in input_shapes if shape is not None]
        first = shapes[0]
        if not -len(first) <= self.dim < len(first):
            raise ValueError(
                f"{self.who}: dim={self.dim} is out of range for an input of shape {first}"
            )
        axis = self.dim % len(first)
        others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        if len(others) > 1 or any(len(shape) != len(first) for shape in shapes):
            raise ValueError(
                f"{self.who}: the inputs may differ along axis {axis} only, got shapes "
                f"{', '.join(map(str, shapes))}{_size_hint(shapes)}"
            )
        return ((*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :]),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        axis = self.dim % inputs[0].ndim
        return (concat(inputs, axis),), (axis, [x.shape[axis] for x in inputs])

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        parts = cut(dys[0], *saved)
        return tuple(part if needed else None for part, needed in zip(parts, need, strict=True))


def cut(x: Array, axis: int, lengths: Sequence[int]) -> list[Array]:
    """Cut an array into consecutive pieces along an axis."""
    parts, start = [], 0
    for length in lengths:
        parts.append(x[(slice(None),) * axis + (slice(start, start + length), ...)])
        start += length
    return parts


def _size_hint(shapes: list[Shape]) -> str:
    """Say which images fit, where lengths differ by little: one of them was halved and rounded."""
    if len({len(shape) for shape in shapes}) > 1 or len(shapes[0]) < 3:
        return ""
    lengths = list(zip(*(shape[2:] for shape in shapes), strict=True))
    if not any(len(set(n)) > 1 for n in lengths) or any(max(n) > 2 * min(n) for n in lengths):
        return ""
    return (
        "; where images are halved and doubled again, as in a U-Net, height and width must be "
        "multiples of 2 for each time they are halved: of 16 with four poolings, such as 32 or "
        "48; pad or resize them"
    )
