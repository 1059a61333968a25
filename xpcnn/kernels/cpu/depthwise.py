"""Depthwise convolution: every channel has filters of its own, so vectors run across channels.

The usual windows, of 3x3 and 5x5, have tiles of their own (:mod:`.depthwise_tiles`). For others,
which input positions a window covers, and which windows cover an input position, are tables; the
gradient of the input is then the same kernel as the convolution itself. Padding is never made:
what lies in it is left out. The lines of a volume are those of all its planes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, elementwise, threads
from xpcnn.kernels.cpu.depthwise_tiles import Plan, collect_sums, convolve, sum_products, tile_plan
from xpcnn.kernels.cpu.elementwise import new_rows
from xpcnn.kernels.cpu.epilogue import LIMITS, NOTHING, RELU, Epilogue, activate
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Ints, Job, inner
from xpcnn.kernels.cpu.layout import (
    float32,
    int64,
    padded_bias,
    takes_images,
)
from xpcnn.kernels.cpu.pool import Images, Links, as_images, lines_of, links_of, reverse
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.kernels.cpu.vector import (
    RUN,
    WIDE,
    WIDTH,
    add,
    fma,
    load,
    load_index,
    load_wide,
    room,
    store,
    store_wide,
    widen,
    within,
    zero,
)
from xpcnn.kernels.trace import Declined
from xpcnn.ops.conv import backward as generic_backward
from xpcnn.window import Ints as Sizes
from xpcnn.window import Window

TILE = 4
"""Positions worked on together, times sixteen channels: eight sums stay in registers."""

BAND = 8
"""Lines of the result that a job computes, for all channels or a part of them."""

JOBS = 32
"""Pieces that the work is cut into, if it has enough channels."""

TILES = 256
"""Tiles after which sums of float32 go into those of float64."""


class Tables(NamedTuple):
    """How a result is put together from a source.

    Attributes
    ----------
    lines : int64 array
        Two numbers per line of the result: the line of the source that its first tap reads, and
        its class. Lines of one class have the same taps.
    tiles : int64 array
        Four numbers per tile of up to four columns with the same taps: the first column, the
        distance to the next, their number, and how much further each reads in the source.
    spans : int64 array
        For each class and tile: its entries (from, to) in `places`.
    places : int64 array
        Two numbers per tap: its distance from the first pixel of the line, and its number.
    """

    lines: np.ndarray
    tiles: np.ndarray
    spans: np.ndarray
    places: np.ndarray


def takes(x: Any, w: Any, groups: int) -> Declined | None:
    """Say why this is not a depthwise convolution of float32 arrays; ``None`` if it is."""
    if refusal := takes_images(x, w):
        return refusal
    if groups == 1 or groups != x.shape[1]:
        return Declined(f"{groups} groups of {x.shape[1]} channels: not depthwise")
    return Declined("an empty batch") if x.size == 0 else None


@lru_cache(maxsize=512)
def _forward_tables(window: Window, spatial: Sizes, line: int, pixel: int) -> Tables:
    return _tables(*links_of(window, spatial), 1, window.kernel[-1], line, pixel)


@lru_cache(maxsize=512)
def _backward_tables(window: Window, spatial: Sizes, line: int, pixel: int) -> Tables:
    both = zip(links_of(window, spatial), lines_of(spatial), strict=True)
    lines, columns = (reverse(seen, size) for seen, size in both)
    # Columns a stride apart are seen by the same taps.
    period = window.stride[-1]
    return _tables(lines, columns, period, window.kernel[-1], line, pixel)


def _tables(
    lines: Links, columns: Links, period: int, kernel_w: int, line: int, pixel: int
) -> Tables:
    tiles: list[int] = []
    starts: list[tuple[tuple[int, int], ...]] = []
    for phase in range(min(period, len(columns))):
        here = list(range(phase, len(columns), period))
        while here:
            count, step = _alike([columns[j] for j in here[:TILE]])
            tiles += [here[0], period, count, step]
            starts.append(columns[here[0]])
            del here[:count]
    classes: dict[tuple[tuple[int, int], ...], int] = {}
    where = []
    for pairs in lines:
        base = pairs[0][0] if pairs else 0
        relative = tuple((at - base, tap) for at, tap in pairs)
        where += [base, classes.setdefault(relative, len(classes))]
    spans: list[int] = []
    places: list[int] = []
    for relative in classes:
        for start in starts:
            spans.append(len(places))
            for down, tap in relative:
                for at, tap_w in start:
                    places += [down * line + at * pixel, tap * kernel_w + tap_w]
            spans.append(len(places))
    tables = (where, tiles, spans, places or [0])
    return Tables(*(np.array(table, np.int64) for table in tables))


def _alike(columns: list[tuple[tuple[int, int], ...]]) -> tuple[int, int]:
    """Count how many columns have the taps of the first, moved by one and the same step."""
    first, step = columns[0], 0
    for count, column in enumerate(columns[1:], 1):
        if [tap for _, tap in column] != [tap for _, tap in first]:
            return count, step
        moved = {at - start for (at, _), (start, _) in zip(column, first, strict=True)}
        if count == 1:
            step = min(moved, default=0)
        if moved - {count * step}:
            return count, step
    return len(columns), step


def _pack(w: np.ndarray, lanes: int) -> np.ndarray:
    """Arrange filters as [tap][channel], with zeros up to the lanes."""
    packed = np.zeros((w[0].size, lanes), np.float32)
    packed[:, : w.shape[0]] = w.reshape(w.shape[0], -1).T
    return packed.reshape(-1)


def _repeat(x: Any, times: int) -> Any:
    """Repeat every channel for the filters that it has."""
    if times == 1:
        return x
    shape = (x.shape[0], *x.shape[2:], x.shape[1], times)
    out = buffers.empty(shape)
    out[...] = np.moveaxis(x, 1, -1)[..., None]
    return np.moveaxis(out.reshape(*shape[:-2], -1), -1, 1)


def conv_forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, *, epilogue: Epilogue = NOTHING
) -> Any:
    """Convolve, with an activation in the same pass, of which backward knows ReLU."""
    if refusal := takes(x, w, groups):
        return refusal
    images = as_images(_repeat(x, w.shape[0] // groups))
    bias = padded_bias(b, images.lanes)
    spatial = x.shape[2:]
    shape = (x.shape[0], w.shape[0], *window.output_shape(spatial))
    y = _run(images, spatial, shape, window, w, bias, epilogue, backward=False)
    return y, (images, x, w, b is not None, y if epilogue == RELU else None)


def conv_backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db), of a convolution with or without ReLU behind it."""
    images, x, w, has_bias, gate = saved
    if gate is not None:
        dy = elementwise.gated(dy, gate)
    d, shape, out = as_images(dy), x.shape, dy.shape
    dw, db = _weight_gradient(images, d, w, out, window, shape[2:])
    if not np.isfinite(db).all():
        # Infinity times the zeros around an image is NaN, and they are left out here.
        with np.errstate(invalid="ignore"):
            dw = generic_backward(xp, dy, (x, w, has_bias), window, groups, False)[1]
    dx = None
    if need_dx:
        times = w.shape[0] // groups
        wide = (shape[0], w.shape[0], *shape[2:])
        nothing = padded_bias(None, images.lanes)
        dx = _run(d, out[2:], wide, window, w, nothing, NOTHING, backward=True)
        if times > 1:
            apart = np.moveaxis(dx, 1, -1).reshape(shape[0], *shape[2:], groups, times)
            dx = np.moveaxis(apart.sum(axis=-1), -1, 1)
    return dx, dw, db if has_bias else None


def _run(
    source: Images, spatial: Sizes, shape: Sizes, window: Window, w: np.ndarray,
    bias: np.ndarray, epilogue: Epilogue, *, backward: bool,
) -> np.ndarray:  # fmt: skip
    """Return a convolution of that shape, or the gradient of its input of that shape.

    `spatial` is the height and width of the source: the input, or the gradient of the output.
    """
    flat, y = new_rows(shape)
    n, (height, width) = shape[0], lines_of(shape[2:])
    work, lanes, settings = y.size * window.taps, source.lanes, float32(epilogue.settings)
    plan = _plan(window, spatial, shape[2:], lanes, backward=backward)
    if epilogue.kind > LIMITS and lanes % COLUMNS:
        plan = None  # the last channels would be worked on twice
    bands = -(-height // BAND)
    parts = _parts(lanes, n * bands, 2 * WIDTH if plan is None else WIDE)
    if plan is not None:
        packed = _pack(w[..., ::-1, ::-1] if plan.turned else w, lanes)
        numbers = int64((*plan.numbers, bands, parts, epilogue.kind))
        threads.launch(
            work, convolve, n * bands * parts, *source, numbers, packed, bias, settings, flat
        )
        return y
    if backward:
        tables = _backward_tables(window, shape[2:], source.line, source.pixel)
    else:
        tables = _forward_tables(window, spatial, source.line, source.pixel)
    threads.launch(
        work, _multiply, n * bands * parts, *source, height, tables.tiles.size // 4, width,
        *tables, _pack(w, lanes), bias, epilogue.kind, settings, bands, parts, flat,
    )  # fmt: skip
    return y


def _plan(
    window: Window, source: Sizes, result: Sizes, lanes: int, *, backward: bool
) -> Plan | None:
    """Plan tiles for images of enough channels; ``None`` if there are none."""
    if len(source) != 2 or lanes < COLUMNS:
        return None
    return tile_plan(window, source, result, backward)


def _parts(lanes: int, jobs: int, width: int) -> int:
    """Return into how many parts the channels are cut, of which `width` are worked on at once."""
    return min(-(-lanes // width), max(1, JOBS // jobs))


def _weight_gradient(
    x: Images, d: Images, w: Any, shape: Sizes, window: Window, spatial: Sizes
) -> tuple[np.ndarray, np.ndarray]:
    """Sum in pieces of lines, whose number depends on the sizes alone."""
    plan = _plan(window, spatial, shape[2:], x.lanes, backward=False)
    width = 2 * WIDTH if plan is None else WIDE
    row = -(-x.lanes // width) * width
    pieces = max(1, min(32, shape[0] * int(np.prod(shape[2:])) // 1024))
    parts = _parts(x.lanes, pieces, width)
    total = buffers.empty((pieces, window.taps + 1, row), np.float64)
    work = int(np.prod(shape)) * window.taps
    if plan is not None:
        partial = buffers.empty(total.shape)
        numbers = int64((*plan.numbers, pieces, parts, 0, shape[0], window.taps + 1))
        threads.launch(
            work, sum_products, pieces * parts, *x, *d[:4], numbers, partial.reshape(-1),
            total.reshape(-1),
        )  # fmt: skip
    else:
        tables = _forward_tables(window, spatial, x.line, x.pixel)
        partial = buffers.zeros((pieces, window.taps, row))
        total.fill(0)
        threads.launch(
            work, _outer, pieces * parts, *x, *d[:4], shape[0], tables.lines.size // 2,
            tables.tiles.size // 4, *tables, window.taps, pieces, parts, partial.reshape(-1),
            total.reshape(-1),
        )  # fmt: skip
    dw, db = buffers.empty(w.shape), buffers.empty(w.shape[0])
    threads.launch(
        total.size, collect_sums, row // WIDTH, total.reshape(-1), pieces, window.taps, row,
        x.lanes, WIDTH if plan is None else WIDE, w.shape[0], dw.reshape(-1), db,
    )  # fmt: skip
    return dw, db


@Job
def _multiply(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, height: int, across: int,
    columns: int, lines: Ints, tiles: Ints, spans: Ints, places: Ints, w: Floats, bias: Floats,
    kind: int, settings: Floats, bands: int, parts: int, y: Floats,
) -> None:  # fmt: skip
    """Go through the memory of a band of lines in its order, sixteen channels at a time."""
    blocks = (lanes + 2 * WIDTH - 1) // (2 * WIDTH)
    per_band, per_part = (height + bands - 1) // bands, (blocks + parts - 1) // parts
    band = job // parts
    n = band // bands
    top = (band - n * bands) * per_band
    left = (job - band * parts) * per_part
    right = min(blocks, left + per_part)
    for i in range(top, min(height, top + per_band)):
        source = n * image + lines[2 * i] * line
        for t in range(across):
            span = 2 * (lines[2 * i + 1] * across + t)
            to = ((n * height + i) * columns + tiles[4 * t]) * lanes
            # Fewer columns than four: the last is done again.
            count = tiles[4 * t + 2]
            e1, e2, e3 = min(2, count) - 1, min(3, count) - 1, count - 1
            apart, step = tiles[4 * t + 1] * lanes, tiles[4 * t + 3] * pixel
            x1, x2, x3 = source + e1 * step, source + e2 * step, source + e3 * step
            first, last = spans[span], spans[span + 1]
            for block in range(left, right):
                k = block * 2 * WIDTH
                c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
                a00 = a10 = a20 = a30 = load(bias, c0)
                a01 = a11 = a21 = a31 = load(bias, c1)
                for m in range(first, last, 2):
                    at, f = load_index(places, m), load_index(places, m + 1) * lanes
                    p0, p1 = at + c0, at + c1
                    w0, w1 = load(w, f + c0), load(w, f + c1)
                    a00 = fma(load(x, source + p0), w0, a00)
                    a01 = fma(load(x, source + p1), w1, a01)
                    a10, a11 = fma(load(x, x1 + p0), w0, a10), fma(load(x, x1 + p1), w1, a11)
                    a20, a21 = fma(load(x, x2 + p0), w0, a20), fma(load(x, x2 + p1), w1, a21)
                    a30, a31 = fma(load(x, x3 + p0), w0, a30), fma(load(x, x3 + p1), w1, a31)
                if kind == LIMITS:
                    a00, a01 = within(a00, settings), within(a01, settings)
                    a10, a11 = within(a10, settings), within(a11, settings)
                    a20, a21 = within(a20, settings), within(a21, settings)
                    a30, a31 = within(a30, settings), within(a31, settings)
                elif kind > LIMITS:
                    # Vectors of y may overlap, and each result is to be taken once.
                    own = room()
                    store(own, 0, a00)
                    store(own, 8, a01)
                    store(own, 16, a10)
                    store(own, 24, a11)
                    store(own, 32, a20)
                    store(own, 40, a21)
                    store(own, 48, a30)
                    store(own, 56, a31)
                    activate(own, 0, 8 * WIDTH, kind, settings)
                    a00, a01, a10, a11 = load(own, 0), load(own, 8), load(own, 16), load(own, 24)
                    a20, a21, a30, a31 = load(own, 32), load(own, 40), load(own, 48), load(own, 56)
                store(y, to + c0, a00)
                store(y, to + c1, a01)
                store(y, to + e1 * apart + c0, a10)
                store(y, to + e1 * apart + c1, a11)
                store(y, to + e2 * apart + c0, a20)
                store(y, to + e2 * apart + c1, a21)
                store(y, to + e3 * apart + c0, a30)
                store(y, to + e3 * apart + c1, a31)


@Job
def _outer(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, d: Floats, d_image: int,
    d_line: int, d_pixel: int, images: int, height: int, across: int, lines: Ints, tiles: Ints,
    spans: Ints, places: Ints, taps: int, pieces: int, parts: int, partial: Floats, total: Doubles,
) -> None:  # fmt: skip
    """Add the products of gradients and inputs to the sums of their tap; the last sums gradients.

    Piece p has a row of vectors for each tap, and one more in `total`, to which those of `partial`
    are added now and then. The gradients of a tile stay in registers, the sums of sixteen channels
    in the first-level cache: stores all over the rows would hold up the loads.
    """
    blocks = (lanes + 2 * WIDTH - 1) // (2 * WIDTH)
    size = blocks * 2 * WIDTH
    per_piece, per_part = (images * height + pieces - 1) // pieces, (blocks + parts - 1) // parts
    piece = job // parts
    left = (job - piece * parts) * per_part
    for block in range(left, min(blocks, left + per_part)):
        k = block * 2 * WIDTH
        c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
        to, whole = piece * taps * size + k, piece * (taps + 1) * size + k
        bias, done = whole + taps * size, 0
        for place in range(piece * per_piece, min(images * height, (piece + 1) * per_piece)):
            n = place // height
            i = place - n * height
            source = n * image + lines[2 * i] * line
            x0, x1 = source + c0, source + c1
            run0, run1 = zero(), zero()
            for t in range(across):
                span = 2 * (lines[2 * i + 1] * across + t)
                count, step = tiles[4 * t + 2], tiles[4 * t + 3] * pixel
                at = n * d_image + i * d_line + tiles[4 * t] * d_pixel
                d00, d01 = load(d, at + c0), load(d, at + c1)
                d10 = d11 = d20 = d21 = d30 = d31 = zero()
                if count > 1:
                    d10, d11 = load(d, at + d_pixel + c0), load(d, at + d_pixel + c1)
                if count > 2:
                    d20, d21 = load(d, at + 2 * d_pixel + c0), load(d, at + 2 * d_pixel + c1)
                if count > 3:
                    d30, d31 = load(d, at + 3 * d_pixel + c0), load(d, at + 3 * d_pixel + c1)
                s0, s1 = add(add(d00, d10), add(d20, d30)), add(add(d01, d11), add(d21, d31))
                run0, run1 = add(run0, s0), add(run1, s1)
                if t % RUN == RUN - 1 or t == across - 1:
                    _pour(total, bias, run0, run1)
                    run0, run1 = zero(), zero()
                for m in range(spans[span], spans[span + 1], 2):
                    at, f = load_index(places, m), to + load_index(places, m + 1) * size
                    g0 = fma(load(x, x0 + at), d00, load(partial, f))
                    g1 = fma(load(x, x1 + at), d01, load(partial, f + WIDTH))
                    # Not zero times a column that is not there: it may be infinite.
                    if count > 1:
                        g0 = fma(load(x, x0 + at + step), d10, g0)
                        g1 = fma(load(x, x1 + at + step), d11, g1)
                    if count > 2:
                        g0 = fma(load(x, x0 + at + 2 * step), d20, g0)
                        g1 = fma(load(x, x1 + at + 2 * step), d21, g1)
                    if count > 3:
                        g0 = fma(load(x, x0 + at + 3 * step), d30, g0)
                        g1 = fma(load(x, x1 + at + 3 * step), d31, g1)
                    store(partial, f, g0)
                    store(partial, f + WIDTH, g1)
                done += 1
                if done == TILES:
                    _pour_taps(partial, to, total, whole, taps, size)
                    done = 0
        _pour_taps(partial, to, total, whole, taps, size)


@inner
def _pour(total: Any, at: int, a: Any, b: Any) -> None:
    """Add two vectors to a sum of float64."""
    store_wide(total, at, widen(load_wide(total, at), a))
    store_wide(total, at + WIDTH, widen(load_wide(total, at + WIDTH), b))


@inner
def _pour_taps(partial: Any, at: int, total: Any, to: int, taps: int, size: int) -> None:
    """Add the sums of all taps to those of float64, and begin them anew."""
    for tap in range(taps):
        f = at + tap * size
        _pour(total, to + tap * size, load(partial, f), load(partial, f + WIDTH))
        store(partial, f, zero())
        store(partial, f + WIDTH, zero())
