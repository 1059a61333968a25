"""The 36 products of Winograd's convolution, and the transforms of what they give.

See :mod:`xpcnn.kernels.cpu.winograd`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_thread_id

from xpcnn.kernels.cpu.jobs import Floats, Ints, Job, inner
from xpcnn.kernels.cpu.product import COLUMNS, ROWS, add_products, five_more, store_row
from xpcnn.kernels.cpu.vector import add, load, relu, store, store_first, zero
from xpcnn.kernels.cpu.winograd_tiles import PLACES, outputs, transform_some

TILES = 48
"""Tiles multiplied and transformed back before the next: their products stay in the cache."""
PART = 48
"""Channels whose filter gradients are worked on together: a multiple of 6 and of 16."""
GAP = 16
"""Numbers between places, so that those of one tile do not compete for a few lines of the cache."""


@inner
def _tile(
    x: Any, p0: int, p1: int, p2: int, p3: int, p4: int, p5: int, length: int, across: int,
    w: Any, k: int, y: Any, to: int,
) -> None:  # fmt: skip
    """Multiply: y[i, o] = sum over t of x[p_i + t * across] * w[k + 16 * t + o]."""
    a00, a01, a10, a11, a20, a21 = zero(), zero(), zero(), zero(), zero(), zero()
    a30, a31, a40, a41, a50, a51 = zero(), zero(), zero(), zero(), zero(), zero()
    q = 0
    for _ in range(length):
        w0, w1 = load(w, k), load(w, k + 8)
        a00, a01 = add_products(x, p0 + q, w0, w1, a00, a01)
        a10, a11 = add_products(x, p1 + q, w0, w1, a10, a11)
        a20, a21 = add_products(x, p2 + q, w0, w1, a20, a21)
        a30, a31 = add_products(x, p3 + q, w0, w1, a30, a31)
        a40, a41 = add_products(x, p4 + q, w0, w1, a40, a41)
        a50, a51 = add_products(x, p5 + q, w0, w1, a50, a51)
        k += COLUMNS
        q += across
    store_row(y, to, a00, a01)
    store_row(y, to + 16, a10, a11)
    store_row(y, to + 32, a20, a21)
    store_row(y, to + 48, a30, a31)
    store_row(y, to + 64, a40, a41)
    store_row(y, to + 80, a50, a51)


@inner
def _multiply_tiles(
    v: Any, v_at: int, start: int, stop: int, row: int, v_step: int, channels: int, u: Any, k: int,
    u_step: int, own: Any, m: int, m_step: int,
) -> None:  # fmt: skip
    for place in range(PLACES):
        base = v_at + place * v_step
        for t in range(start, stop, ROWS):
            end = base + (stop - 1) * row
            p = base + t * row
            _tile(
                v, p, min(p + row, end), min(p + 2 * row, end), min(p + 3 * row, end),
                min(p + 4 * row, end), min(p + 5 * row, end), channels, 1,
                u, k + place * u_step, own, m + place * m_step + (t - start) * COLUMNS,
            )  # fmt: skip


@inner
def _output_tile(
    own: Any, m: int, step: int, h: int, bias: Any, b: int, negative: int, lanes: int,
    rows: int, columns: int, y: Any, to: int, line: int, pixel: int,
) -> None:  # fmt: skip
    """Transform 6x6 products back, and write what lies inside the image and its channels."""
    shift = load(bias, b)
    for j in range(6):
        q = m + j * step
        y0, y1, y2, y3 = outputs(
            load(own, q), load(own, q + 6 * step), load(own, q + 12 * step),
            load(own, q + 18 * step), load(own, q + 24 * step), load(own, q + 30 * step),
        )  # fmt: skip
        p = h + j * 8
        store(own, p, y0)
        store(own, p + 48, y1)
        store(own, p + 96, y2)
        store(own, p + 144, y3)
    for i in range(rows):
        p = h + i * 48
        y0, y1, y2, y3 = outputs(
            load(own, p), load(own, p + 8), load(own, p + 16),
            load(own, p + 24), load(own, p + 32), load(own, p + 40),
        )  # fmt: skip
        y0, y1, y2, y3 = add(y0, shift), add(y1, shift), add(y2, shift), add(y3, shift)
        if negative == 0:
            y0, y1, y2, y3 = relu(y0), relu(y1), relu(y2), relu(y3)
        q = to + i * line
        if columns == 4 and lanes >= 8:
            store(y, q, y0)
            store(y, q + pixel, y1)
            store(y, q + 2 * pixel, y2)
            store(y, q + 3 * pixel, y3)
        else:
            store(own, p, y0)
            store(own, p + 8, y1)
            store(own, p + 16, y2)
            store(own, p + 24, y3)
            for j in range(columns):
                store_first(y, q + j * pixel, load(own, p + j * 8), lanes)


@inner
def _output_tiles(
    own: Any, at: int, m: int, m_step: int, start: int, stop: int, across: int, down: int,
    bias: Any, filters: int, column: int, negative: int, y: Any, y_image: int, y_line: int,
    y_pixel: int, out_h: int, out_w: int,
) -> None:  # fmt: skip
    for tile in range(start, stop):
        i = tile // across % down * 4
        j = tile % across * 4
        to = tile // (across * down) * y_image + i * y_line + j * y_pixel
        for o in range(column, min(column + COLUMNS, filters), 8):
            _output_tile(
                own, m + (tile - start) * COLUMNS + o - column, m_step, at, bias, o, negative,
                filters - o, min(4, out_h - i), min(4, out_w - j), y, to + o, y_line, y_pixel,
            )  # fmt: skip


@inner
def _finish_tiles(
    v: Any, v_at: int, start: int, stop: int, first: int, u: Any, b: int, block: int, k: Any,
    bias: Any, own: Any, at: int, y: Any,
) -> None:  # fmt: skip
    """Multiply some tiles by 16 filters and transform back.

    The filters are at place `b` of u, and the results go to block `block` of the channels. Tiles
    from `start` on are read at `v_at`; the first of all in v has the number `first`.
    """
    row, v_step, channels, u_step = k[0], k[1], k[2], k[3]
    m, m_step = at + 8 * PLACES, TILES * COLUMNS + GAP
    _multiply_tiles(
        v, v_at, start, stop, row, v_step, channels, u, b * PLACES * u_step, u_step, own, m, m_step
    )
    _output_tiles(
        own, at, m, m_step, first + start, first + stop, k[8], k[9], bias, k[10], block * COLUMNS,
        k[11], y, k[12], k[13], k[14], k[15], k[16],
    )  # fmt: skip


@Job
def multiply(
    worker: int, workers: int, k: Ints, v: Floats, u: Floats, bias: Floats, own: Floats, room: int,
    y: Floats,
) -> None:  # fmt: skip
    """Multiply and transform back a worker's share of the tiles and blocks of 16 filters."""
    first, last, b0, b1 = k[4], k[5], k[6], k[7]
    jobs = (last - first + TILES - 1) // TILES * (b1 - b0)
    share = (jobs + workers - 1) // workers
    for job in range(worker * share, min(jobs, (worker + 1) * share)):
        b = job % (b1 - b0)
        start = job // (b1 - b0) * TILES
        stop = min(start + TILES, last - first)
        _finish_tiles(
            v, np.int64(0), start, stop, first, u, b, b0 + b, k, bias, own, worker * room, y
        )


@Job
def convolve_tiles(
    job: int, tiles: Ints, x: Floats, k: Ints, u: Floats, bias: Floats, piece: int, own: Floats,
    room: int, y: Floats,
) -> None:  # fmt: skip
    """Transform some tiles, multiply and transform back, all within the second-level cache."""
    at = get_thread_id() * room
    v = at + PLACES * (8 + TILES * COLUMNS + GAP)
    start = job * piece
    stop = min(k[5], start + piece)
    transform_some(tiles, x, start, stop, own, at, own, v)
    for b in range(k[7]):
        _finish_tiles(own, v, np.int64(0), stop - start, start, u, b, b, k, bias, own, at, y)


@inner
def _sum_tiles(
    v: Any, v_start: int, v_step: int, d: Any, d_start: int, d_step: int, block: int, count: int,
    channels: int, columns: int, own: Any, g: int, g_step: int,
) -> None:  # fmt: skip
    """Sum, over `count` tiles, the products of inputs and gradients: a row for each channel."""
    for place in range(PLACES):
        for b in range(columns):
            k = d_start + place * d_step + b * block
            to = g + place * g_step + b * PART * COLUMNS
            for c in range(0, channels, ROWS):
                c1, c2, c3, c4, c5 = five_more(c, channels)
                p = v_start + place * v_step
                _tile(
                    v, p + (c >> 4) * block + (c & 15), p + (c1 >> 4) * block + (c1 & 15),
                    p + (c2 >> 4) * block + (c2 & 15), p + (c3 >> 4) * block + (c3 & 15),
                    p + (c4 >> 4) * block + (c4 & 15), p + (c5 >> 4) * block + (c5 & 15),
                    count, COLUMNS, d, k, own, to + c * COLUMNS,
                )  # fmt: skip


@inner
def _three_outputs(x: Any, p: int, step: int) -> Any:
    last = load(x, p + 5 * step)
    y0, y1, y2, _ = outputs(
        load(x, p), load(x, p + step), load(x, p + 2 * step), load(x, p + 3 * step),
        load(x, p + 4 * step), last,
    )  # fmt: skip
    return y0, y1, add(y2, last)


@inner
def _filter_gradients(
    own: Any, g: int, step: int, h: int, channels: int, fresh: bool, out: Any, to: int, six: int
) -> None:
    """Transform sums back to 3x3 taps of 16 filters, and add them to what is there."""
    for q in range(2 * channels):
        p = g + q * 8
        for j in range(six):
            y0, y1, y2 = _three_outputs(own, p + j * step, 6 * step)
            store(own, h + j * 8, y0)
            store(own, h + 48 + j * 8, y1)
            store(own, h + 96 + j * 8, y2)
        for i in range(six // 2):
            y0, y1, y2 = _three_outputs(own, h + i * 48, 8)
            p = to + (q >> 1) * 9 * COLUMNS + (q & 1) * 8 + i * 3 * COLUMNS
            if not fresh:
                y0, y1 = add(y0, load(out, p)), add(y1, load(out, p + COLUMNS))
                y2 = add(y2, load(out, p + 2 * COLUMNS))
            store(out, p, y0)
            store(out, p + COLUMNS, y1)
            store(out, p + 2 * COLUMNS, y2)


@Job
def sum_gradients(
    worker: int, workers: int, k: Ints, v: Floats, d: Floats, own: Floats, room: int,
    total: Floats, dw: Floats,
) -> None:  # fmt: skip
    """Add some tiles to a worker's share of the filters' gradient."""
    v_step, d_step, block, count, channels = k[0], k[1], k[2], k[3], k[4]
    filters, fresh, final, six = k[5], k[6] == 1, k[7] == 1, k[8]
    # Sums of all tiles at once need no place of their own.
    whole = fresh and final
    at = worker * room
    g, g_step = at + 8 * PLACES, PART * 2 * COLUMNS + GAP
    blocks = (filters + COLUMNS - 1) // COLUMNS
    pairs = (blocks + 1) // 2
    jobs = (channels + PART - 1) // PART * pairs
    share = (jobs + workers - 1) // workers
    for job in range(worker * share, min(jobs, (worker + 1) * share)):
        c = job // pairs * PART
        b0 = job % pairs * 2
        b1 = min(b0 + 2, blocks)
        part = min(PART, channels - c)
        _sum_tiles(
            v, c // COLUMNS * block, v_step, d, b0 * block, d_step, block, count,
            part, b1 - b0, own, g, g_step,
        )  # fmt: skip
        for b in range(b0, b1):
            to = (worker * PART if whole else b * channels + c) * 9 * COLUMNS
            _filter_gradients(
                own, g + (b - b0) * PART * COLUMNS, g_step, at, part, fresh, total, to, six
            )
            for t in range(min(COLUMNS, filters - b * COLUMNS) if final else 0):
                start = ((b * COLUMNS + t) * channels + c) * 9
                for q in range(part * 9):
                    dw[start + q] = total[to + q * COLUMNS + t]
