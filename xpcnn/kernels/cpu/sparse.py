"""Gradient of the filters behind max pooling, where most of the gradient is zero.

Of every pooling window one position alone has a gradient. So instead of products at all positions,
what the filter saw at the winning one is added, times the gradient: vectors of the image, with the
place of the winner looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.conv import Pair, make_recipe, run_table, window_axes
from xpcnn.kernels.cpu.jobs import Bytes, Doubles, Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.layout import in_place, int64, source
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.kernels.cpu.strips import CLOSED, Source, open_strip, transpose
from xpcnn.kernels.cpu.sums import add_rows
from xpcnn.kernels.cpu.vector import (
    WIDTH,
    add,
    at_number,
    fma,
    load,
    load_bytes,
    load_splat,
    load_whole,
    narrow,
    room,
    splat,
    store,
    store_whole,
    where_equal,
    wide_zero,
    widen,
    zero,
)
from xpcnn.window import Window

ROWS = 6
"""Vectors of the image in a tile."""
STRIP = 6500
"""Numbers of the image in a piece: they stay in the first-level cache."""


@inner
def _five_more(row: int, end: int) -> Any:
    """Return the five rows after one, for a tile; the last again where they would reach `end`."""
    last = end - 1
    r1, r2, r3 = min(row + 1, last), min(row + 2, last), min(row + 3, last)
    return r1, r2, r3, min(row + 4, last), min(row + 5, last)


@inner
def _tile(
    x: Any, base: int, places: Any, values: Any, start: int, o: int, row: int, count: int,
    t0: int, t1: int, t2: int, t3: int, t4: int, t5: int,
    g: Any, g0: int, g1: int, g2: int, g3: int, g4: int, g5: int,
) -> None:  # fmt: skip
    """Add what one filter saw at the winners: six vectors of it."""
    a0, a1, a2, a3, a4, a5 = zero(), zero(), zero(), zero(), zero(), zero()
    for j in range(count):
        q = base + load_whole(places, j * row + o)
        v = load_splat(values, start + j * row + o)
        a0, a1 = fma(v, load(x, q + t0), a0), fma(v, load(x, q + t1), a1)
        a2, a3 = fma(v, load(x, q + t2), a2), fma(v, load(x, q + t3), a3)
        a4, a5 = fma(v, load(x, q + t4), a4), fma(v, load(x, q + t5), a5)
    a0, a1, a2 = add(a0, load(g, g0)), add(a1, load(g, g1)), add(a2, load(g, g2))
    a3, a4, a5 = add(a3, load(g, g3)), add(a4, load(g, g4)), add(a5, load(g, g5))
    store(g, g0, a0)
    store(g, g1, a1)
    store(g, g2, a2)
    store(g, g3, a3)
    store(g, g4, a4)
    store(g, g5, a5)


@inner
def _look_up(
    d: Any, winner: Any, source: Any, n: int, first: int, lines: int, windows: Any,
    steps: Any, phases: int, row: int, values: Any, to: int, places: Any,
) -> None:  # fmt: skip
    """Write the gradients of some lines of windows, and where in x their filters looked."""
    sn, sc, sh, sw, filters = source[1], source[2], source[3], source[4], source[9]
    width, lanes = source[15], source[16]
    for i in range(lines):
        at, target = n * sn + (first + i) * sh, to + i * width * row
        if sc != 1 and sw == 1 and width >= 8:
            transpose(d, at, sc, filters, width, values, target, row)
        for j in range(width):
            wt = ((n * source[14] + first + i) * width + j) * lanes
            here, window = target + j * row, splat(np.float32(windows[i * width + j]))
            if sc == 1:
                for k in range(0, filters, WIDTH):
                    c = min(k, filters - WIDTH)
                    store(values, here + c, load(d, at + j * sw + c))
            elif sw != 1 or width < 8:
                for k in range(filters):
                    values[here + k] = d[at + k * sc + j * sw]
            for k in range(0, filters, WIDTH):
                c = min(k, filters - WIDTH)
                which, place = load_bytes(winner, wt + c), window
                for f in range(1, phases):
                    step = splat(np.float32(windows[i * width + j] + steps[f]))
                    place = where_equal(which, splat(np.float32(f)), step, place)
                value = load(values, here + c)
                store_whole(places, here + c - to, place)
                value = where_equal(which, splat(np.float32(CLOSED)), zero(), value)
                store(values, here + c, value)


@Job
def _sum(
    s: int, worker: Worker, x: Floats, x_source: Ints, strip: Ints, windows: Ints, steps: Ints,
    vectors: Ints,
    d: Floats, winner: Bytes, d_source: Ints, cells: Ints, images: int, numbers: Ints,
    g: Floats, db: Doubles, scratch: Floats,
) -> None:  # fmt: skip
    """Add up all images, in splits as :func:`strips.outer_strips` does: (O, vectors, 8) each."""
    span, strips, size = strip[0], strip[1], strip[9]
    filters, row, splits = numbers[0], numbers[1], numbers[2]
    phases, count_all, total = numbers[3], numbers[4], images * strips
    pooled_h, width = d_source[14], d_source[15]
    own = (size + WIDTH + COLUMNS - 1) // COLUMNS * COLUMNS  # vectors lie in one cache line
    cells_of_piece = span * width * row
    mine = worker * (own + 2 * cells_of_piece + COLUMNS)
    values = mine + own
    places = at_number(scratch, values + cells_of_piece + COLUMNS)  # of int32, as large as float32
    for piece in range(s * total // splits, (s + 1) * total // splits):
        n = piece // strips
        m = (piece - n * strips) * span
        used = min(span, pooled_h - m)
        src, at = open_strip(x, x_source, strip, n, m, scratch, mine)
        count = used * width
        _look_up(
            d, winner, d_source, n, m, used, windows, steps, phases, row, scratch, values, places
        )
        add_rows(scratch, values, cells, count, row // COLUMNS, db, s * row)
        for o in range(filters):
            base = (s * filters + o) * count_all * WIDTH
            for t in range(0, count_all, ROWS):
                t1, t2, t3, t4, t5 = _five_more(t, count_all)
                _tile(
                    src, at, places, scratch, values, o, row, count, vectors[t], vectors[t1],
                    vectors[t2], vectors[t3], vectors[t4], vectors[t5],
                    g, base + t * WIDTH, base + t1 * WIDTH, base + t2 * WIDTH,
                    base + t3 * WIDTH, base + t4 * WIDTH, base + t5 * WIDTH,
                )  # fmt: skip


@Job
def _collect(
    o: int, partial: Floats, splits: int, filters: int, vectors: int, length: int, runs: int,
    channels: int, taps: int, dw: Floats,
) -> None:  # fmt: skip
    """Add up the splits, and write them as (O, C, taps)."""
    per_run = vectors // runs
    size = filters * vectors * WIDTH
    total = room()
    for v in range(vectors):
        at = (o * vectors + v) * WIDTH
        a = wide_zero()
        for s in range(splits):
            a = widen(a, load(partial, s * size + at))
        store(total, 0, narrow(a))
        r = v // per_run
        e = (v - r * per_run) * WIDTH
        for lane in range(min(WIDTH, length - e)):
            k = r * length + e + lane
            t = k // channels
            dw[(o * channels + k - t * channels) * taps + t] = total[lane]


def pays(g: Window, channels: int, pool: Pair) -> bool:
    """Whether this is faster than direct sums at all positions; by the instructions of both."""
    vectors = g.kernel[0] * -(-g.kernel[1] * channels // WIDTH)
    taps = -(-g.kernel[0] * g.kernel[1] * channels // ROWS) * ROWS
    return 1.5 + 4 * -(-vectors // ROWS) < 0.8 * pool[0] * pool[1] * taps / COLUMNS


def weight_gradient(
    x: np.ndarray, d: Source, w: np.ndarray, g: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of the weights and of the bias; `d` is to be UNPOOLed."""
    n, channels, *spatial = x.shape
    filters, taps = w.shape[0], g.kernel[0] * g.kernel[1]
    pool, shape = (d.given[12], d.given[13]), (d.given[14], d.given[15])
    what, blocks = source(x), -(-filters // COLUMNS)
    row, strides = blocks * COLUMNS, in_place(what)
    if strides is not None and (strides[3] != channels or channels % WIDTH):
        strides = None  # vectors would reach past the last pixel
    lines, columns = window_axes(g, shape, pool)
    recipe = make_recipe(
        lines, columns, n, channels, 1, 1, tuple(spatial), strides, 1, shape[1] * row, row,
        dense=True, limit=STRIP,
    )  # fmt: skip
    span, line, pixel = (int(recipe.strip[i]) for i in (0, 6, 7))
    runs, length = run_table(g.kernel, g.dilation, line, pixel, channels, 1)
    vectors = (runs[:, None] + np.arange(0, length, WIDTH)).reshape(-1)
    steps, _ = run_table(pool, g.stride, line, pixel, 1, 2)
    pieces = n * int(recipe.strip[1])
    splits = max(1, min(16, n * shape[0] * shape[1] // 128, pieces))
    partial = buffers.zeros(splits * filters * vectors.size * WIDTH)
    sums = buffers.zeros((splits, row), np.float64)
    size = recipe.scratch + WIDTH + 2 * span * shape[1] * row + 2 * COLUMNS
    threads.launch(
        n * shape[0] * shape[1] * filters * vectors.size * 2, _sum, splits,
        what.flat, what.numbers, recipe.strip, recipe.rows, steps, vectors,
        d.flat, d.winner, d.numbers, recipe.cells, n,
        int64((filters, row, splits, steps.size, vectors.size)),
        partial, sums.reshape(-1), threads.scratch(size),
    )  # fmt: skip
    dw = buffers.empty(w.shape)
    threads.launch(
        2 * partial.size, _collect, filters, partial, splits, filters, vectors.size, length,
        runs.size, channels, taps, dw.reshape(-1),
    )  # fmt: skip
    # The lanes behind the last filter hold anything.
    return dw, sums[:, :filters].sum(axis=0).astype(np.float32)
