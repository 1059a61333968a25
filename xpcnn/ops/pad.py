"""Padding by a constant, reflection, replication or wrapping round, one axis after the other.

A negative number of elements crops. Wrapping round then continues what is left of the axis, while
reflection and replication still see what is cropped, as in PyTorch.
"""

from __future__ import annotations

from types import ModuleType

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_floats
from xpcnn.window import Ints, Pairs

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
"""What a padding may hold, as in PyTorch."""


def pad_pairs(spatial: tuple[int, ...], padding: Pairs, mode: str, who: str) -> None:
    """Raise unless an input of that size can be padded so.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> F.pad_pairs((3,), ((2, 2),), "reflect", "example")
    >>> F.pad_pairs((3,), ((3, 0),), "reflect", "example")
    Traceback (most recent call last):
        ...
    ValueError: example: padding_mode 'reflect' can add at most 2 elements ...
    """
    if len(padding) != len(spatial):
        raise ValueError(
            f"{who}: expected one (before, after) pair for each of {len(spatial)} spatial axes, "
            f"got {padding!r}"
        )
    for n, sides in zip(spatial, padding, strict=True):
        if n + sum(sides) < 1:
            raise ValueError(
                f"{who}: padding {sides} leaves nothing of an axis of length {n}; crop less"
            )
        left = max(n + min(sides[0], 0) + min(sides[1], 0), 0)
        limit = {"reflect": n - 1, "circular": left}.get(mode)
        if limit is not None and max(sides) > limit:
            raise ValueError(
                f"{who}: padding_mode {mode!r} can add at most {limit} elements to an axis of "
                f"length {n}, asked for {sides}; use less padding or 'replicate'"
            )


def pad_forward(
    xp: ModuleType, x: Array, padding: Pairs, mode: str, value: float = 0.0
) -> tuple[Array, Ints]:
    """Extend the last axes of x by (before, after) elements each; fewer than none crop.

    mode "constant" adds `value`, "reflect" mirrors without repeating the edge, "replicate" repeats
    the edge, "circular" continues at the other end.
    """
    shape = tuple(x.shape)
    for axis, sides in enumerate(padding, start=x.ndim - len(padding)):
        if mode == "circular":
            x = x[_along(x, axis, _left(x.shape[axis], sides))]
        before, after = (max(side, 0) for side in sides)
        n = x.shape[axis]
        parts = [x]
        if before:
            parts.insert(0, _read(xp, x, axis, mode, value, before, at_start=True))
        if after:
            parts.append(_read(xp, x, axis, mode, value, after, at_start=False))
        if len(parts) > 1:
            x = xp.concat(parts, axis=axis)
        if mode != "circular" and min(sides) < 0:
            x = x[_along(x, axis, _left(n + before + after, sides))]
    return x, shape


def pad_backward(xp: ModuleType, dy: Array, shape: Ints, padding: Pairs, mode: str) -> Array:
    """Add the gradient of every copied element to the element it was copied from."""
    first = dy.ndim - len(padding)
    for axis, sides in reversed(list(enumerate(padding, start=first))):
        before, after = (max(side, 0) for side in sides)
        n = shape[axis]
        if mode == "circular":
            n += min(sides[0], 0) + min(sides[1], 0)
        elif min(sides) < 0:
            dy = _uncrop(xp, dy, axis, n + before + after, sides)
        dx = xp.asarray(dy[_along(dy, axis, slice(before, before + n))], copy=True)
        if before and mode != "constant":
            part = dy[_along(dy, axis, slice(0, before))]
            dx = _add_back(xp, dx, part, axis, mode, n, at_start=True)
        if after and mode != "constant":
            part = dy[_along(dy, axis, slice(before + n, before + n + after))]
            dx = _add_back(xp, dx, part, axis, mode, n, at_start=False)
        if mode == "circular" and min(sides) < 0:
            dx = _uncrop(xp, dx, axis, shape[axis], sides)
        dy = dx
    return dy


def _left(n: int, sides: tuple[int, int]) -> slice:
    """Say what is left of an axis of length n after cropping by the negative sides."""
    return slice(max(-sides[0], 0), n - max(-sides[1], 0))


def _uncrop(xp: ModuleType, dy: Array, axis: int, n: int, sides: tuple[int, int]) -> Array:
    """Put zeros where elements were cropped from an axis of length n."""
    full = (*dy.shape[:axis], n, *dy.shape[axis + 1 :])
    zeros = xp.zeros(full, dtype=dy.dtype, device=_xp.device_of(dy))
    return _xp.set_at(zeros, _along(dy, axis, _left(n, sides)), dy)


def _source(mode: str, count: int, n: int, at_start: bool) -> slice:
    """Say which elements of an axis of length n the padding copies."""
    if mode == "reflect":
        return slice(1, 1 + count) if at_start else slice(n - 1 - count, n - 1)
    if mode == "circular":
        return slice(n - count, n) if at_start else slice(0, count)
    return slice(0, 1) if at_start else slice(n - 1, n)


def _read(
    xp: ModuleType, x: Array, axis: int, mode: str, value: float, count: int, *, at_start: bool
) -> Array:
    """Return the elements that are added on one side."""
    added = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if mode == "constant":
        return xp.full(added, value, dtype=x.dtype, device=_xp.device_of(x))
    part = x[_along(x, axis, _source(mode, count, x.shape[axis], at_start))]
    if mode == "reflect":
        return xp.flip(part, axis=axis)
    if mode == "replicate":
        return xp.broadcast_to(part, added)
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


PAD = Op("pad", pad_forward, pad_backward, check=check_floats)


def pad(x: Array, padding: Pairs, mode: str = "reflect", value: float = 0.0) -> Array:
    """Extend the spatial axes of x (N, C, *spatial) by (before, after) elements each.

    `mode` is "reflect", "replicate", "circular", or "constant", which adds `value`. Negative
    numbers crop.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x = np.array([[[1.0, 2.0, 3.0]]])
    >>> F.pad(x, ((2, 1),)).tolist()
    [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]
    >>> F.pad(x, ((1, -1),), "constant", 9.0).tolist()
    [[[9.0, 1.0, 2.0]]]
    """
    modes = ("constant", *PADDING_MODES[1:])
    if mode not in modes:
        raise choice_error("pad", "mode", mode, modes)
    pad_pairs(tuple(x.shape[2:]), padding, mode, "pad")
    return PAD(x, padding, mode, value)[0]
