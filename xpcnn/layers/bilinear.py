"""A layer of two inputs that is linear in each."""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn.errors import rank_error
from xpcnn.initializers import fan_in_uniform
from xpcnn.layers.layer import Shape, WeightedLayer
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.bilinear import BILINEAR
from xpcnn.ops.checks import check_float
from xpcnn.window import as_int


class Bilinear(WeightedLayer, Operation):
    """Combine two inputs: ``y[o] = x1 @ weight[o] @ x2 + bias[o]``.

    Parameters
    ----------
    in1_features, in2_features : int
        Length of the last axis of the first and of the second input.
    out_features : int
        Length of the output's last axis.
    bias : bool
        Whether to add a learned vector.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in1_features, in2_features)
    bias : Parameter of shape (out_features,), or None

    Raises
    ------
    ValueError
        If the last axis of an input has another length, or the inputs differ in another axis.

    Notes
    -----
    Inputs (N, ..., in1_features) and (N, ..., in2_features), output (N, ..., out_features).
    ``forward`` takes two arrays and ``backward`` returns two gradients.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Bilinear(3, 4, 2)
    >>> layer(np.ones((5, 3)), np.ones((5, 4))).shape
    (5, 2)
    """

    computes_with_operands = True
    weight: Parameter

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True
    ) -> None:
        self.in1_features = as_int(in1_features, "Bilinear", "in1_features", 1)
        self.in2_features = as_int(in2_features, "Bilinear", "in2_features", 1)
        self.out_features = as_int(out_features, "Bilinear", "out_features", 1)
        # PyTorch's default: both from the length of the first input
        init = fan_in_uniform(self.in1_features)
        shape = (self.out_features, self.in1_features, self.in2_features)
        self.weight = Parameter(shape, init)
        self.bias = Parameter(shape[:1], init) if bias else None

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, ..., out_features) for the shapes of the two inputs."""
        if len(input_shapes) != 2 or None in input_shapes:
            raise ValueError(f"{self.who}: expected two inputs, got {len(input_shapes)}")
        first, second = (shape or () for shape in input_shapes)
        inputs = (("first", first, self.in1_features), ("second", second, self.in2_features))
        for which, shape, features in inputs:
            if not shape:
                raise rank_error(self.who, 2, "(N, features)", shape)
            if shape[-1] != features:
                raise ValueError(
                    f"{self.who}: expected {features} input features (last axis) of the {which} "
                    f"input, got {shape[-1]} in an input of shape {shape}"
                )
        if first[:-1] != second[:-1]:
            raise ValueError(
                f"{self.who}: expected two inputs that differ in their last axis only, got shapes "
                f"{first} and {second}"
            )
        return ((*first[:-1], self.out_features),)

    def multiply_adds(self, *input_shapes: Any) -> int:
        """Return rows times in1_features times in2_features times out_features."""
        return prod(input_shapes[0][:-1]) * prod(self.weight.shape or ())

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        self.output_shapes(*(tuple(x.shape) for x in inputs))
        for x in inputs:
            check_float(x, self.who)
            self._check_match(x, self.weight.value)
        y, saved = BILINEAR.run(xp, *inputs, *self.operands())
        return (y,), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        dx1, dx2, dw, db = saved(dys[0], any(need))
        self.accumulate(dw, db)
        return dx1, dx2
