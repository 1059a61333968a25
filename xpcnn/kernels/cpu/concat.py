"""Arrays put together along the channels: each is copied once, into memory of the same order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE, as_rows, declined
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.vector import WIDTH, load, store
from xpcnn.kernels.trace import Declined


def concat(xp: Any, first: Any, others: Sequence[Any], axis: int) -> Any:
    """Return arrays (N, C, ...) one behind the other along axis 1."""
    arrays = (first, *others)
    if any(a.dtype != np.float32 or a.size == 0 for a in arrays):
        return declined(*arrays)
    if axis != 1:
        return Declined(f"putting arrays together along axis {axis}")
    n, _, *spatial = first.shape
    channels = [a.shape[1] for a in arrays]
    shape = (n, sum(channels), *spatial)
    positions = prod(spatial)
    in_order = all(a.flags.c_contiguous and a.flags.aligned for a in arrays)
    if min(channels) * (positions if in_order else 1) < WIDTH:
        return Declined(f"an array of {min(channels)} channels")
    if in_order:
        y = buffers.empty(shape)
        start, row = 0, shape[1] * positions
        for a in arrays:
            length = a.shape[1] * positions
            _copy_into(y.reshape(-1)[start:], row, a.reshape(-1), length, n, length)
            start += length
        return y, None
    last = buffers.empty((n, *spatial, shape[1]))
    start = 0
    for a, count in zip(arrays, channels, strict=True):
        rows = as_rows(a)
        flat = last.reshape(-1)[start:]
        _copy_into(flat, shape[1], rows.flat, rows.pitch, n * positions, count)
        start += count
    return last.transpose(0, -1, *range(1, last.ndim - 1)), None


def _copy_into(
    y: np.ndarray, y_pitch: int, x: np.ndarray, pitch: int, rows: int, width: int
) -> None:
    """Copy rows of `width` numbers, at least 8, that lie so far apart in x and in y."""
    jobs = -(-rows // max(1, PIECE // width)) * -(-width // PIECE)
    threads.launch(rows * width, _copy_rows, jobs, x, pitch, rows, width, y, y_pitch)


@Job
def _copy_rows(
    job: int, x: Floats, pitch: int, rows: int, width: int, y: Floats, y_pitch: int
) -> None:
    columns = (width + PIECE - 1) // PIECE
    per = max(1, PIECE // width)
    first = job // columns * per
    left = job % columns * PIECE
    right = min(width, left + PIECE)
    for r in range(first, min(rows, first + per)):
        for k in range(left, right, WIDTH):
            c = min(k, right - WIDTH)
            store(y, r * y_pitch + c, load(x, r * pitch + c))
