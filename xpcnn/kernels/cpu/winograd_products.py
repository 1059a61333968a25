"""The 36 products of Winograd's convolution, and the transforms of what they give.

See :mod:`xpcnn.kernels.cpu.winograd`.
"""

from __future__ import annotations

from typing import Any

from xpcnn.kernels.cpu.epilogue import LIMITS, activate
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.product import COLUMNS, TOGETHER, plain_rows
from xpcnn.kernels.cpu.vector import (
    WIDE,
    add,
    copy_transposed,
    load_full,
    store_first,
    store_full,
    within,
)
from xpcnn.kernels.cpu.winograd_tiles import PLACES, outputs, transform_some

TILES = 48
"""Tiles multiplied and transformed back before the next: their products stay in the cache."""
PART = 48
"""Channels whose filter gradients are worked on together: a multiple of 6 and of 16."""
GAP = 16
"""Numbers between places, so that those of one tile do not compete for a few lines of the cache."""


@inner
def _multiply_tiles(
    v: Any, v_at: int, count: int, row: int, v_step: int, channels: int, u: Any, k: int,
    u_step: int, blocks: int, own: Any, m: int, m_step: int,
) -> None:  # fmt: skip
    """Multiply tiles at each place by one block of filters, or by several that are neighbours."""
    for place in range(PLACES):
        plain_rows(
            v, v_at + place * v_step, count, row, COLUMNS * row, channels, 1, u,
            k + place * u_step, PLACES * u_step, blocks, own, m + place * m_step, PLACES * m_step,
        )  # fmt: skip


@inner
def _output_tile(
    own: Any, m: int, step: int, h: int, bias: Any, b: int, kind: int, settings: Any, adds: int,
    other: Any, lanes: int, rows: int, columns: int, y: Any, to: int, line: int, pixel: int,
) -> None:  # fmt: skip
    """Transform 6x6 products back, and write what lies inside the image and its channels."""
    shift = load_full(bias, b)
    for j in range(6):
        q = m + j * step
        y0, y1, y2, y3 = outputs(
            load_full(own, q), load_full(own, q + 6 * step), load_full(own, q + 12 * step),
            load_full(own, q + 18 * step), load_full(own, q + 24 * step), load_full(own,
            q + 30 * step),
        )  # fmt: skip
        p = h + j * WIDE
        store_full(own, p, y0)
        store_full(own, p + 6 * WIDE, y1)
        store_full(own, p + 12 * WIDE, y2)
        store_full(own, p + 18 * WIDE, y3)
    for i in range(rows):
        p = h + i * 6 * WIDE
        y0, y1, y2, y3 = outputs(
            load_full(own, p), load_full(own, p + WIDE), load_full(own, p + 2 * WIDE),
            load_full(own, p + 3 * WIDE), load_full(own, p + 4 * WIDE), load_full(own,
            p + 5 * WIDE),
        )  # fmt: skip
        y0, y1, y2, y3 = add(y0, shift), add(y1, shift), add(y2, shift), add(y3, shift)
        q = to + i * line
        if adds == 1:
            # What lies outside is not there to be read: the last column that is stands in for it.
            y0 = add(y0, load_full(other, q))
            y1 = add(y1, load_full(other, q + min(1, columns - 1) * pixel))
            y2 = add(y2, load_full(other, q + min(2, columns - 1) * pixel))
            y3 = add(y3, load_full(other, q + (columns - 1) * pixel))
        if kind == LIMITS:
            y0, y1 = within(y0, settings), within(y1, settings)
            y2, y3 = within(y2, settings), within(y3, settings)
        elif kind > LIMITS:
            store_full(own, p, y0)
            store_full(own, p + WIDE, y1)
            store_full(own, p + 2 * WIDE, y2)
            store_full(own, p + 3 * WIDE, y3)
            activate(own, p, 4 * WIDE, kind, settings)
            y0, y1 = load_full(own, p), load_full(own, p + WIDE)
            y2, y3 = load_full(own, p + 2 * WIDE), load_full(own, p + 3 * WIDE)
        if columns == 4 and lanes >= WIDE:
            store_full(y, q, y0)
            store_full(y, q + pixel, y1)
            store_full(y, q + 2 * pixel, y2)
            store_full(y, q + 3 * pixel, y3)
        else:
            store_full(own, p, y0)
            store_full(own, p + WIDE, y1)
            store_full(own, p + 2 * WIDE, y2)
            store_full(own, p + 3 * WIDE, y3)
            for j in range(columns):
                store_first(y, q + j * pixel, load_full(own, p + j * WIDE), lanes)


@inner
def _output_tiles(
    own: Any, at: int, m: int, m_step: int, start: int, stop: int, across: int, down: int,
    bias: Any, filters: int, column: int, columns: int, kind: int, settings: Any, adds: int,
    other: Any, y: Any, y_image: int, y_line: int, y_pixel: int, out_h: int, out_w: int,
) -> None:  # fmt: skip
    for tile in range(start, stop):
        i = tile // across % down * 4
        j = tile % across * 4
        to = tile // (across * down) * y_image + i * y_line + j * y_pixel
        for o in range(column, min(column + columns, filters), WIDE):
            apart = (o - column) // COLUMNS * PLACES * m_step + (o - column) % COLUMNS
            _output_tile(
                own, m + (tile - start) * COLUMNS + apart, m_step, at, bias, o, kind, settings,
                adds, other, filters - o, min(4, out_h - i), min(4, out_w - j), y, to + o, y_line,
                y_pixel,
            )  # fmt: skip


@inner
def _finish_tiles(
    v: Any, v_at: int, start: int, stop: int, first: int, u: Any, b: int, block: int, blocks: int,
    k: Any, bias: Any, settings: Any, other: Any, own: Any, at: int, y: Any,
) -> None:  # fmt: skip
    """Multiply some tiles by one block of 16 filters or more, and transform back.

    The filters are at place `b` of u, and the results go to block `block` of the channels. Tiles
    from `start` on are read at `v_at`; the first of all in v has the number `first`.
    """
    row, v_step, channels, u_step = k[0], k[1], k[2], k[3]
    m, m_step = at + WIDE * PLACES, TILES * COLUMNS + GAP
    count, here, filters = stop - start, v_at + start * row, b * PLACES * u_step
    if blocks == TOGETHER:
        _multiply_tiles(
            v, here, count, row, v_step, channels, u, filters, u_step, TOGETHER, own, m, m_step
        )
    else:
        _multiply_tiles(
            v, here, count, row, v_step, channels, u, filters, u_step, 1, own, m, m_step
        )
    _output_tiles(
        own, at, m, m_step, first + start, first + stop, k[8], k[9], bias, k[10], block * COLUMNS,
        blocks * COLUMNS, k[11], settings, k[17], other, y, k[12], k[13], k[14], k[15], k[16],
    )  # fmt: skip


@Job
def multiply(
    worker: int, workers: int, k: Ints, v: Floats, u: Floats, bias: Floats,
    settings: Floats, other: Floats, own: Floats, room: int, y: Floats,
) -> None:  # fmt: skip
    """Multiply and transform back a worker's share of the tiles and blocks of 16 filters."""
    first, last, b0, b1 = k[4], k[5], k[6], k[7]
    parts = (b1 - b0 + TOGETHER - 1) // TOGETHER
    jobs = (last - first + TILES - 1) // TILES * parts
    share = (jobs + workers - 1) // workers
    for job in range(worker * share, min(jobs, (worker + 1) * share)):
        b = job % parts * TOGETHER
        start = job // parts * TILES
        stop = min(start + TILES, last - first)
        _finish_tiles(
            v, 0, start, stop, first, u, b, b0 + b, min(TOGETHER, b1 - b0 - b), k, bias,
            settings, other, own, worker * room, y,
        )  # fmt: skip


@Job
def convolve_tiles(
    job: int, worker: Worker, tiles: Ints, x: Floats, k: Ints, u: Floats, bias: Floats,
    settings: Floats, other: Floats, piece: int, own: Floats, room: int, y: Floats,
) -> None:  # fmt: skip
    """Transform some tiles, multiply and transform back, all within the second-level cache."""
    at = worker * room
    v = at + PLACES * (WIDE + TOGETHER * (TILES * COLUMNS + GAP))
    start = job * piece
    stop = min(k[5], start + piece)
    transform_some(tiles, x, start, stop, own, at, own, v)
    for b in range(0, k[7], TOGETHER):
        _finish_tiles(
            own, v, 0, stop - start, start, u, b, b, min(TOGETHER, k[7] - b), k, bias, settings,
            other, own, at, y,
        )  # fmt: skip


@inner
def _sum_tiles(
    v: Any, v_start: int, v_step: int, d: Any, d_start: int, d_step: int, block: int, count: int,
    channels: int, columns: int, own: Any, g: int, g_step: int,
) -> None:  # fmt: skip
    """Sum, over `count` tiles, the products of inputs and gradients: a row for each channel."""
    for place in range(PLACES):
        p = v_start + place * v_step
        for b in range(0, columns, TOGETHER):
            k = d_start + place * d_step + b * block
            to = g + place * g_step + b * PART * COLUMNS
            if b + TOGETHER <= columns:
                plain_rows(
                    v, p, channels, 1, block, count, COLUMNS, d, k, block, TOGETHER, own, to,
                    PART * COLUMNS,
                )  # fmt: skip
            else:
                plain_rows(
                    v, p, channels, 1, block, count, COLUMNS, d, k, block, 1, own, to,
                    PART * COLUMNS,
                )  # fmt: skip


@inner
def _three_outputs(x: Any, p: int, step: int) -> Any:
    last = load_full(x, p + 5 * step)
    y0, y1, y2, _ = outputs(
        load_full(x, p), load_full(x, p + step), load_full(x, p + 2 * step), load_full(x,
        p + 3 * step),
        load_full(x, p + 4 * step), last,
    )  # fmt: skip
    return y0, y1, add(y2, last)


@inner
def _filter_gradients(
    own: Any, g: int, step: int, h: int, channels: int, fresh: bool, out: Any, to: int, six: int
) -> None:
    """Transform sums back to 3x3 taps of 16 filters, and add them to what is there."""
    for q in range(0, COLUMNS * channels, WIDE):
        p = g + q
        for j in range(six):
            y0, y1, y2 = _three_outputs(own, p + j * step, 6 * step)
            store_full(own, h + j * WIDE, y0)
            store_full(own, h + (6 + j) * WIDE, y1)
            store_full(own, h + (12 + j) * WIDE, y2)
        for i in range(six // 2):
            y0, y1, y2 = _three_outputs(own, h + i * 6 * WIDE, WIDE)
            p = to + (q >> 4) * 9 * COLUMNS + (q & 15) + i * 3 * COLUMNS
            if not fresh:
                y0, y1 = add(y0, load_full(out, p)), add(y1, load_full(out, p + COLUMNS))
                y2 = add(y2, load_full(out, p + 2 * COLUMNS))
            store_full(out, p, y0)
            store_full(out, p + COLUMNS, y1)
            store_full(out, p + 2 * COLUMNS, y2)


@inner
def _write_filters(
    total: Any, at: int, count: int, numbers: int, dw: Any, to: int, apart: int
) -> None:
    """Put the numbers of each of up to 16 filters side by side."""
    if count >= 8:
        for k in range(0, count, 8):
            t = min(k, count - 8)
            for number in range(0, numbers, 8):
                q = min(number, numbers - 8)
                copy_transposed(
                    total, at + q * COLUMNS + t, COLUMNS, dw, to + t * apart + q, apart
                )  # fmt: skip
    else:
        for t in range(count):
            for q in range(numbers):
                dw[to + t * apart + q] = total[at + q * COLUMNS + t]


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
    g, g_step = at + WIDE * PLACES, PART * 2 * COLUMNS + GAP
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
            if final:
                start = (b * COLUMNS * channels + c) * 9
                here = min(COLUMNS, filters - b * COLUMNS)
                _write_filters(total, to, here, part * 9, dw, start, channels * 9)
