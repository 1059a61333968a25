"""Convolution, bias, ReLU and max pooling while everything is in the first-level cache.

A block of pooling windows at a time: its convolution outputs go to a small scratch buffer, phase by
phase of the pool, and only their maximum leaves. Adding the bias and ReLU commute with the maximum,
so they come after it. Saved is one byte per output: the winning phase, or that ReLU was closed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, conv, threads
from xpcnn.kernels.cpu.conv import (
    Pair,
    Recipe,
    forward_axes,
    make_recipe,
    pack,
    run_table,
    window_axes,
)
from xpcnn.kernels.cpu.epilogue import RELU
from xpcnn.kernels.cpu.jobs import Bytes, Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.layout import (
    Strides,
    in_place,
    int64,
    padded_bias,
    source,
    takes_images,
)
from xpcnn.kernels.cpu.methods import conv_backward, conv_forward, gradients, winograd_pays
from xpcnn.kernels.cpu.pool import max_pool_backward, max_pool_forward
from xpcnn.kernels.cpu.product import COLUMNS, TOGETHER, times_rows
from xpcnn.kernels.cpu.strips import CLOSED, UNPOOL, open_strip
from xpcnn.kernels.cpu.vector import (
    add,
    beats,
    behind,
    copy_transposed,
    load,
    relu,
    splat,
    store,
    store_bytes,
    where_open,
    zero,
)
from xpcnn.kernels.lifting import lift, lift_window, lower
from xpcnn.kernels.trace import Declined
from xpcnn.window import Window

APART_FROM = 32
"""Channels from which Winograd's transform is worth a pass over memory for the pooling."""

WINDOWS = 24
"""Pooling windows in a block."""


@inner
def _pool(
    scratch: Any, at: int, count: int, phases: int, row: int, bias: Any, winner: Any, to: int
) -> None:  # fmt: skip
    """Put the largest of the phases, plus bias, ReLU, in the place of phase 0; and note which."""
    step = WINDOWS * row
    for j in range(count):
        for o in range(0, row, 8):
            place = at + j * row + o
            best, which = load(scratch, place), zero()
            for f in range(1, phases):
                value = load(scratch, place + f * step)
                which = beats(value, best, splat(np.float32(f)), which)
                best = beats(value, best, value, best)
            best = add(best, load(bias, o))
            which = where_open(best, which, splat(np.float32(CLOSED)))
            store(scratch, place, relu(best))
            store_bytes(winner, to + j * row + o, which)


@inner
def _write(
    scratch: Any, at: int, count: int, row: int, channels: int, y: Any, to: int, total: int,
    last: int,
) -> None:  # fmt: skip
    """Write the results of some windows, channels last or each channel by itself."""
    if last == 1:
        for j in range(count):
            for k in range(0, channels, 8):
                c = min(k, channels - 8)
                store(y, to + j * channels + c, load(scratch, at + j * row + c))
    else:
        for k in range(0, channels, 8):
            c = min(k, channels - 8)
            for first in range(0, count - 7, 8):
                copy_transposed(
                    scratch, at + first * row + c, row, y, to + c * total + first, total
                )
        for j in range(count // 8 * 8, count):
            for c in range(channels):
                y[to + c * total + j] = scratch[at + j * row + c]


@Job
def _forward(
    job: int, worker: Worker, x: Floats, source: Ints, strip: Ints, windows: Ints,
    phases: Ints, count_phases: int, runs: Ints, count_runs: int, length: int, w: Floats,
    bias: Floats, nothing: Floats, cells: Ints, numbers: Ints, y: Floats, winner: Bytes,
    memory: Floats,
) -> None:  # fmt: skip
    span, strips, size = strip[0], strip[1], strip[9]
    blocks, channels, pooled_h, pooled_w, last = (
        numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
    )  # fmt: skip
    row, block = blocks * COLUMNS, count_runs * length * COLUMNS
    total, step = pooled_h * pooled_w, WINDOWS * row
    n = job // strips
    m = (job - n * strips) * span
    mine = worker * (size + count_phases * step)
    src, base = open_strip(x, source, strip, n, m, memory, mine)
    mine += size
    all_windows = min(span, pooled_h - m) * pooled_w
    for first in range(0, all_windows, WINDOWS):
        count = min(WINDOWS, all_windows - first)
        for b in range(0, blocks, TOGETHER):
            for f in range(count_phases):
                at, to = base + phases[f], mine + f * step + b * COLUMNS
                if b + TOGETHER <= blocks:
                    times_rows(
                        src, at, windows, first, first + count, runs, count_runs, length, w,
                        b * block, block, TOGETHER, nothing, 0, 0, nothing, memory, to,
                        behind(cells, -first),
                    )  # fmt: skip
                else:
                    times_rows(
                        src, at, windows, first, first + count, runs, count_runs, length, w,
                        b * block, block, 1, nothing, 0, 0, nothing, memory, to,
                        behind(cells, -first),
                    )  # fmt: skip
        q = n * total + m * pooled_w + first
        _pool(memory, mine, count, count_phases, row, bias, winner, q * row)
        to = q * channels if last == 1 else n * channels * total + m * pooled_w + first
        _write(memory, mine, count, row, channels, y, to, total, last)


def forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, pool: Window, *,
    training: bool = True, flat: bool = False,
) -> Any:  # fmt: skip
    """Compute ``max_pool(relu(conv(x, w) + b))``; declines overlapping or padded pooling."""
    if pool.kernel != pool.stride or pool.is_padded or pool.extent != pool.kernel:
        return Declined("pooling windows overlap, are padded or dilated")
    if pool.taps >= CLOSED:
        return Declined("a very large pooling window")
    if declined := takes_images(x, w):
        return declined
    if x.ndim == 5:
        return Declined("one or two spatial dimensions only")
    if conv.takes(x, w, groups) or groups != 1:
        return _apart(xp, x, w, b, window, groups, pool)
    g, image = lift_window(window), lift(x)
    few = min(w.shape[:2]) < APART_FROM
    if not few and winograd_pays(image.shape, w, g, groups):
        return _apart(xp, x, w, b, window, groups, pool)
    n, what, blocks = len(x), source(image), -(-w.shape[0] // COLUMNS)
    row, size = blocks * COLUMNS, lift_window(pool).kernel
    shape, windows, phases, (runs, length), plain = _layout(
        g, size, image.shape, blocks, in_place(what)
    )
    strip = windows.strip
    y = buffers.empty((n, w.shape[0], *shape) if flat else (n, *shape, w.shape[0]))
    winner = buffers.empty(n * shape[0] * shape[1] * row, np.uint8)
    numbers = (blocks, w.shape[0], *shape, int(not flat))
    threads.launch(
        n * shape[0] * shape[1] * phases.size * w.size // 8, _forward, n * int(strip[1]),
        what.flat, what.numbers, strip, windows.rows, phases, phases.size, runs, runs.size, length,
        pack(w, plain, False, 1), padded_bias(b, row), padded_bias(None, TOGETHER * COLUMNS),
        int64(tuple(range(0, WINDOWS * row, row))), int64(numbers), y.reshape(-1), winner,
        threads.scratch(windows.scratch + phases.size * WINDOWS * row),
    )  # fmt: skip
    y = lower(y if flat else y.transpose(0, 3, 1, 2), x.ndim)
    return y, (x, w, b is not None, winner, size, row)


@lru_cache(maxsize=512)
def _layout(
    g: Window, size: Pair, shape: tuple[int, ...], blocks: int, strides: Strides | None
) -> tuple[Pair, Recipe, np.ndarray, tuple[np.ndarray, int], Recipe]:
    """Return all that follows from shapes.

    These are: the pooled size, a recipe of the pooling windows, where the phases of a window are,
    the runs under a filter, and the recipe by which filters are packed.
    """
    n, channels, height, width = shape
    out = g.output_shape((height, width))
    pooled = (out[0] // size[0], out[1] // size[1])
    lines, columns = window_axes(g, pooled, size)
    windows = make_recipe(lines, columns, n, channels, 1, 1, (height, width), strides, 1, 0, 0)
    line, pixel = int(windows.strip[6]), int(windows.strip[7])
    phases, _ = run_table(size, g.stride, line, pixel, 1, 2)
    plain = make_recipe(
        *forward_axes(g, (height, width)), n, channels, 1, blocks, (height, width), None,
        g.kernel[1], 0, 0,
    )  # fmt: skip
    runs = run_table(g.kernel, g.dilation, line, pixel, channels, 1)
    return pooled, windows, phases, runs, plain


def _apart(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, pool: Window
) -> tuple[Any, Any]:
    """Convolve and pool one after the other: few filters, or a way that is worth the pass."""
    y, conv_saved = conv_forward(xp, x, w, b, window, groups, epilogue=RELU)
    y, pool_saved = max_pool_forward(xp, y, pool)
    return y, (conv_saved, pool_saved)


def backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, pool: Window, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db)."""
    if len(saved) == 2:
        conv_saved, pool_saved = saved
        dy = max_pool_backward(xp, dy, pool_saved, pool)
        return conv_backward(xp, dy, conv_saved, window, groups, need_dx)
    x, w, has_bias, winner, size, row = saved
    d = lift(dy)
    if d.strides[1] != 4 and d.strides[3] != 4:
        copy = buffers.empty(d.shape)
        copy[...] = d
        d = copy
    out = lift_window(window).output_shape(lift(x).shape[2:])
    what = source(d, UNPOOL, None, winner, out, size, row)
    return gradients(what, out, x, w, has_bias, window, groups, need_dx)
