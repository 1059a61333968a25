"""Sums, products and functions of each element, of arrays and of plain numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from xpcnn import operations
from xpcnn.interop.torch.problems import UnsupportedError
from xpcnn.interop.torch.values import BATCH, Value

# Functions of each element, and the operation that each is.
UNARY = {
    "abs": "Absolute", "exp": "Exp", "log": "Log", "sqrt": "SquareRoot",
    "reciprocal": "Reciprocal", "erf": "Erf", "sin": "Sin", "cos": "Cos",
}  # fmt: skip


def _number(value: Any) -> float:
    if value is BATCH or not isinstance(value, (int, float)):
        raise UnsupportedError(f"arithmetic of an array with {value!r}")
    return float(value)


def _affine(maker: Any, x: Value, scale: float, shift: float = 0.0) -> Value:
    return maker.put(operations.Affine(scale=scale, shift=shift), x)


def _add(maker: Any, a: Any, b: Any, alpha: float = 1) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return maker.put(operations.Add(), a, b if alpha == 1 else _affine(maker, b, alpha))
    if isinstance(a, Value):
        return _affine(maker, a, 1.0, alpha * _number(b))
    return _affine(maker, b, alpha, _number(a))


def _subtract(maker: Any, a: Any, b: Any, alpha: float = 1) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        b = b if alpha == 1 else _affine(maker, b, alpha)
        return maker.put(operations.Subtract(), a, b)
    return _add(maker, a, b, -alpha)


def _multiply(maker: Any, a: Any, b: Any) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return maker.put(operations.Multiply(), a, b)
    x, number = (a, b) if isinstance(a, Value) else (b, a)
    return _affine(maker, x, _number(number))


def _divide(maker: Any, a: Any, b: Any, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise UnsupportedError(f"rounding_mode={rounding_mode!r}")
    if isinstance(a, Value) and isinstance(b, Value):
        return maker.put(operations.Divide(), a, b)
    if isinstance(a, Value):
        return _affine(maker, a, 1.0 / _number(b))
    return _affine(maker, maker.put(operations.Reciprocal(), b), _number(a))


def _power(maker: Any, x: Any, exponent: Any) -> Value:
    if not isinstance(x, Value) or exponent not in (-1, 0.5, 1, 2, 3):
        raise UnsupportedError(f"the exponent {exponent!r}; -1, 0.5, 1, 2 and 3 are known")
    if exponent == 0.5:
        return maker.put(operations.SquareRoot(), x)
    if exponent == -1:
        return maker.put(operations.Reciprocal(), x)
    y = x
    for _ in range(int(exponent) - 1):
        y = maker.put(operations.Multiply(), y, x)
    return y


def _clamp(maker: Any, x: Value, min: float | None = None, max: float | None = None) -> Value:
    limits = (None if limit is None else _number(limit) for limit in (min, max))
    return maker.put(operations.Clip(*limits), x)


def _rsqrt(maker: Any, x: Value) -> Value:
    return maker.put(operations.Reciprocal(), maker.put(operations.SquareRoot(), x))


def _matmul(maker: Any, a: Value, b: Value) -> Value:
    return maker.put(operations.MatMul(), a, b)


def _unary(kind: str) -> Callable[..., Any]:
    return lambda maker, x: maker.put(getattr(operations, kind)(), x)


def _or_numbers(function: Callable[..., Any], handler: Callable[..., Any] | None = None) -> Any:
    """Compute with plain numbers at once, and with arrays in the graph."""

    def run(maker: Any, *arguments: Any, **options: Any) -> Any:
        if any(isinstance(a, Value) for a in arguments):
            if handler is None:
                raise UnsupportedError("does not take arrays")
            return handler(maker, *arguments, **options)
        if any(a is BATCH for a in arguments):
            raise UnsupportedError("arithmetic with the size of the batch, which may change")
        return function(*arguments)

    return run


_BINARY: dict[tuple[str, ...], tuple[Any, Any]] = {
    ("add", "iadd", "radd"): (operator.add, _add),
    ("sub", "isub", "subtract"): (operator.sub, _subtract),
    ("mul", "imul", "multiply"): (operator.mul, _multiply),
    ("truediv", "itruediv", "div", "divide"): (operator.truediv, _divide),
    ("pow", "ipow"): (operator.pow, _power),
    ("neg", "negative"): (operator.neg, lambda maker, x: _affine(maker, x, -1.0)),
    ("floordiv",): (operator.floordiv, None),
    ("mod",): (operator.mod, None),
    ("eq",): (operator.eq, None),
    ("int",): (int, None),
    ("float",): (float, None),
}

HANDLERS: dict[str, Callable[..., Any]] = {
    name: _or_numbers(*pair) for names, pair in _BINARY.items() for name in names
} | {
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": lambda maker, x, min: _clamp(maker, x, min),
    "clamp_max": lambda maker, x, max: _clamp(maker, x, None, max),
    "rsqrt": _rsqrt,
    "matmul": _matmul,
    "bmm": _matmul,
    **{name: _unary(kind) for name, kind in UNARY.items()},
    "square": lambda maker, x: _power(maker, x, 2),
}
