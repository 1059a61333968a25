"""Types and instructions that Numba does not have, for bodies of kernels.

Only Numba's public extension interface is used. What compiles imports this.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model


class _Vector(types.Type):
    """Several numbers in one register."""

    def __init__(self, name: str, register: ir.VectorType) -> None:
        super().__init__(name=name)
        self.register = register


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, kind.register)


_FLOAT = ir.FloatType()

TYPES: dict[str, Any] = {
    "nothing": types.void,
    "int": types.int64,
    "uint": types.uint64,
    "float": types.float32,
    "double": types.float64,
    "floats": types.CPointer(types.float32),
    "ints": types.CPointer(types.int64),
    "vec4": _Vector("float32x4", ir.VectorType(_FLOAT, 4)),
    "vec16": _Vector("float32x16", ir.VectorType(_FLOAT, 16)),
    "vec8": _Vector("float32x8", ir.VectorType(_FLOAT, 8)),
    "wide8": _Vector("float64x8", ir.VectorType(ir.DoubleType(), 8)),
}
"""By the names that :func:`writes` takes.

Besides, "array" is a pointer to anything, and "vec" any vector; as a result, that of the first one.
"""


def writes(result: str, *kinds: str) -> Callable[[Callable[..., Any]], Any]:
    """Make an instruction for bodies of a function that writes it for LLVM; a decorator.

    The function gets LLVM's builder and the values of the arguments, of these `kinds`.
    """

    def decorate(write: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            written = write(builder, *values)
            return context.get_dummy_value() if result == "nothing" else written

        def define(typing: Any, *given: Any) -> Any:
            arguments = [
                own if kind in ("array", "vec") else TYPES[kind]
                for kind, own in zip(kinds, given, strict=True)
            ]
            returned = arguments[kinds.index("vec")] if result == "vec" else TYPES[result]
            return returned(*arguments), generate

        define.__name__, define.__doc__ = write.__name__, write.__doc__
        # Numba reads the number of arguments there; the first is not one of the kernel's.
        setattr(define, "__signature__", inspect.signature(write))  # noqa: B010
        return intrinsic(define)

    return decorate
