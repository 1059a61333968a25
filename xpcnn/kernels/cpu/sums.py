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
    store,
    store_wide,
    where_open,
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


@Job
def _gate_and_sum_rows(
    job: int, x: Floats, gate: Floats, rows: int, row: int, width: int, pieces: int, y: Floats,
    partial: Doubles,
) -> None:  # fmt: skip
    """Write zero where the gate, of dense rows as y, is closed, and sum what is left."""
    first, last = job * rows // pieces, (job + 1) * rows // pieces
    for k in range(0, width, WIDTH):
        c = min(k, width - WIDTH)
        total = wide_zero()
        for run in range(first, last, 2 * RUN):
            a, b = zero(), zero()
            end = min(last, run + 2 * RUN)
            for p in range(run, end):
                at = p * width + c
                value = where_open(load(gate, at), load(x, p * row + c), zero())
                store(y, at, value)
                if (p - run) % 2 == 0:
                    a = add(a, value)
                else:
                    b = add(b, value)
            total = widen(widen(total, a), b)
        store_wide(partial, job * width + c, total)


def sum_rows(x: np.ndarray) -> np.ndarray:
    """Sum the rows of a matrix of float32; returns float32."""
    rows, width = x.shape
    if not _has_vectors(x):
        return x.sum(axis=0, dtype=np.float64).astype(np.float32)
    flat, row = rows_of(x)
    partial = _new_sums(rows, width)
    threads.launch(
        x.size, _sum_rows, len(partial), flat, rows, row, width, len(partial), partial.reshape(-1)
    )
    return _whole(partial)


def gated_rows(dy: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dy where y, the output of ReLU, is positive or NaN, and the sum of its rows.

    Both are matrices of float32, y in one piece.
    """
    rows, width = dy.shape
    if not _has_vectors(dy):
        gated = np.where(y <= 0, np.float32(0), dy)
        return gated, sum_rows(gated)
    flat, row = rows_of(dy)
    out, partial = buffers.empty((rows, width)), _new_sums(rows, width)
    threads.launch(
        dy.size, _gate_and_sum_rows, len(partial), flat, y.reshape(-1), rows, row, width,
        len(partial), out.reshape(-1), partial.reshape(-1),
    )  # fmt: skip
    return out, _whole(partial)


def _has_vectors(x: np.ndarray) -> bool:
    """Whether a matrix has rows of a vector or more, and enough of them to be worth a kernel."""
    rows, width = x.shape
    dense = x.strides[1] == 4 and x.strides[0] >= 4 * width and x.strides[0] % 4 == 0
    return dense and width >= WIDTH and rows >= 2 * PIECES


def rows_of(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a matrix as flat memory and the distance of its rows; copies if it must."""
    n, width = x.shape
    if x.flags.c_contiguous and x.flags.writeable:
        return x.reshape(-1), width
    if n > 0 and x.strides[1] == 4 and x.strides[0] >= 4 * width and x.flags.writeable:
        flat = np.lib.stride_tricks.as_strided(x, ((n - 1) * (x.strides[0] // 4) + width,), (4,))
        return flat, x.strides[0] // 4
    out = buffers.empty(x.shape)
    out[...] = x
    return out.reshape(-1), width


def _new_sums(rows: int, width: int) -> np.ndarray:
    return buffers.empty((min(PIECES, rows // RUN + 1), width), np.float64)


def _whole(partial: np.ndarray) -> np.ndarray:
    """Add the sums of the pieces."""
    total: np.ndarray = partial.sum(axis=0).astype(np.float32)
    return total
