"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.initializers import fan_in_uniform
from xpcnn.layers.layer import Shape, WeightedLayer
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.linear import LINEAR
from xpcnn.window import as_int


class Linear(WeightedLayer):
    """Fully connected layer: ``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features : int, optional
        Length of the input's last axis; inferred from the first input if left out.
    out_features : int
        Length of the output's last axis.
    bias : bool
        Whether to add a learned vector.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None

    Raises
    ------
    ValueError
        If the last axis of an input is not `in_features` long.

    Notes
    -----
    Input (N, ..., in_features), output (N, ..., out_features).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Linear(out_features=10)(np.zeros((2, 784), dtype="float32")).shape
    (2, 10)
    """

    computes_with_operands = True
    weight: Parameter

    def __init__(
        self, in_features: int | None = None, out_features: int | None = None, bias: bool = True
    ) -> None:
        if out_features is None:
            raise TypeError(
                "Linear needs out_features; write Linear(784, 10), or Linear(out_features=10) to "
                "infer in_features from the input"
            )
        self.in_features = (
            None if in_features is None else as_int(in_features, "Linear", "in_features", 1)
        )
        self.out_features = as_int(out_features, "Linear", "out_features", 1)
        self.weight = Parameter(None, self._init)
        self.weight.pattern = (self.out_features, None)
        self.bias = Parameter((self.out_features,), self._init) if bias else None
        self._set_weight_shape()

    sample_ndim = 1

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, ..., out_features) for an input (N, ..., in_features)."""
        shape = tuple(input_shape)
        if len(shape) < 2:
            raise rank_error(self.who, 2, "(N, features)", shape)
        if self.in_features is not None and shape[-1] != self.in_features:
            hint = "; put a Flatten layer in front" if prod(shape[1:]) == self.in_features else ""
            raise ValueError(
                f"{self.who}: expected {self.in_features} input features (last axis), got "
                f"{shape[-1]} in an input of shape {shape}{hint}"
            )
        return (*shape[:-1], self.out_features)

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return rows times in_features times out_features."""
        return prod(input_shape) * self.out_features

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        return LINEAR.run(xp, x, *self.operands())

    def _infer(self, input_shape: Shape) -> None:
        if self.in_features is None and len(input_shape) >= 2:
            self.in_features = input_shape[-1]
            self._set_weight_shape()

    def _after_load(self) -> None:
        if self.in_features is None and self.weight.shape is not None:
            self.in_features = self.weight.shape[1]

    def _set_weight_shape(self) -> None:
        if self.in_features is not None:
            self.weight.shape = (self.out_features, self.in_features)

    def _init(self, shape: Shape, rng: Any) -> Any:
        """PyTorch's default: uniform on +-1 / sqrt(in_features), for weight and bias."""
        assert self.in_features is not None
        return fan_in_uniform(self.in_features)(shape, rng)
