"""Channels and positions exchanged: where an element comes from is a sum of one offset per axis."""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import Any

import numpy as np

from xpcnn.kernels.cpu import threads
from xpcnn.kernels.cpu.elementwise import declined
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job
from xpcnn.kernels.cpu.layout import new_output
from xpcnn.kernels.cpu.vector import load_index
from xpcnn.kernels.lifting import lower
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints as Sizes


def rearrange(xp: Any, x: Any, cut: Sizes, order: Sizes, merged: Sizes) -> Any:
    """Cut the axes of channels-last images, bring the pieces into another order, and merge them.

    Parameters
    ----------
    x : array (N, C, H, W) or (N, C, L)
    cut : tuple of int
        The shape with the axes cut.
    order : tuple of int
        The new order of the pieces.
    merged : tuple of int
        The shape of the result, of as many axes as x has.
    """
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    if x.ndim not in (3, 4) or len(merged) != x.ndim:
        return Declined(f"rearranging {x.ndim} axes into {len(merged)}")
    last = x.transpose(0, *range(2, x.ndim), 1)
    if not (last.flags.c_contiguous and last.flags.aligned) or x.flags.c_contiguous:
        return Declined("the channels do not come last")
    pieces = x.reshape(cut).transpose(order)  # a view: cutting an axis copies nothing
    images, channels, lines, columns = _offsets(pieces.shape, pieces.strides, merged)
    flat, y = new_output(len(images), len(channels), (len(lines), len(columns)), len(channels))
    threads.launch(
        8 * x.size, _collect, len(images) * len(lines), last.reshape(-1), images, lines, columns,
        channels, len(lines), len(columns), len(channels), flat,
    )  # fmt: skip
    return lower(y, x.ndim), None


@lru_cache(maxsize=256)
def _offsets(shape: Sizes, strides: Sizes, merged: Sizes) -> tuple[np.ndarray, ...]:
    """Return how far each position of the merged axes is from the first, in float32 numbers.

    Those of images, channels, lines and columns; a signal is one line.
    """
    steps = [
        np.arange(size, dtype=np.int64) * (stride // 4)
        for size, stride in zip(shape, strides, strict=True)
    ]
    found = []
    for length in merged:
        # the pieces that make this axis: as many as have its length together
        parts = [np.zeros(1, np.int64)]
        count = 1
        while count < length:
            parts.append(steps.pop(0))
            count *= len(parts[-1])
        found.append(reduce(np.add.outer, parts).reshape(-1))
    if len(found) == 3:
        found.insert(2, np.zeros(1, np.int64))
    return tuple(found)


@Job
def _collect(
    job: int, x: Floats, images: Ints, lines: Ints, columns: Ints, channels: Ints, height: int,
    width: int, count: int, y: Floats,
) -> None:  # fmt: skip
    """Write one line of the result."""
    n = job // height
    start = load_index(images, n) + load_index(lines, job - n * height)
    for j in range(width):
        at = start + load_index(columns, j)
        to = (job * width + j) * count
        for c in range(count):
            y[to + c] = x[at + load_index(channels, c)]
