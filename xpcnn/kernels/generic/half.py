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
    """Make a pair for a function of one array compute in float32 at least."""
    # No functions made here: a layer keeps its backward, and can be pickled with it.
    return partial(_forward, forward), partial(_backward, backward)


def _forward(
    forward: Callable[..., Any], xp: ModuleType, x: Array, *options: Any
) -> tuple[Array, Any]:
    y, saved = forward(xp, widen(xp, x), *options)
    return narrow(xp, y, x.dtype), saved


def _backward(backward: Callable[..., Any], xp: ModuleType, dy: Array, saved: Any) -> Array:
    return narrow(xp, backward(xp, widen(xp, dy), saved), dy.dtype)
