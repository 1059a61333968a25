"""Layers that run one operation."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.layers.layer import Layer
from xpcnn.ops import OPS


class OpLayer(Layer):
    """A layer that runs one operation, and has no parameters.

    A subclass names the operation, and in `options` those of its attributes that the operation
    takes behind the input. Where they depend on the input, it overrides `_options`.
    """

    op: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        pass

    def _options(self, x: Array) -> tuple[Any, ...]:
        """Check the input's shape, and return what the operation takes behind the input."""
        return tuple([getattr(self, name) for name in self.options])

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return OPS[self.op].run(xp, x, *self._options(x))

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return saved(dy) if need_dx else None
