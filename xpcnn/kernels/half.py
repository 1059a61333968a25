"""float16 and bfloat16, where their eleven or eight bits are too few to compute with.

Sums lose what is small against them, and exponentials what is small against one. Such operations
work in float32 and round once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from xpcnn._xp import Array, dtype_name

HALVES = ("float16", "bfloat16")


def widen(xp: ModuleType, x: Array) -> Array:
    """Return x in float32 if it is in half precision, else x itself."""
    return xp.astype(x, xp.float32) if dtype_name(x) in HALVES else x


def narrow(xp: ModuleType, x: Array, dtype: Any) -> Array:
    """Return x in a dtype; itself if it has that."""
    return xp.astype(x, dtype, copy=False)


def in_float32(
    forward: Callable[..., Any], backward: Callable[..., Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make a pair compute in float32 at least, and round what it returns."""
    # No functions made here: a layer keeps its backward, and can be pickled with it.
    return partial(_forward, forward), partial(_backward, backward)


def inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that one made by :func:`in_float32` stands for; any other is itself."""
    if isinstance(function, partial) and function.func in (_forward, _backward):
        found: Callable[..., Any] = function.args[0]
        return found
    return function


def _forward(
    forward: Callable[..., Any], xp: ModuleType, *args: Any, **options: Any
) -> tuple[Any, Any]:
    operands = [a for a in args if a is None or hasattr(a, "dtype")]
    dtypes = [None if a is None else a.dtype for a in operands]
    halves = [a.dtype for a in operands if a is not None and dtype_name(a) in HALVES]
    y, saved = forward(xp, *(widen(xp, a) if hasattr(a, "dtype") else a for a in args), **options)
    if halves and isinstance(y, tuple):
        y = (narrow(xp, y[0], halves[0]), *y[1:])
    elif halves:
        y = narrow(xp, y, halves[0])
    return y, (saved, dtypes)


def _backward(
    backward: Callable[..., Any], xp: ModuleType, dy: Array, saved: Any, *settings: Any
) -> Any:
    saved, dtypes = saved
    found = backward(xp, widen(xp, dy), saved, *settings)
    if not isinstance(found, tuple):
        return narrow(xp, found, dy.dtype)
    # The gradients are in the order of the operands.
    return tuple(
        gradient if gradient is None else narrow(xp, gradient, dtype)
        for gradient, dtype in zip(found, dtypes, strict=False)
    )
