"""Convolution, bias, ReLU and max pooling while everything is in the first-level cache.

A block of pooling windows at a time: its convolution outputs go to a small scratch buffer, phase by
phase of the pool, and only their maximum leaves. Adding the bias and ReLU commute with the maximum,
so they come after it. Saved is one byte per output: the winning phase, or that ReLU was closed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit, prange

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.conv import (
    Geometry,
    _border,
    _input_gradient,
    _weight_gradient,
    geometry,
    output_row,
    pack_filters,
    padded_bias,
    row_table,
    run_table,
    takes,
    tap_table,
)
from xpcnn.kernels.cpu.layout import (
    Image,
    as_image,
    channel_sums,
    lift,
    lift_pair,
    spread,
)
from xpcnn.kernels.cpu.product import COLUMNS, ROWS, _outer_block, _times_tile
from xpcnn.kernels.cpu.vector import (
    add,
    beats,
    load,
    load_bytes,
    relu,
    splat,
    store,
    store_bytes,
    where_equal,
    where_positive,
    zero,
)
from xpcnn.window import Window

WINDOWS = 24
"""Pooling windows in a block."""

CLOSED = 255
"""In the place of a phase: ReLU gave zero, and no gradient passes."""


@lru_cache(maxsize=256)
def _tables(
    pooled: tuple[int, int], pool: tuple[int, int], stride: tuple[int, int], line: int, pixel: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where every pooling window starts in an image, and where its phases are from there."""
    windows = row_table(pooled, (pool[0] * stride[0], pool[1] * stride[1]), line, pixel)
    return windows, row_table(pool, stride, line, pixel)


@njit(nogil=True, parallel=True, cache=True)
def _forward(
    x: Any, images: int, image: int, windows: Any, phases: Any, runs: Any, length: int,
    w: Any, block: int, blocks: int, bias: Any, channels: int, nothing: Any, y: Any, winner: Any,
) -> None:  # fmt: skip
    row = blocks * COLUMNS
    total = windows.size
    n_blocks = (total + WINDOWS - 1) // WINDOWS
    for job in prange(images * n_blocks):
        n = job // n_blocks
        first = (job - n * n_blocks) * WINDOWS
        count = min(WINDOWS, total - first)
        scratch = np.empty(phases.size * WINDOWS * row, np.float32)
        for b in range(blocks):
            for f in range(phases.size):
                at = n * image + phases[f]
                to = f * WINDOWS * row + b * COLUMNS
                for j in range(0, count, ROWS):
                    j1, j2, j3 = min(j + 1, count - 1), min(j + 2, count - 1), min(j + 3, count - 1)
                    j4, j5 = min(j + 4, count - 1), min(j + 5, count - 1)
                    _times_tile(
                        x, at + windows[first + j], at + windows[first + j1],
                        at + windows[first + j2], at + windows[first + j3],
                        at + windows[first + j4], at + windows[first + j5],
                        runs, length, w, b * block, COLUMNS, nothing, 0, 1,
                        scratch, to + j * row, to + j1 * row, to + j2 * row, to + j3 * row,
                        to + j4 * row, to + j5 * row,
                    )  # fmt: skip
        for j in range(count):
            out = (n * total + first + j) * row
            for o in range(0, row, 8):
                best, which = load(scratch, j * row + o), zero()
                for f in range(1, phases.size):
                    value = load(scratch, (f * WINDOWS + j) * row + o)
                    which = beats(value, best, splat(np.float32(f)), which)
                    best = beats(value, best, value, best)
                best = relu(add(best, load(bias, o)))
                store_bytes(winner, out + o, where_positive(best, which, splat(np.float32(CLOSED))))
                store(scratch, j * row + o, best)
        for c in range(channels):
            out = (n * channels + c) * total + first
            for j in range(count):
                y[out + j] = scratch[j * row + c]


@njit(nogil=True, cache=True)
def _transpose_in(
    dy: Any, source: int, sc: int, count: int, channels: int, to: Any, row: int
) -> None:  # fmt: skip
    """Bring the gradients of some windows, `sc` apart from channel to channel, channels-last."""
    for c in range(channels):
        for j in range(count):
            to[j * row + c] = dy[source + c * sc + j]


@njit(nogil=True, parallel=True, cache=True)
def _backward(
    x: Any, images: int, image: int, windows: Any, phases: Any, taps: Any, dy: Any,
    winner: Any, channels: int, blocks: int, splits: int, g: Any, db: Any,
) -> None:  # fmt: skip
    row = blocks * COLUMNS
    total = windows.size
    n_blocks = (total + WINDOWS - 1) // WINDOWS
    pieces = images * n_blocks
    per_split = (pieces + splits - 1) // splits
    for s in prange(splits):
        scratch = np.zeros(phases.size * WINDOWS * row + COLUMNS, np.float32)
        gradient = np.zeros(WINDOWS * row, np.float32)
        rows = np.empty(phases.size * WINDOWS, np.int64)
        cells = np.empty(phases.size * WINDOWS, np.int64)
        for piece in range(s * per_split, min(pieces, (s + 1) * per_split)):
            n = piece // n_blocks
            first = (piece - n * n_blocks) * WINDOWS
            count = min(WINDOWS, total - first)
            _transpose_in(dy, n * channels * total + first, total, count, channels, gradient, row)
            for j in range(count):
                at = (n * total + first + j) * row
                for o in range(0, row, 8):
                    which, value = load_bytes(winner, at + o), load(gradient, j * row + o)
                    for f in range(phases.size):
                        kept = where_equal(which, splat(np.float32(f)), value, zero())
                        store(scratch, (f * count + j) * row + o, kept)
                    value = where_equal(which, splat(np.float32(CLOSED)), zero(), value)
                    store(db, s * row + o, add(load(db, s * row + o), value))
            for f in range(phases.size):
                for j in range(count):
                    rows[f * count + j] = windows[first + j] + phases[f]
                    cells[f * count + j] = (f * count + j) * row
            _outer_block(
                x, rows, n * image, taps, 0, taps.size, scratch, cells, 0, 0, blocks,
                0, phases.size * count, g, s * taps.size * row, row,
            )  # fmt: skip


@njit(nogil=True, parallel=True, cache=True)
def _expand(
    dy: Any, images: int, windows: Any, phases: Any, winner: Any, channels: int, row: int,
    out: Any, image: int,
) -> None:  # fmt: skip
    """Write every gradient to the convolution output that won, into zeros."""
    total = windows.size
    for n in prange(images):
        for q in range(total):
            at = (n * total + q) * row
            for c in range(channels):
                which = winner[at + c]
                if which != CLOSED:
                    out[n * image + windows[q] + phases[which] + c] = dy[
                        (n * channels + c) * total + q
                    ]


def forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, pool: Window, *,
    training: bool = True,
) -> Any:  # fmt: skip
    """Compute ``max_pool(relu(conv(x, w) + b))``; declines overlapping or padded pooling."""
    simple = pool.kernel == pool.stride and not pool.is_padded and pool.extent == pool.kernel
    if not simple or groups != 1 or pool.taps >= CLOSED or not takes(x, w, groups):
        return NotImplemented
    g, n, channels = geometry(window), x.shape[0], w.shape[1]
    pooled = pool.output_shape(window.output_shape(x.shape[2:]))
    image = as_image(lift(x), g.padding)
    packed, blocks = pack_filters(w, g.kernel, 1)
    row = output_row(1, w.shape[0], blocks)
    runs, length = run_table(g.kernel, g.dilation, image.line, image.pixel, channels, 1)
    windows, phases = _tables(
        lift_pair(pooled, 1), lift_pair(pool.kernel, 1), g.stride, image.line, image.pixel
    )
    y = buffers.empty((n, w.shape[0], *pooled))
    winner = buffers.empty(n * windows.size * row, np.uint8)
    threads.launch(
        n * windows.size * phases.size * runs.size * length * row // 8, _forward,
        image.flat, n, image.image, windows, phases, runs, length, packed,
        runs.size * length * COLUMNS, blocks, padded_bias(b, row), w.shape[0],
        padded_bias(None, COLUMNS), y.reshape(-1), winner,
    )  # fmt: skip
    return y, (x, image, w, b is not None, winner)


def backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, pool: Window, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db)."""
    x, image, w, has_bias, winner = saved
    g = geometry(window)
    dy = np.require(dy, np.float32, ["C", "A", "W"])
    if need_dx:
        return _backward_with_dx(dy, saved, g, pool)
    n, channels, width = x.shape[0], w.shape[1], w.shape[0]
    blocks = -(-width // COLUMNS)
    row = blocks * COLUMNS
    windows, phases = _tables(
        lift_pair(dy.shape[2:], 1), lift_pair(pool.kernel, 1), g.stride, image.line, image.pixel
    )
    taps = tap_table(g.kernel, g.dilation, image.line, image.pixel, channels)
    splits = max(1, min(16, n * windows.size // 512))
    partial = buffers.zeros((splits, taps.size, row))
    db = np.zeros((splits, row), np.float32)
    threads.launch(
        n * windows.size * phases.size * taps.size * row // 8, _backward,
        image.flat, n, image.image, windows, phases, taps, dy.reshape(-1), winner, width, blocks,
        splits, partial.reshape(-1), db.reshape(-1),
    )  # fmt: skip
    dw = partial.sum(axis=0)[:, :width].reshape(*g.kernel, channels, width)
    dw = np.ascontiguousarray(dw.transpose(3, 2, 0, 1)).reshape(w.shape)
    return None, dw, db.sum(axis=0)[:width] if has_bias else None


def _backward_with_dx(
    dy: np.ndarray, saved: Any, g: Geometry, pool: Window
) -> tuple[Any, Any, Any]:
    """Spread the gradient over the convolution's output first; both gradients need it there."""
    x, image, w, has_bias, winner = saved
    n, width = x.shape[0], w.shape[0]
    spatial = lift(x).shape[2:]
    out = Window(*g).output_shape(spatial)
    border = _border(g, spatial, out)
    pixel = spread(width)
    line = (out[1] + sum(border[1])) * pixel
    size = (out[0] + sum(border[0])) * line
    d = Image(buffers.zeros(n * size + COLUMNS), size, line, pixel)
    first = border[0][0] * line + border[1][0] * pixel
    windows, phases = _tables(
        lift_pair(dy.shape[2:], 1), lift_pair(pool.kernel, 1), (1, 1), line, pixel
    )
    row = -(-width // COLUMNS) * COLUMNS
    threads.launch(
        4 * dy.size,
        _expand,
        dy.reshape(-1),
        n,
        windows + first,
        phases,
        winner,
        width,
        row,
        d.flat,
        size,
    )
    cells = row_table(out, (1, 1), line, pixel, first)
    dw = _weight_gradient(image, x, d, cells, w, g, 1)
    db = channel_sums(d, width) if has_bias else None
    return _input_gradient(d, border, x, w, out, g, 1), dw, db
