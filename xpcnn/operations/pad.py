"""Padding of any axes by constants or by copies."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Steered
from xpcnn.operations.numbers import as_ints, chosen, needed, normal_dims
from xpcnn.operations.tables import add_back
from xpcnn.ops.tables import pick

MODES = ("constant", "reflect", "replicate", "circular")


class Pad(Steered):
    """An array extended along its axes; negative amounts cut off.

    Parameters
    ----------
    padding : sequence of int, optional
        How many elements to add: before each axis in `dims`, then behind each. What is left out
        is taken from the inputs behind the first: padding, value, dims.
    mode : {"constant", "reflect", "replicate", "circular"}
        What is added: a constant, the mirror image without the edge, the edge, or the other end.
    value : float
        The constant, if no input holds it.
    dims : sequence of int, optional
        The axes; all if left out everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Pad
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> Pad([1, 2])(x).tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]
    >>> Pad([1, 2], mode="reflect")(x).tolist()
    [2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    >>> Pad([-1, 0])(x).tolist()
    [2.0, 3.0]
    """

    def __init__(
        self,
        padding: Sequence[int] | None = None,
        mode: str = "constant",
        value: float = 0.0,
        dims: Sequence[int] | None = None,
    ) -> None:
        if mode not in MODES:
            raise choice_error("Pad", "mode", mode, MODES)
        self.padding = as_ints(padding)
        self.mode = mode
        self.value = value
        self.dims = as_ints(dims)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        new = list(shape)
        for dim, before, after in self._amounts(shape, inputs):
            new[dim] += before + after
        return tuple(new)

    def _amounts(self, shape: Shape, inputs: tuple[Any, ...]) -> list[tuple[int, int, int]]:
        """List (axis, before, after)."""
        padding = needed(self.padding, inputs, self.who, "padding")
        given = chosen(self.dims, inputs, 3)
        dims = normal_dims(range(len(shape)) if given is None else given, len(shape), self.who)
        if len(padding) != 2 * len(dims):
            raise ValueError(
                f"{self.who}: expected an amount before and one behind each of {len(dims)} axes, "
                f"got {padding}"
            )
        amounts = list(zip(dims, padding[: len(dims)], padding[len(dims) :], strict=True))
        if any(shape[dim] + before + after < 0 for dim, before, after in amounts):
            raise ValueError(f"{self.who}: cuts off more than there is of the shape {shape}")
        return amounts

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        value = inputs[2] if len(inputs) > 2 else None
        tables = []
        for axis, before, after in self._amounts(tuple(x.shape), inputs):
            if before or after:
                n = x.shape[axis]
                positions = self.positions(n, before, after)
                tables.append((axis, positions, n))
                if (positions < 0).any():
                    x = xp.concat([x, self._constant(xp, x, axis, value)], axis=axis)
                x = pick(xp, x, axis, np.where(positions < 0, n, positions))
        return (x,), tables

    def positions(self, n: int, before: int, after: int) -> np.ndarray:
        """Say which element of an axis stands where; -1 is none."""
        wanted = np.arange(-before, n + after)
        if self.mode == "constant" or ((wanted >= 0) & (wanted < n)).all():
            return np.where((wanted >= 0) & (wanted < n), wanted, -1)
        if n == 0:
            raise ValueError(f"{self.who}: there is nothing to copy along an axis of length 0")
        if self.mode == "replicate":
            return np.clip(wanted, 0, n - 1)
        if self.mode == "circular":
            return wanted % n
        # the mirror image, and that of the mirror image ...
        period = max(2 * (n - 1), 1)
        wanted = wanted % period
        return np.minimum(wanted, period - wanted) if n > 1 else np.zeros_like(wanted)

    def _constant(self, xp: ModuleType, x: Array, axis: int, value: Array | None) -> Array:
        shape = tuple(1 if a == axis else n for a, n in enumerate(x.shape))
        if value is None:
            return xp.full(shape, self._own_value(x), dtype=x.dtype, device=_xp.device_of(x))
        return xp.broadcast_to(xp.reshape(value, (1,) * x.ndim), shape)

    def _own_value(self, x: Array) -> Any:
        if _xp.is_floating(x):
            return float(self.value)
        return bool(self.value) if _xp.dtype_name(x) == "bool" else int(self.value)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        (dx,) = dys
        for axis, positions, n in reversed(saved):
            dx = add_back(xp, dx, axis, positions, n)
        return (dx,)
