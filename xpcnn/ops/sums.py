"""Sums over a batch that do not lose digits, however many terms there are and wherever they lie.

A plain sum in float32 rounds after every term, so that its error grows with their number; NumPy
adds in pairs only along an axis that is contiguous. What is summed here is summed in
:func:`xpcnn._xp.sum_dtype`, and rounded once.
"""

from __future__ import annotations

from math import prod
from types import ModuleType

from xpcnn import _xp
from xpcnn._xp import Array

Axes = int | tuple[int, ...] | None

LONGEST = 4096
"""Terms that one matrix product adds up in its own precision."""


def total(xp: ModuleType, x: Array, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Sum over axes, all of them without `axis`; returns the dtype of x."""
    y = xp.sum(x, axis=axis, keepdims=keepdims, dtype=_xp.sum_dtype(xp, x))
    if y.ndim == 0:
        y = xp.reshape(y, ())  # NumPy gives a number, not an array, where no axis is left
    return xp.astype(y, x.dtype, copy=False)


def mean(xp: ModuleType, x: Array, axis: int | tuple[int, ...], *, keepdims: bool = False) -> Array:
    """Average over axes; returns the dtype of x. The mean of nothing is NaN."""
    axes = (axis,) if isinstance(axis, int) else axis
    count = prod([x.shape[a] for a in axes])
    y = xp.sum(x, axis=axes, keepdims=keepdims, dtype=_xp.sum_dtype(xp, x))
    y = y / count if count else xp.full_like(y, xp.nan)
    return xp.astype(y, x.dtype, copy=False)


def product(xp: ModuleType, a: Array, b: Array) -> Array:
    """Return a @ b^T for a (..., I, K) and b (..., J, K), where K may be very long."""
    count = a.shape[-1]
    if count <= LONGEST:
        return a @ _transposed(xp, b)
    wide = _xp.sum_dtype(xp, a)
    y = None
    for start in range(0, count, LONGEST):
        part = slice(start, min(start + LONGEST, count))
        piece = a[..., part] @ _transposed(xp, b[..., part])
        piece = xp.astype(piece, wide, copy=False)
        y = piece if y is None else y + piece
    return xp.astype(y, a.dtype, copy=False)


def _transposed(xp: ModuleType, x: Array) -> Array:
    return xp.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
