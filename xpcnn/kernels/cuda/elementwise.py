"""ReLU and sums of two arrays, in whatever order their memory is."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined


def relu_forward(xp: ModuleType, x: Array) -> Any:
    """Return max(x, 0), NaN going through."""
    if refusal := source.refusal(x):
        return refusal
    y = apply(xp, "relu_forward", x)
    return y, y


def relu_backward(xp: ModuleType, dy: Array, y: Array) -> Array:
    """Return the gradient where the output was positive."""
    return apply(xp, "gate", dy, y)


def add_forward(xp: ModuleType, a: Array, b: Array) -> Any:
    """Return a + b, two arrays of one shape."""
    return _refusal(a, b) or (apply(xp, "add", a, b), None)


def add_backward(xp: ModuleType, dy: Array, saved: None) -> tuple[Array, Array]:
    """Return the gradients of both: dy itself."""
    return dy, dy


def add_relu_forward(xp: ModuleType, a: Array, b: Array) -> Any:
    """Return max(a + b, 0), two arrays of one shape."""
    if refusal := _refusal(a, b):
        return refusal
    y = apply(xp, "add_relu", a, b)
    return y, y


def add_relu_backward(xp: ModuleType, dy: Array, saved: Array) -> tuple[Array, Array]:
    """Return the gradients of both, which are one array."""
    dx = apply(xp, "gate", dy, saved)
    return dx, dx


def apply(xp: ModuleType, kernel: str, first: Array, *others: Array) -> Array:
    """Run a kernel of elementwise.cu on arrays of one shape; the memory order is the first's."""
    first, last = source.dense(xp, first)
    arrays = [first, *(source.laid_out(xp, a, last) for a in others)]
    y = source.empty(xp, tuple(first.shape), first, last)
    count = first.size
    source.launch("elementwise.cu", kernel, first, source.blocks_for(count), *arrays, y, count)
    return y


def _refusal(a: Array, b: Array) -> Declined | None:
    if a.shape != b.shape:
        return Declined(f"arrays of shape {tuple(a.shape)} and {tuple(b.shape)}")
    return source.refusal(a, b)
