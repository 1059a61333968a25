"""Looking up rows of a table; the gradient adds up, row by row, what was given for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job
from xpcnn.kernels.cpu.vector import (
    SIXTEEN,
    load_first,
    load_index,
    lower_eight,
    narrow_both,
    store_first,
    upper_eight,
    wide_zero,
    widen,
)
from xpcnn.kernels.trace import Declined

State = tuple[np.ndarray, int]
"""The checked indices along one axis, and how many rows the table has."""


def embedding_forward(xp: Any, w: Any, indices: np.ndarray) -> Any:
    """Return the rows of w (V, D) that checked indices (...) name: (..., D)."""
    if w.dtype != np.float32 or w.size == 0 or indices.size == 0:
        return Declined(f"a {w.dtype} table of shape {w.shape}, {indices.size} indices")
    flat = np.ascontiguousarray(indices).reshape(-1)
    table, width = np.ascontiguousarray(w), w.shape[1]
    y = buffers.empty((*indices.shape, width))
    per_job = max(1, PIECE // width)
    threads.launch(
        y.size, _look_up, -(-flat.size // per_job), table.reshape(-1), flat, flat.size, width,
        per_job, y.reshape(-1),
    )  # fmt: skip
    return y, (flat, w.shape[0])


def embedding_backward(
    xp: Any, dy: Any, saved: State, padding_idx: int | None
) -> np.ndarray:  # fmt: skip
    """Return dw (V, D): of each row the sum over all places that named it, but for `padding_idx`.

    The places of each row are brought together by counting, in their order.
    """
    flat, rows = saved
    width = dy.shape[-1]
    given = np.ascontiguousarray(dy, np.float32)
    ends, places = buffers.empty(rows + 1, np.int64), buffers.empty(flat.size, np.int64)
    threads.launch(flat.size, _sort, 1, flat, flat.size, rows, ends, places)
    dw = buffers.empty((rows, width))
    per_job = max(1, PIECE // width)
    threads.launch(
        dy.size + dw.size, _add_up, -(-rows // per_job), given.reshape(-1), ends, places, rows,
        width, per_job, -1 if padding_idx is None else padding_idx, dw.reshape(-1),
    )  # fmt: skip
    return dw.astype(dy.dtype, copy=False)


@Job
def _look_up(
    job: int, w: Floats, indices: Ints, count: int, width: int, per_job: int, y: Floats
) -> None:  # fmt: skip
    for place in range(job * per_job, min(count, (job + 1) * per_job)):
        start = load_index(indices, place) * width
        for k in range(0, width, SIXTEEN):
            value = load_first(w, start + k, width - k, 0.0)
            store_first(y, place * width + k, value, width - k)


@Job
def _sort(job: int, indices: Ints, count: int, rows: int, ends: Ints, places: Ints) -> None:
    """Write the places of row 0, those of row 1, ..., and where those of each row end."""
    for row in range(rows + 1):
        ends[row] = 0
    for place in range(count):
        ends[load_index(indices, place) + 1] += 1
    for row in range(rows):
        ends[row + 1] += ends[row]
    # Each number is where its row begins, and moves on to where it ends.
    for place in range(count):
        row = load_index(indices, place)
        places[ends[row]] = place
        ends[row] += 1


@Job
def _add_up(
    job: int, dy: Floats, ends: Ints, places: Ints, rows: int, width: int, per_job: int,
    left_out: int, dw: Floats,
) -> None:  # fmt: skip
    """Add up in float64."""
    for row in range(job * per_job, min(rows, (job + 1) * per_job)):
        first, last = 0, load_index(ends, row)
        if row > 0:
            first = load_index(ends, row - 1)
        if row == left_out:
            first = last
        for k in range(0, width, SIXTEEN):
            low, high = wide_zero(), wide_zero()
            for i in range(first, last):
                value = load_first(dy, load_index(places, i) * width + k, width - k, 0.0)
                low, high = widen(low, lower_eight(value)), widen(high, upper_eight(value))
            store_first(dw, row * width + k, narrow_both(low, high), width - k)
