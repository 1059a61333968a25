"""Dropout, whose masks are drawn on the device: the same as the host draws, and nobody waits."""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import rng
from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints

PER_BLOCK = 8
"""Numbers that one block of Philox gives."""


def dropout_forward(xp: ModuleType, x: Array, mask_shape: Ints, p: float, key: np.ndarray) -> Any:
    """Multiply x by a mask of 0 and 1 / (1 - p); what is kept of it is one byte for each number."""
    if refusal := source.refusal(x):
        return refusal
    whole = _whole_axes(tuple(x.shape), mask_shape)
    if whole is None:
        return Declined(f"a mask of shape {mask_shape} for {tuple(x.shape)}")
    count = prod(mask_shape)
    kept = source.empty(xp, (count,), x, False, xp.uint8)
    first, second = (int(part) for part in key.view(np.int64))
    blocks = source.blocks_for(-(-count // PER_BLOCK))
    source.launch("dropout.cu", "dropout_draw", x, blocks, kept, count, first, second, float(p))
    saved = kept, prod(x.shape[whole:]), rng.scale_of_kept(p)
    return _apply(xp, x, *saved), saved


def dropout_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    """Return the gradient: scaled where x was kept."""
    return _apply(xp, dy, *saved)


def _whole_axes(shape: Ints, mask_shape: Ints) -> int | None:
    """Return how many axes, the first ones, the mask has in full, if it has 1 along the others."""
    for whole in range(len(shape), -1, -1):
        if mask_shape == (*shape[:whole], *(1,) * (len(shape) - whole)):
            return whole
    return None


def _apply(xp: ModuleType, x: Array, kept: Array, together: int, scale: float) -> Array:
    """Multiply x by the mask, of which each number is for `together` elements."""
    x, last = source.dense(xp, x)
    y = source.empty(xp, tuple(x.shape), x, last)
    channels, positions = (x.shape[1], prod(x.shape[2:])) if last else (1, 1)
    source.launch(
        "dropout.cu", "dropout_apply", x, source.blocks_for(x.size), x, kept, y, float(scale),
        x.size, channels, positions, together,
    )  # fmt: skip
    return y
