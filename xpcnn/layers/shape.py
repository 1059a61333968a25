"""Layers that only rearrange."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.layers.layer import Layer, Shape


class Flatten(Layer):
    """Merge the axes from `start_dim` to `end_dim` into one.

    Parameters
    ----------
    start_dim, end_dim : int
        First and last axis to merge, both included.

    Raises
    ------
    ValueError
        If an input does not have these axes.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = int(start_dim)
        self.end_dim = int(end_dim)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape with the merged axes."""
        shape, ndim = tuple(input_shape), len(input_shape)
        start = self.start_dim + (ndim if self.start_dim < 0 else 0)
        end = self.end_dim + (ndim if self.end_dim < 0 else 0)
        if not 0 <= start <= end < ndim:
            raise ValueError(
                f"{self.who}: cannot merge axes {self.start_dim} to {self.end_dim} of an input of "
                f"shape {shape}"
            )
        return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return xp.reshape(F.in_order(x), self.output_shape(x.shape)), tuple(x.shape)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return xp.reshape(dy, saved) if need_dx else None
