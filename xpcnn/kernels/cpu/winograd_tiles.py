"""The transforms of Winograd's convolution, from pixels and filters to 6x6 places.

See :mod:`xpcnn.kernels.cpu.winograd`. They evaluate polynomials at 0, 5/8, -5/8, 3/2, -3/2 and
infinity, along the columns and then along the rows, for as many channels at once as a register has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu.jobs import Floats, Ints, Job, inner
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.kernels.cpu.vector import (
    WIDE,
    add,
    copy_transposed,
    expect,
    fma,
    load,
    load_full,
    multiply,
    splat_full,
    store,
    store_full,
    zero,
    zero_full,
)

PLACES = 36
CHANNELS = 16
"""Channels of the filters that are read before they are transformed."""

_A, _B = np.float32(0.625), np.float32(1.5)
_A2, _B2, _A3, _B3 = _A * _A, _B * _B, _A * _A * _A, _B * _B * _B
_SUM, _PRODUCT = _A2 + _B2, _A2 * _B2
_SCALE_0 = np.float32(1 / _PRODUCT)
_SCALE_A = np.float32(1 / (2 * _A2 * (_A2 - _B2)))
_SCALE_B = np.float32(1 / (2 * _B2 * (_B2 - _A2)))
_ONE = np.float32(1)


@inner
def _inputs(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> Any:
    """Transform six inputs."""
    r0 = fma(d0, splat_full(_PRODUCT), fma(d2, splat_full(-_SUM), d4))
    r5 = fma(d1, splat_full(_PRODUCT), fma(d3, splat_full(-_SUM), d5))
    even, odd = fma(d2, splat_full(-_B2), d4), fma(d1, splat_full(-_B2), d3)
    r1, r2 = fma(odd, splat_full(_A), even), fma(odd, splat_full(-_A), even)
    even, odd = fma(d2, splat_full(-_A2), d4), fma(d1, splat_full(-_A2), d3)
    r3, r4 = fma(odd, splat_full(_B), even), fma(odd, splat_full(-_B), even)
    return r0, r1, r2, r3, r4, r5


@inner
def _factors(g0: Any, g1: Any, g2: Any, g3: Any, last: Any) -> Any:
    """Transform three or four factors, the last of which is given again."""
    even, odd = fma(g2, splat_full(_A2), g0), fma(g3, splat_full(_A3), multiply(g1, splat_full(_A)))
    r1, r2 = add(even, odd), fma(odd, splat_full(-_ONE), even)
    even, odd = fma(g2, splat_full(_B2), g0), fma(g3, splat_full(_B3), multiply(g1, splat_full(_B)))
    r3, r4 = add(even, odd), fma(odd, splat_full(-_ONE), even)
    a, b = splat_full(_SCALE_A), splat_full(_SCALE_B)
    r1, r2, r3, r4 = multiply(r1, a), multiply(r2, a), multiply(r3, b), multiply(r4, b)
    return multiply(g0, splat_full(_SCALE_0)), r1, r2, r3, r4, last


@inner
def outputs(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> Any:
    """Transform six products back to four outputs; the third and m5 are three factors' last."""
    s1, t1 = add(m1, m2), fma(m2, splat_full(-_ONE), m1)
    s2, t2 = add(m3, m4), fma(m4, splat_full(-_ONE), m3)
    y0 = add(m0, add(s1, s2))
    y1 = fma(t1, splat_full(_A), multiply(t2, splat_full(_B)))
    y2 = fma(s1, splat_full(_A2), multiply(s2, splat_full(_B2)))
    y3 = fma(t1, splat_full(_A3), fma(t2, splat_full(_B3), m5))
    return y0, y1, y2, y3


@inner
def _copy_patch(
    x: Any, start: int, line: int, pixel: int, height: int, width: int, row: int, column: int,
    size: int, channels: int, out: Any, to: int, out_pixel: int,
) -> None:  # fmt: skip
    """Copy a square that may reach over the edges, with zeros there and behind the channels."""
    p = to
    for i in range(row, row + size):
        for j in range(column, column + size):
            source = start + i * line + j * pixel
            inside = 0 <= i < height and 0 <= j < width
            if not inside or channels != out_pixel:
                for k in range(0, out_pixel, WIDE):
                    store_full(out, p + k, zero_full())
            if inside and channels >= WIDE:
                for k in range(0, channels, WIDE):
                    # The last vector ends with the channels: what follows may not be memory.
                    c = min(k, channels - WIDE)
                    store_full(out, p + c, load_full(x, source + c))
            elif inside:
                store(out, p, load(x, source))
                store(out, p + channels - 8, load(x, source + channels - 8))
            p += out_pixel


@inner
def _transform(
    x: Any, start: int, line: int, pixel: int, size: int, channels: int, half: Any, h: int,
    out: Any, to: int, step: int, block: int, six: int,
) -> None:  # fmt: skip
    """Transform a square of 6x6 inputs, 4x4 gradients or 3x3 weights, as `size` says.

    Channels go 16 by 16 to places `block` apart. `six` is 6 in a form that keeps the compiler from
    unrolling, which takes it long and gains nothing.
    """
    for c in range(0, channels, WIDE):
        for j in range(size):
            q, p = start + j * pixel + c, h + j * WIDE
            d0, d1, d2 = load_full(x, q), load_full(x, q + line), load_full(x, q + 2 * line)
            if size == 6:
                d3, d4, d5 = (
                    load_full(x, q + 3 * line),
                    load_full(x, q + 4 * line),
                    load_full(x, q + 5 * line),
                )
                d0, d1, d2, d3, d4, d5 = _inputs(d0, d1, d2, d3, d4, d5)
            else:
                last = load_full(x, q + (size - 1) * line)
                d3 = last if size == 4 else zero_full()
                d0, d1, d2, d3, d4, d5 = _factors(d0, d1, d2, d3, last)
            store_full(half, p, d0)
            store_full(half, p + 6 * WIDE, d1)
            store_full(half, p + 12 * WIDE, d2)
            store_full(half, p + 18 * WIDE, d3)
            store_full(half, p + 24 * WIDE, d4)
            store_full(half, p + 30 * WIDE, d5)
        for i in range(six):
            p, q = h + i * 6 * WIDE, to + (c >> 4) * block + (c & 15) + i * 6 * step
            d0, d1, d2 = (
                load_full(half, p),
                load_full(half, p + WIDE),
                load_full(half, p + 2 * WIDE),
            )
            if size == 6:
                d3, d4, d5 = (
                    load_full(half, p + 3 * WIDE),
                    load_full(half, p + 4 * WIDE),
                    load_full(half, p + 5 * WIDE),
                )
                d0, d1, d2, d3, d4, d5 = _inputs(d0, d1, d2, d3, d4, d5)
            else:
                last = load_full(half, p + (size - 1) * WIDE)
                d3 = last if size == 4 else zero_full()
                d0, d1, d2, d3, d4, d5 = _factors(d0, d1, d2, d3, last)
            store_full(out, q, d0)
            store_full(out, q + step, d1)
            store_full(out, q + 2 * step, d2)
            store_full(out, q + 3 * step, d3)
            store_full(out, q + 4 * step, d4)
            store_full(out, q + 5 * step, d5)


@inner
def _expect_next(x: Any, start: int, line: int, pixel: int, lines: int, channels: int) -> None:
    """Have four columns fetched, by which the next tile goes beyond this one."""
    for i in range(lines):
        for j in range(4):
            for c in range(0, channels, 16):
                expect(x, start + i * line + j * pixel + c)


@inner
def transform_some(
    k: Any, x: Any, start: int, stop: int, own: Any, at: int, out: Any, to: int
) -> None:
    """Transform some tiles, of inputs or of gradients, with a register a place to work in."""
    image, line, pixel, height, width = k[0], k[1], k[2], k[3], k[4]
    top, left, channels, size, across, down = k[5], k[6], k[7], k[8], k[9], k[10]
    row, step, block, six = k[13], k[14], k[15], k[16]
    padded = (channels + 15) // 16 * 16
    for tile in range(start, stop):
        n = tile // (across * down)
        i = tile // across % down * 4 - top
        j = tile % across * 4 - left
        inside = i >= 0 and j >= 0 and i + size <= height and j + size <= width
        _expect_next(x, n * image + i * line + (j + size) * pixel, line, pixel, size, channels)
        source, q, a, b = x, n * image + i * line + j * pixel, line, pixel
        if not inside or channels != padded:
            q, a, b, source = at + WIDE * PLACES, size * padded, padded, own
            _copy_patch(
                x, n * image, line, pixel, height, width, i, j, size, channels, own, q, padded
            )
        here = to + (tile - start) * row
        _transform(source, q, a, b, size, padded, own, at, out, here, step, block, six)


@Job
def transform_tiles(
    worker: int, workers: int, k: Ints, x: Floats, own: Floats, room: int, out: Floats
) -> None:
    """Transform a worker's share of the tiles."""
    first, last, row = k[11], k[12], k[13]
    share = (last - first + workers - 1) // workers
    start = first + worker * share
    stop = min(last, start + share)
    transform_some(k, x, start, stop, own, worker * room, out, worker * share * row)


@inner
def _gather_taps(
    w: Any, start: int, tap_row: int, tap_column: int, outer: int, outer_step: int, outer_to: int,
    count: int, count_step: int, count_to: int, out: Any, to: int,
) -> None:  # fmt: skip
    """Copy some 3x3 filters so that a vector can be read across them."""
    for a in range(outer):
        for b in range(count):
            source = start + a * outer_step + b * count_step
            q = to + a * outer_to + b * count_to
            for _ in range(3):
                out[q] = w[source]
                out[q + COLUMNS] = w[source + tap_column]
                out[q + 2 * COLUMNS] = w[source + 2 * tap_column]
                q += 3 * COLUMNS
                source += tap_row


@inner
def _transpose_taps(
    w: Any, start: int, lane: int, lanes: int, apart: int, part: int, turned: bool, out: Any,
    to: int,
) -> None:  # fmt: skip
    """Do the same 8 by 8, for 8 filters or more; the taps of one channel lie side by side."""
    for k in range(0, lanes, 8):
        here = min(k, lanes - 8)
        source, p = start + here * lane, to + here
        if turned:
            for t in range(part):
                # Of nine taps, eight and eight.
                for tap in range(2):
                    copy_transposed(
                        w, source + t * apart + tap, lane, out,
                        p + (9 * t + 8 - tap) * COLUMNS, -COLUMNS,
                    )  # fmt: skip
        else:
            for number in range(0, 9 * part, 8):
                tap = min(number, 9 * part - 8)
                copy_transposed(w, source + tap, lane, out, p + tap * COLUMNS, COLUMNS)


@Job
def transform_filters(
    worker: int, workers: int, k: Ints, w: Floats, own: Floats, room: int, out: Floats
) -> None:
    """Transform a worker's share of the filters, 16 by 16, to [place][channel][filter]."""
    lane, apart, tap_row, tap_column, filters = k[0], k[1], k[2], k[3], k[4]
    channels, step, first, last, size, six = k[5], k[6], k[7], k[8], k[9], k[10]
    at = worker * room
    taps, square = at + WIDE * PLACES, 9 * COLUMNS
    # Turned filters are read from the last tap.
    base = 0 if tap_row > 0 else -2 * (tap_row + tap_column)
    for turn in range((last - first - worker + workers - 1) // workers):
        b = first + worker + turn * workers
        lanes = min(COLUMNS, filters - b * COLUMNS)
        for p in range(taps, taps + CHANNELS * square, 8):
            store(own, p, zero())
        for c in range(0, channels, CHANNELS):
            part = min(CHANNELS, channels - c)
            start = base + b * COLUMNS * lane + c * apart
            if lanes >= 8:
                _transpose_taps(w, start - base, lane, lanes, apart, part, tap_row < 0, own, taps)
            # Memory is read in its own order, whichever of the two is further apart.
            elif lane > apart:
                _gather_taps(
                    w, start, tap_row, tap_column, lanes, lane, 1, part, apart, square, own, taps
                )
            else:
                _gather_taps(
                    w, start, tap_row, tap_column, part, apart, square, lanes, lane, 1, own, taps
                )
            to = (b - first) * PLACES * step + c * COLUMNS
            for t in range(part):
                _transform(
                    own, taps + t * square, 3 * COLUMNS, COLUMNS, size, COLUMNS, own, at,
                    out, to + t * COLUMNS, step, COLUMNS, six,
                )  # fmt: skip
