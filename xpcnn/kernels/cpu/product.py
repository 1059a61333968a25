"""The two matrix products that convolution and linear layers are made of.

Both gather one operand through tables of positions, so that an image is read in place, whatever
the rank, stride, dilation and padding: nothing is copied into columns.

    gather_times   y[p, o]  = bias[o] + sum over r, t of x[rows[p] + runs[r] + t] * w[r, t, o]
    gather_outer   g[k, o]  = sum over p of x[rows[p] + taps[k]] * d[cells[p] + o]

A tile of 6 rows and 16 columns stays in registers: twelve accumulators, two vectors of weights and
one broadcast number are fifteen of the sixteen registers of AVX2.
"""

from __future__ import annotations

from typing import Any

from numba import njit, prange

from xpcnn.kernels.cpu.vector import fma, load, load_index, load_splat, relu, store, zero

ROWS = 6
COLUMNS = 16
BLOCK = 96
"""Rows worked on before the next columns: their inputs stay in the first-level cache."""


@njit(nogil=True, cache=True)
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
            v = load_splat(x, q0 + t)
            a00, a01 = fma(v, w0, a00), fma(v, w1, a01)
            v = load_splat(x, q1 + t)
            a10, a11 = fma(v, w0, a10), fma(v, w1, a11)
            v = load_splat(x, q2 + t)
            a20, a21 = fma(v, w0, a20), fma(v, w1, a21)
            v = load_splat(x, q3 + t)
            a30, a31 = fma(v, w0, a30), fma(v, w1, a31)
            v = load_splat(x, q4 + t)
            a40, a41 = fma(v, w0, a40), fma(v, w1, a41)
            v = load_splat(x, q5 + t)
            a50, a51 = fma(v, w0, a50), fma(v, w1, a51)
            k += stride
    if negative == 0:
        a00, a01, a10, a11 = relu(a00), relu(a01), relu(a10), relu(a11)
        a20, a21, a30, a31 = relu(a20), relu(a21), relu(a30), relu(a31)
        a40, a41, a50, a51 = relu(a40), relu(a41), relu(a50), relu(a51)
    store(y, y0, a00)
    store(y, y0 + 8, a01)
    store(y, y1, a10)
    store(y, y1 + 8, a11)
    store(y, y2, a20)
    store(y, y2 + 8, a21)
    store(y, y3, a30)
    store(y, y3 + 8, a31)
    store(y, y4, a40)
    store(y, y4 + 8, a41)
    store(y, y5, a50)
    store(y, y5 + 8, a51)


@njit(nogil=True, cache=True)
def _outer_tile(
    x: Any, rows: Any, xb: int, t0: int, t1: int, t2: int, t3: int, t4: int, t5: int,
    d: Any, cells: Any, db: int, first: int, last: int, fresh: int,
    g: Any, g0: int, g1: int, g2: int, g3: int, g4: int, g5: int,
) -> None:  # fmt: skip
    if fresh == 1:
        a00, a01, a10, a11, a20, a21 = zero(), zero(), zero(), zero(), zero(), zero()
        a30, a31, a40, a41, a50, a51 = zero(), zero(), zero(), zero(), zero(), zero()
    else:
        a00, a01, a10, a11 = load(g, g0), load(g, g0 + 8), load(g, g1), load(g, g1 + 8)
        a20, a21, a30, a31 = load(g, g2), load(g, g2 + 8), load(g, g3), load(g, g3 + 8)
        a40, a41, a50, a51 = load(g, g4), load(g, g4 + 8), load(g, g5), load(g, g5 + 8)
    for p in range(first, last):
        q, c = xb + load_index(rows, p), db + load_index(cells, p)
        d0, d1 = load(d, c), load(d, c + 8)
        v = load_splat(x, q + t0)
        a00, a01 = fma(v, d0, a00), fma(v, d1, a01)
        v = load_splat(x, q + t1)
        a10, a11 = fma(v, d0, a10), fma(v, d1, a11)
        v = load_splat(x, q + t2)
        a20, a21 = fma(v, d0, a20), fma(v, d1, a21)
        v = load_splat(x, q + t3)
        a30, a31 = fma(v, d0, a30), fma(v, d1, a31)
        v = load_splat(x, q + t4)
        a40, a41 = fma(v, d0, a40), fma(v, d1, a41)
        v = load_splat(x, q + t5)
        a50, a51 = fma(v, d0, a50), fma(v, d1, a51)
    store(g, g0, a00)
    store(g, g0 + 8, a01)
    store(g, g1, a10)
    store(g, g1 + 8, a11)
    store(g, g2, a20)
    store(g, g2 + 8, a21)
    store(g, g3, a30)
    store(g, g3 + 8, a31)
    store(g, g4, a40)
    store(g, g4 + 8, a41)
    store(g, g5, a50)
    store(g, g5 + 8, a51)


@njit(nogil=True, parallel=True, cache=True)
def gather_times(
    x: Any, images: int, image: int, rows: Any, runs: Any, length: int,
    w: Any, group: int, block: int, stride: int, groups: int, blocks: int, parts: int,
    bias: Any, width: int, channels: int, negative: int, y: Any, y_row: int,
) -> None:  # fmt: skip
    """Multiply the rows of every image by the weights.

    Parameters
    ----------
    x : float32 array
        Image i starts at ``i * image``.
    rows, runs : int64 arrays
        Where the rows of an image begin, and where in a row its runs of `length` numbers do.
    w : float32 array
        Weights of group g and column block b start at ``g * group + b * block``; from one element
        of a row to the next it is `stride`.
    groups, blocks, parts : int
        Groups, blocks of 16 columns in each, and pieces the blocks are cut into for the threads
        (1 if there are several groups: a group writes up to 15 zeros over the start of the next).
    bias : float32 array of at least `groups * width` rounded up and 16 more
    width, channels : int
        Columns and input channels of a group.
    negative : int
        0 puts zero in the place of negative results.
    y : float32 array
        Row p of image i starts at ``(i * rows.size + p) * y_row``.
    """
    n_rows = rows.size
    n_blocks = (n_rows + BLOCK - 1) // BLOCK
    per_part = (blocks + parts - 1) // parts
    for job in prange(images * n_blocks * parts):
        part = job % parts
        piece = job // parts
        n = piece // n_blocks
        first = (piece - n * n_blocks) * BLOCK
        last = min(n_rows, first + BLOCK)
        for g in range(groups):
            start = n * image + g * channels
            for b in range(part * per_part, min(blocks, (part + 1) * per_part)):
                column = g * width + b * COLUMNS
                for p in range(first, last, ROWS):
                    end = last - 1
                    p1, p2, p3 = min(p + 1, end), min(p + 2, end), min(p + 3, end)
                    p4, p5 = min(p + 4, end), min(p + 5, end)
                    out = n * n_rows * y_row + column
                    _times_tile(
                        x, start + rows[p], start + rows[p1], start + rows[p2],
                        start + rows[p3], start + rows[p4], start + rows[p5],
                        runs, length, w, g * group + b * block, stride, bias, column, negative,
                        y, out + p * y_row, out + p1 * y_row, out + p2 * y_row,
                        out + p3 * y_row, out + p4 * y_row, out + p5 * y_row,
                    )  # fmt: skip


@njit(nogil=True, cache=True)
def _outer_row(
    x: Any, rows: Any, xb: int, d: Any, cells: Any, db: int, first: int, last: int, g: Any, gb: int
) -> None:  # fmt: skip
    """Do for a single tap what :func:`_outer_tile` does for six."""
    a0, a1 = load(g, gb), load(g, gb + 8)
    for p in range(first, last):
        c = db + load_index(cells, p)
        v = load_splat(x, xb + load_index(rows, p))
        a0, a1 = fma(v, load(d, c), a0), fma(v, load(d, c + 8), a1)
    store(g, gb, a0)
    store(g, gb + 8, a1)


@njit(nogil=True, cache=True)
def _outer_block(
    x: Any, rows: Any, xb: int, taps: Any, first_tap: int, last_tap: int,
    d: Any, cells: Any, db: int, first_block: int, last_block: int, first: int, last: int,
    g: Any, gb: int, g_row: int,
) -> None:  # fmt: skip
    """Add the products of some rows to the results of some taps and blocks of columns."""
    for b in range(first_block, last_block):
        column = b * COLUMNS
        for t in range(first_tap, last_tap, ROWS):
            if t + ROWS <= last_tap:
                out = gb + t * g_row + column
                _outer_tile(
                    x, rows, xb, taps[t], taps[t + 1], taps[t + 2], taps[t + 3], taps[t + 4],
                    taps[t + 5], d, cells, db + column, first, last, 0,
                    g, out, out + g_row, out + 2 * g_row, out + 3 * g_row, out + 4 * g_row,
                    out + 5 * g_row,
                )  # fmt: skip
            else:
                for s in range(t, last_tap):
                    out = gb + s * g_row + column
                    _outer_row(x, rows, xb + taps[s], d, cells, db + column, first, last, g, out)


@njit(nogil=True, parallel=True, cache=True)
def gather_outer(
    x: Any, images: int, image: int, rows: Any, taps: Any, channels: int,
    d: Any, d_image: int, cells: Any, width: int, groups: int, blocks: int,
    splits: int, parts: int, column_parts: int, g: Any, g_row: int,
) -> None:  # fmt: skip
    """Sum the products of gathered rows of x with cells of d, over all rows of all images.

    Results of group k and split s start at ``(s * groups + k) * taps.size * g_row``. The rows of x
    are cut into `splits`, the taps into `parts` and the blocks of columns into `column_parts`. The
    splits are to be added by the caller: their number does not depend on the number of threads, so
    that the sum does not either.
    """
    n_rows = rows.size
    n_blocks = (n_rows + BLOCK - 1) // BLOCK
    pieces = images * n_blocks
    per_split = (pieces + splits - 1) // splits
    tiles = (taps.size + ROWS - 1) // ROWS
    per_part = (tiles + parts - 1) // parts * ROWS
    per_column_part = (blocks + column_parts - 1) // column_parts
    for job in prange(splits * groups * parts * column_parts):
        column_part = job % column_parts
        part = job // column_parts % parts
        k = job // (column_parts * parts) % groups
        s = job // (column_parts * parts * groups)
        base = (s * groups + k) * taps.size * g_row
        for piece in range(s * per_split, min(pieces, (s + 1) * per_split)):
            n = piece // n_blocks
            first = (piece - n * n_blocks) * BLOCK
            _outer_block(
                x, rows, n * image + k * channels, taps, part * per_part,
                min(taps.size, (part + 1) * per_part), d, cells, n * d_image + k * width,
                column_part * per_column_part,
                min(blocks, (column_part + 1) * per_column_part),
                first, min(n_rows, first + BLOCK), g, base, g_row,
            )  # fmt: skip
