"""What layers with a weight and a bias have in common."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.layers.layer import Layer
from xpcnn.layers.parameter import Parameter


class Weighted(Layer):
    """A layer with a `weight` and a `bias`, either of which may be absent."""

    weight: Parameter | None
    bias: Parameter | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, of which `bias` says whether there is one."""
        found = super().arguments()
        if "bias" in found:
            found["bias"] = self.bias is not None or self.weight is None
        return found

    def _operands(self) -> tuple[Array | None, Array | None]:
        """Return the arrays to compute with."""
        weight = None if self.weight is None else self.weight.operand
        return weight, None if self.bias is None else self.bias.operand

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        dx, *gradients = saved(dy, need_dx)
        self.accumulate(*gradients)
        return dx

    def accumulate(self, dw: Array | None, db: Array | None = None) -> None:
        """Add gradients to those of weight and bias, if there are any."""
        if self.weight is not None:
            self.weight.accumulate(dw)
        if self.bias is not None:
            self.bias.accumulate(db)
