"""Parameters that belong to no layer, as values that other operations take."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpcnn.initializers import zeros
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.layers.parameter import Buffer, Parameter


class Weights(Operation):
    """Arrays with names, each an output of its own: a node without inputs.

    Parameters
    ----------
    arrays : sequence of (name, shape)
        They start as zeros. The names become attributes, and so the keys of the state.
    fixed : sequence of str
        Which of them are buffers, not parameters.

    Raises
    ------
    ValueError
        If a name stands there twice, or is one that the class needs for itself.

    Examples
    --------
    >>> from xpcnn.operations import Weights
    >>> weights = Weights([("scale", (2,)), ("shift", (2,))], fixed=["shift"])
    >>> weights.build()
    ((2,), (2,))
    >>> scale, shift = weights()
    >>> scale.tolist(), shift.tolist()
    ([0.0, 0.0], [0.0, 0.0])
    >>> type(weights.scale).__name__, type(weights.shift).__name__
    ('Parameter', 'Buffer')
    """

    def __init__(
        self, arrays: Sequence[tuple[str, Sequence[int]]], fixed: Sequence[str] = ()
    ) -> None:
        self.arrays: list[tuple[str, Shape]] = []
        self.fixed = [str(name) for name in fixed]
        for name, shape in arrays:
            if hasattr(self, name):
                raise ValueError(f"Weights: {name!r} cannot be the name of another array")
            self.arrays.append((str(name), tuple(int(n) for n in shape)))
            kind = Buffer if name in self.fixed else Parameter
            setattr(self, name, kind(self.arrays[-1][1], zeros()))

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shapes of the arrays."""
        return tuple(shape for _, shape in self.arrays)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        return tuple(getattr(self, name).value for name, _ in self.arrays), None

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        for (name, _), dy in zip(self.arrays, dys, strict=True):
            if dy is not None and name not in self.fixed:
                getattr(self, name).accumulate(dy)
        return ()
