"""Sums over many rows: runs of float32, added up in float64.

A sum of float32 that goes on for ever loses digits with every term: of a million equal ones it may
be wrong by a thousandth. All sums of rows and pixels are made here; products of matrices add up
blocks of them, in ``product.py``, and batch normalisation its moments, both in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job, inner
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.kernels.cpu.vector import (
    RUN,
    WIDTH,
    add,
    load,
    load_wide,
    store_wide,
    wide_zero,
    widen,
    zero,
)

PIECES = 16
"""Jobs of a sum, at most; not more with more threads, so that results do not depend on them."""


@inner
def add_rows(d: Any, start: int, cells: Any, count: int, blocks: int, db: Any, to: int) -> None:
    """Add up all rows of 16 columns at a time, even and odd rows apart."""
    for o in range(0, blocks * COLUMNS, COLUMNS):
        at = start + o
        sum0, sum1 = load_wide(db, to + o), load_wide(db, to + o + 8)
        for run in range(0, count, 2 * RUN):
            a0, a1, b0, b1 = zero(), zero(), zero(), zero()
            last = min(count, run + 2 * RUN)
            for p in range(run, last - 1, 2):
                even, odd = at + cells[p], at + cells[p + 1]
                a0, a1 = add(a0, load(d, even)), add(a1, load(d, even + 8))
                b0, b1 = add(b0, load(d, odd)), add(b1, load(d, odd + 8))
            if last % 2 == 1:
                even = at + cells[last - 1]
                a0, a1 = add(a0, load(d, even)), add(a1, load(d, even + 8))
            sum0, sum1 = widen(widen(sum0, a0), b0), widen(widen(sum1, a1), b1)
        store_wide(db, to + o, sum0)
        store_wide(db, to + o + 8, sum1)


@Job
def _sum_rows(
    job: int, x: Floats, rows: int, row: int, width: int, pieces: int, partial: Doubles
) -> None:
    """Sum columns (8 or more) of a matrix, in pieces."""
    first, last = job * rows // pieces, (job + 1) * rows // pieces
    for k in range(0, width, WIDTH):
        c = min(k, width - WIDTH)
        total = wide_zero()
        for run in range(first, last, 2 * RUN):
            a, b = zero(), zero()
            end = min(last, run + 2 * RUN)
            for p in range(run, end - 1, 2):
                a = add(a, load(x, p * row + c))
                b = add(b, load(x, (p + 1) * row + c))
            if (end - run) % 2 == 1:
                a = add(a, load(x, (end - 1) * row + c))
            total = widen(widen(total, a), b)
        store_wide(partial, job * width + c, total)


def sum_rows(x: np.ndarray) -> np.ndarray:
    """Sum the rows of a matrix of float32; returns float32."""
    rows, width = x.shape
    if width < WIDTH or rows < 2 * PIECES or x.strides[1] != 4 or x.strides[0] < 4 * width:
        return x.sum(axis=0, dtype=np.float64).astype(np.float32)
    row = x.strides[0] // 4
    flat = np.lib.stride_tricks.as_strided(x, ((rows - 1) * row + width,), (4,))
    partial = buffers.empty((min(PIECES, rows // RUN + 1), width), np.float64)
    threads.launch(
        x.size, _sum_rows, len(partial), flat, rows, row, width, len(partial), partial.reshape(-1)
    )
    total: np.ndarray = partial.sum(axis=0).astype(np.float32)
    return total
