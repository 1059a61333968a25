"""The two register tiles that convolution and linear layers are made of.

Both gather one operand from anywhere, so that an image is read in place, whatever the rank,
stride, dilation and padding: nothing is copied into columns.

    times   y[p, o]  = bias[o] + sum over r, t of x[p + runs[r] + t] * w[r, t, o]
    outer   g[k, o]  = sum over p of x[rows[p] + taps[k]] * d[cells[p] + o]

A tile of 6 rows and 16 columns stays in registers: twelve accumulators, two vectors of weights and
one broadcast number are fifteen of the sixteen registers of AVX2.
"""

from __future__ import annotations

from typing import Any

from xpcnn.kernels.cpu.jobs import inner
from xpcnn.kernels.cpu.vector import add, fma, load, load_index, load_splat, relu, store, zero

ROWS = 6
COLUMNS = 16
BLOCK = 96
"""Rows worked on before the next columns: their inputs stay in the first-level cache."""


@inner
def add_products(x: Any, at: int, w0: Any, w1: Any, a0: Any, a1: Any) -> Any:
    """Return two sums with x[at] times two vectors added."""
    v = load_splat(x, at)
    return fma(v, w0, a0), fma(v, w1, a1)


@inner
def store_row(y: Any, at: int, a0: Any, a1: Any) -> None:
    """Write the sixteen columns of a row."""
    store(y, at, a0)
    store(y, at + 8, a1)


@inner
def five_more(row: int, end: int) -> Any:
    """Return the five rows after one, for a tile; the last again where they would reach `end`."""
    last = end - 1
    r1, r2, r3 = min(row + 1, last), min(row + 2, last), min(row + 3, last)
    return r1, r2, r3, min(row + 4, last), min(row + 5, last)


@inner
def _times_tile(
    x: Any, p0: int, p1: int, p2: int, p3: int, p4: int, p5: int,
    runs: Any, length: int, w: Any, k: int, stride: int, bias: Any, b: int, negative: int,
    y: Any, y0: int, y1: int, y2: int, y3: int, y4: int, y5: int,
) -> None:  # fmt: skip
    b0, b1 = load(bias, b), load(bias, b + 8)
    a00, a01, a10, a11, a20, a21 = b0, b1, b0, b1, b0, b1
    a30, a31, a40, a41, a50, a51 = b0, b1, b0, b1, b0, b1
    for r in range(runs.size):
        o = runs[r]
        q0, q1, q2, q3, q4, q5 = p0 + o, p1 + o, p2 + o, p3 + o, p4 + o, p5 + o
        for t in range(length):
            w0, w1 = load(w, k), load(w, k + 8)
            a00, a01 = add_products(x, q0 + t, w0, w1, a00, a01)
            a10, a11 = add_products(x, q1 + t, w0, w1, a10, a11)
            a20, a21 = add_products(x, q2 + t, w0, w1, a20, a21)
            a30, a31 = add_products(x, q3 + t, w0, w1, a30, a31)
            a40, a41 = add_products(x, q4 + t, w0, w1, a40, a41)
            a50, a51 = add_products(x, q5 + t, w0, w1, a50, a51)
            k += stride
    if negative == 0:
        a00, a01, a10, a11 = relu(a00), relu(a01), relu(a10), relu(a11)
        a20, a21, a30, a31 = relu(a20), relu(a21), relu(a30), relu(a31)
        a40, a41, a50, a51 = relu(a40), relu(a41), relu(a50), relu(a51)
    store_row(y, y0, a00, a01)
    store_row(y, y1, a10, a11)
    store_row(y, y2, a20, a21)
    store_row(y, y3, a30, a31)
    store_row(y, y4, a40, a41)
    store_row(y, y5, a50, a51)


@inner
def _outer_tile(
    x: Any, rows: Any, xb: int, t0: int, t1: int, t2: int, t3: int, t4: int, t5: int,
    d: Any, cells: Any, db: int, first: int, last: int, fresh: int,
    g: Any, g0: int, g1: int, g2: int, g3: int, g4: int, g5: int,
) -> None:  # fmt: skip
    # Each block of rows is summed by itself: a sum that goes on for ever loses digits.
    a00, a01, a10, a11, a20, a21 = zero(), zero(), zero(), zero(), zero(), zero()
    a30, a31, a40, a41, a50, a51 = zero(), zero(), zero(), zero(), zero(), zero()
    for p in range(first, last):
        q, c = xb + load_index(rows, p), db + load_index(cells, p)
        d0, d1 = load(d, c), load(d, c + 8)
        a00, a01 = add_products(x, q + t0, d0, d1, a00, a01)
        a10, a11 = add_products(x, q + t1, d0, d1, a10, a11)
        a20, a21 = add_products(x, q + t2, d0, d1, a20, a21)
        a30, a31 = add_products(x, q + t3, d0, d1, a30, a31)
        a40, a41 = add_products(x, q + t4, d0, d1, a40, a41)
        a50, a51 = add_products(x, q + t5, d0, d1, a50, a51)
    if fresh == 0:
        # First all are read: a tile that is not full writes one result several times.
        a00, a01 = add(a00, load(g, g0)), add(a01, load(g, g0 + 8))
        a10, a11 = add(a10, load(g, g1)), add(a11, load(g, g1 + 8))
        a20, a21 = add(a20, load(g, g2)), add(a21, load(g, g2 + 8))
        a30, a31 = add(a30, load(g, g3)), add(a31, load(g, g3 + 8))
        a40, a41 = add(a40, load(g, g4)), add(a41, load(g, g4 + 8))
        a50, a51 = add(a50, load(g, g5)), add(a51, load(g, g5 + 8))
    store_row(g, g0, a00, a01)
    store_row(g, g1, a10, a11)
    store_row(g, g2, a20, a21)
    store_row(g, g3, a30, a31)
    store_row(g, g4, a40, a41)
    store_row(g, g5, a50, a51)


@inner
def _outer_block(
    x: Any, rows: Any, xb: int, taps: Any, first_tap: int, last_tap: int,
    d: Any, cells: Any, db: int, first_block: int, last_block: int, first: int, last: int,
    fresh: int, g: Any, gb: int, g_row: int,
) -> None:  # fmt: skip
    """Add the products of some rows to the results of some taps and blocks of columns.

    With ``fresh=1`` there is nothing to add to yet.
    """
    for b in range(first_block, last_block):
        column = b * COLUMNS
        for t in range(first_tap, last_tap, ROWS):
            # A tile that is not full does its last tap several times, with one result.
            t1, t2, t3, t4, t5 = five_more(t, last_tap)
            out = gb + column
            _outer_tile(
                x, rows, xb, taps[t], taps[t1], taps[t2], taps[t3], taps[t4], taps[t5],
                d, cells, db + column, first, last, fresh,
                g, out + t * g_row, out + t1 * g_row, out + t2 * g_row, out + t3 * g_row,
                out + t4 * g_row, out + t5 * g_row,
            )  # fmt: skip
