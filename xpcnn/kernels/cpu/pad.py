"""Padding as resizing: a table says where each new element comes from, and none is a zero."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu.elementwise import declined
from xpcnn.kernels.cpu.resize import Table, by_tables
from xpcnn.kernels.cpu.vector import WIDTH
from xpcnn.kernels.trace import Declined
from xpcnn.ops.pad import pad_forward
from xpcnn.window import Ints, Pairs

NOWHERE = -1
"""Stands for a number that is no element of the array."""


def forward(xp: Any, x: Any, padding: Pairs, mode: str, value: float = 0.0) -> Any:
    """Extend the spatial axes of x (N, C, *spatial) by (before, after) elements each."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    if x.ndim not in (3, 4, 5) or len(padding) != x.ndim - 2:
        return Declined(f"padding {len(padding)} axes of {x.ndim}")
    if x.shape[1] < WIDTH:
        return Declined(f"{x.shape[1]} channels, fewer than {WIDTH}")
    if mode == "constant" and value != 0.0:
        return Declined("padding by another number than zero")
    tables = {
        axis: _table(x.shape[axis], tuple(sides), mode)
        for axis, sides in enumerate(padding, start=2)
        if any(sides)
    }
    return by_tables(x, tables), tuple(x.shape)


def backward(xp: Any, dy: Any, shape: Ints, padding: Pairs, mode: str) -> np.ndarray:
    """Add the gradient of every copied element to the element it was copied from."""
    tables = {
        axis: _transposed(shape[axis], tuple(sides), mode)
        for axis, sides in enumerate(padding, start=2)
        if any(sides)
    }
    return by_tables(dy, tables)


def _sources(n: int, sides: tuple[int, int], mode: str) -> np.ndarray:
    """Return from where each element of a padded axis comes; the definition pads the numbers."""
    found, _ = pad_forward(numpy_namespace(), np.arange(n), (sides,), mode, NOWHERE)
    sources: np.ndarray = found
    return sources


@lru_cache(maxsize=512)
def _table(n: int, sides: tuple[int, int], mode: str) -> Table:
    sources = _sources(n, sides, mode)
    there = sources != NOWHERE
    bounds = np.append(0, np.cumsum(there))
    return Table(bounds, sources[there], np.ones(there.sum(), np.float32))


@lru_cache(maxsize=512)
def _transposed(n: int, sides: tuple[int, int], mode: str) -> Table:
    """Say into which elements of the padded axis each element went."""
    sources = _sources(n, sides, mode)
    (new,) = np.nonzero(sources != NOWHERE)
    old = sources[new]
    bounds = np.append(0, np.cumsum(np.bincount(old, minlength=n)))
    return Table(bounds, new[np.argsort(old, kind="stable")], np.ones(len(new), np.float32))
