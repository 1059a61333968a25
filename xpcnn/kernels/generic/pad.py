"""Padding by reflection, replication or wrapping round, one axis after the other."""

from __future__ import annotations

from types import ModuleType

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.window import Ints, Pairs


def pad_forward(xp: ModuleType, x: Array, padding: Pairs, mode: str) -> tuple[Array, Ints]:
    """Extend the spatial axes of x (N, C, *spatial) by (before, after) elements each.

    mode "reflect" mirrors without repeating the edge, "replicate" repeats the edge, "circular"
    continues at the other end.
    """
    shape = tuple(x.shape)
    for axis, (before, after) in enumerate(padding, start=2):
        n = x.shape[axis]
        parts = [x]
        if before:
            parts.insert(0, _read(xp, x, axis, mode, before, n, at_start=True))
        if after:
            parts.append(_read(xp, x, axis, mode, after, n, at_start=False))
        if len(parts) > 1:
            x = xp.concat(parts, axis=axis)
    return x, shape


def pad_backward(xp: ModuleType, dy: Array, shape: Ints, padding: Pairs, mode: str) -> Array:
    """Add the gradient of every copied element to the element it was copied from."""
    for axis, (before, after) in reversed(list(enumerate(padding, start=2))):
        n = shape[axis]
        dx = xp.asarray(dy[_along(dy, axis, slice(before, before + n))], copy=True)
        if before:
            part = dy[_along(dy, axis, slice(0, before))]
            dx = _add_back(xp, dx, part, axis, mode, n, at_start=True)
        if after:
            part = dy[_along(dy, axis, slice(before + n, before + n + after))]
            dx = _add_back(xp, dx, part, axis, mode, n, at_start=False)
        dy = dx
    return dy


def _source(mode: str, count: int, n: int, at_start: bool) -> slice:
    """Say which elements of an axis of length n the padding copies."""
    if mode == "reflect":
        return slice(1, 1 + count) if at_start else slice(n - 1 - count, n - 1)
    if mode == "circular":
        return slice(n - count, n) if at_start else slice(0, count)
    return slice(0, 1) if at_start else slice(n - 1, n)


def _read(
    xp: ModuleType, x: Array, axis: int, mode: str, count: int, n: int, *, at_start: bool
) -> Array:
    part = x[_along(x, axis, _source(mode, count, n, at_start))]
    if mode == "reflect":
        return xp.flip(part, axis=axis)
    if mode == "replicate":
        return xp.broadcast_to(part, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    return part


def _add_back(
    xp: ModuleType, dx: Array, part: Array, axis: int, mode: str, n: int, *, at_start: bool
) -> Array:
    count = part.shape[axis]
    if mode == "reflect":
        part = xp.flip(part, axis=axis)
    elif mode == "replicate":
        part = xp.sum(part, axis=axis, keepdims=True, dtype=part.dtype)
    return _xp.add_at(dx, _along(dx, axis, _source(mode, count, n, at_start)), part)


def _along(x: Array, axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if a == axis else slice(None) for a in range(x.ndim))
