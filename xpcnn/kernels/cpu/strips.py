"""The products of convolution, worked strip by strip.

A strip is some lines of one image. What a product reads there is first brought into a scratch
memory of the size of a cache, channels last, with the zeros of the padding around it: a copy, a
gradient that ReLU gates, or one that max pooling spreads. Nothing padded is ever kept, and images
that need no change are read in place.

An image of the result may be a plane of a volume. What it reads is then a piece of each plane that
the taps in depth see, one behind the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu.epilogue import LIMITS, finish
from xpcnn.kernels.cpu.jobs import Bytes, Doubles, Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.product import (
    BLOCK,
    COLUMNS,
    OUTER_ROWS,
    TOGETHER,
    outer_rows,
    times_rows,
)
from xpcnn.kernels.cpu.sums import add_rows
from xpcnn.kernels.cpu.vector import (
    behind,
    copy_transposed,
    load,
    load_bytes,
    narrow,
    room,
    splat,
    store,
    where_equal,
    where_open,
    wide_zero,
    widen,
    zero,
)

COPY, GATE, UNPOOL = 0, 1, 2

CLOSED = 255
"""In the place of a pooling phase: ReLU gave zero, and no gradient passes."""


class Source(NamedTuple):
    """What strips are filled from: COPY x, GATE x where `gate` is positive, or UNPOOL it.

    Attributes
    ----------
    flat, gate : float32 arrays of one dimension
    winner : uint8 array
        For UNPOOL: number of the winning phase of every pooling window, `lanes` per window.
    numbers : int64 array
        kind; strides of x and of the gate (image, channel, line, pixel); channels, height and
        width of a strip's image; pool height and width, pooled height and width, lanes; planes of
        a volume (1 for images), and their distances in x and in the gate.
    given : tuple of int
        The same numbers.
    """

    flat: np.ndarray
    gate: np.ndarray
    winner: np.ndarray
    numbers: np.ndarray
    given: tuple[int, ...]


@inner
def copy_run(x: Any, at: int, count: int, out: Any, to: int) -> None:
    for k in range(0, count - 7, 8):
        store(out, to + k, load(x, at + k))
    if count % 8 != 0 and count >= 8:
        store(out, to + count - 8, load(x, at + count - 8))
    elif count < 8:
        for k in range(count):
            out[to + k] = x[at + k]


@inner
def transpose(
    x: Any, at: int, sc: int, channels: int, width: int, out: Any, to: int, pixel: int
) -> None:
    """Bring channels that lie `sc` apart side by side; there are at least 8, and 8 pixels."""
    for k in range(0, channels, 8):
        c = min(k, channels - 8)
        for j in range(0, width, 8):
            p = min(j, width - 8)
            copy_transposed(x, at + c * sc + p, sc, out, to + p * pixel + c, pixel)


@inner
def _copy_line(
    x: Any, at: int, sc: int, sw: int, channels: int, width: int, out: Any, to: int, pixel: int
) -> None:
    if sc != 1 and channels > 1:
        if sw == 1 and channels >= 8 and width >= 8:
            transpose(x, at, sc, channels, width, out, to, pixel)
            return
        for k in range(channels):
            for p in range(width):
                out[to + p * pixel + k] = x[at + k * sc + p * sw]
        return
    whole = sw == channels and pixel == channels
    runs, run = (1, width * channels) if whole else (width, channels)
    for p in range(runs):
        copy_run(x, at + p * sw, run, out, to + p * pixel)


@inner
def _gate_line(
    x: Any, at: int, sc: int, sw: int, gate: Any, gt: int, gc: int, gw: int, channels: int,
    width: int, out: Any, to: int, pixel: int,
) -> None:  # fmt: skip
    if sc != 1 or gc != 1 or channels < 8:
        for p in range(width):
            for k in range(channels):
                closed = gate[gt + p * gw + k * gc] <= 0
                value = x[at + p * sw + k * sc]
                out[to + p * pixel + k] = np.float32(0) if closed else value
        return
    for p in range(width):
        for k in range(0, channels, 8):
            c = min(k, channels - 8)
            value = where_open(load(gate, gt + p * gw + c), load(x, at + p * sw + c), zero())
            store(out, to + p * pixel + c, value)


@inner
def _unpool_line(
    x: Any, at: int, sw: int, winner: Any, wt: int, lanes: int, phase: int, pool: int,
    pooled: int, channels: int, out: Any, to: int, pixel: int,
) -> None:  # fmt: skip
    for j in range(pooled):
        for k in range(0, channels, 8):
            c = min(k, channels - 8)
            value, which = load(x, at + j * sw + c), load_bytes(winner, wt + j * lanes + c)
            for f in range(pool):
                won = where_equal(which, splat(np.float32(phase + f)), value, zero())
                store(out, to + (j * pool + f) * pixel + c, won)


@inner
def _unpool_across(
    x: Any, at: int, sc: int, winner: Any, wt: int, lanes: int, phase: int, pool: int,
    pooled: int, channels: int, out: Any, to: int, pixel: int,
) -> None:  # fmt: skip
    """Do what :func:`_unpool_line` does where the channels of x lie `sc` apart."""
    if pooled < 8:
        for j in range(pooled):
            for k in range(channels):
                which = np.int64(winner[wt + j * lanes + k]) - phase
                for f in range(pool):
                    value = x[at + k * sc + j]
                    out[to + (j * pool + f) * pixel + k] = value if which == f else np.float32(0)
        return
    # Numba compiles a function anew for arguments that are constants.
    block, none, eight = room(), np.int64(0), np.int64(8)
    for k in range(0, channels, 8):
        c = min(k, channels - 8)
        for first in range(0, pooled, 8):
            j = min(first, pooled - 8)
            copy_transposed(x, at + c * sc + j, sc, block, 0, 8)
            _unpool_line(
                block, none, eight, winner, wt + j * lanes + c, lanes, phase, pool, eight, eight,
                out, to + j * pool * pixel + c, pixel,
            )  # fmt: skip


@inner
def _clear_around(out: Any, to: int, line: int, before: int, inside: int) -> None:
    """Put zeros into a line but for what begins at `before`."""
    for k in range(before):
        out[to + k] = 0.0
    for k in range(before + inside, line):
        out[to + k] = 0.0


@inner
def fill_copied(
    x: Any, source: Any, n: int, z: int, first: int, lines: int, left: int, line: int, pixel: int,
    out: Any, start: int,
) -> None:  # fmt: skip
    """Bring lines of plane z of image n, from line `first` on (may be outside), to `out`."""
    sc, sh, sw = source[2], source[3], source[4]
    plane = n * source[1] + z * source[18]
    channels, height, width = source[9], source[10], source[11]
    for i in range(lines):
        j, to = first + i, start + i * line
        inside = width if 0 <= j < height else 0
        _clear_around(out, to, line, left * pixel if inside > 0 else 0, inside * pixel)
        if inside > 0:
            _copy_line(x, plane + j * sh, sc, sw, channels, width, out, to + left * pixel, pixel)


@inner
def _plane_of(strip: Any, n: int) -> Any:
    """Return the volume to which plane n of the result belongs, and its number there."""
    volume = n // strip[10]
    return volume, n - volume * strip[10]


@inner
def _in_place(source: Any, strip: Any, n: int, m: int) -> Any:
    """Return where what a strip reads begins in the array itself."""
    volume, q = _plane_of(strip, n)
    plane = volume * source[1] + (q * strip[12] + strip[11]) * source[18]
    return plane + (m * strip[3] + strip[2]) * strip[6]


@inner
def open_strip(x: Any, source: Any, strip: Any, n: int, m: int, scratch: Any, to: int) -> Any:
    """Return where image n can be read from output line m on: in place, or a copy at `to`.

    `strip` is that of :func:`times_strips`.
    """
    if strip[8] == 1:
        return x, _in_place(source, strip, n, m)
    first, line = m * strip[3] + strip[2], strip[6]
    volume, q = _plane_of(strip, n)
    for t in range(strip[13]):
        z, place = q * strip[12] + strip[11] + t * strip[14], to + t * strip[4] * line
        if 0 <= z < source[17]:
            fill_copied(
                x, source, volume, z, first, strip[4], strip[5], line, strip[7], scratch, place
            )
        else:
            _clear_around(scratch, place, strip[4] * line, np.int64(0), np.int64(0))
    return scratch, to


@inner
def _fill_strip(
    x: Any, gate: Any, winner: Any, source: Any, strip: Any, n: int, m: int, out: Any, to: int
) -> None:
    """Bring what a strip reads to `out`, and on the way do what `source` says."""
    first, line = m * strip[3] + strip[2], strip[6]
    volume, q = _plane_of(strip, n)
    for t in range(strip[13]):
        z, place = q * strip[12] + strip[11] + t * strip[14], to + t * strip[4] * line
        if 0 <= z < source[17]:
            fill(
                x, gate, winner, source, volume, z, first, strip[4], strip[5], line, strip[7], out,
                place,
            )  # fmt: skip
        else:
            _clear_around(out, place, strip[4] * line, np.int64(0), np.int64(0))


@inner
def fill(
    x: Any, gate: Any, winner: Any, source: Any, n: int, z: int, first: int, lines: int, left: int,
    line: int, pixel: int, out: Any, start: int,
) -> None:  # fmt: skip
    """Do what :func:`fill_copied` does, and on the way what `source` says."""
    kind, sc, sh, sw = source[0], source[2], source[3], source[4]
    gc, gh, gw = source[6], source[7], source[8]
    plane, gate_plane = n * source[1] + z * source[18], n * source[5] + z * source[19]
    channels, height, width = source[9], source[10], source[11]
    pool_h, pool_w, pooled_h, pooled_w = source[12], source[13], source[14], source[15]
    lanes = source[16]
    if kind == COPY:
        fill_copied(x, source, n, z, first, lines, left, line, pixel, out, start)
        return
    for i in range(lines):
        j, to = first + i, start + i * line
        inside = pooled_w * pool_w if kind == UNPOOL else width
        if j < 0 or j >= height or (kind == UNPOOL and j >= pooled_h * pool_h):
            inside = 0
        _clear_around(out, to, line, left * pixel if inside > 0 else 0, inside * pixel)
        if inside == 0:
            continue
        to += left * pixel
        if kind == GATE:
            _gate_line(
                x, plane + j * sh, sc, sw, gate, gate_plane + j * gh, gc, gw, channels, width, out,
                to, pixel,
            )  # fmt: skip
        else:
            q = j // pool_h
            wt, phase = (n * pooled_h + q) * pooled_w * lanes, (j - q * pool_h) * pool_w
            if sc == 1:
                _unpool_line(
                    x, plane + q * sh, sw, winner, wt, lanes, phase, pool_w, pooled_w,
                    channels, out, to, pixel,
                )  # fmt: skip
            else:
                _unpool_across(
                    x, plane + q * sh, sc, winner, wt, lanes, phase, pool_w, pooled_w,
                    channels, out, to, pixel,
                )  # fmt: skip


@Job
def fill_images(
    job: int, x: Floats, gate: Floats, winner: Bytes, source: Ints, depth: Ints, out: Floats
) -> None:
    """Bring images to `out`, densely; of volumes, the planes that a plane sees side by side.

    `depth` has what :func:`times_strips` has in `strip` about it, and the first plane.
    """
    planes, shift, advance, taps = depth[0], depth[1], depth[2], depth[3]
    channels, height, width = source[9], source[10], source[11]
    pixel = taps * channels
    plane = job // height
    i = job - plane * height
    n = (depth[5] + plane) // planes
    q = depth[5] + plane - n * planes
    for t in range(taps):
        z, to = q * advance + shift + t * depth[4], job * width * pixel + t * channels
        if 0 <= z < source[17]:
            fill(
                x, gate, winner, source, n, z, i, np.int64(1), np.int64(0), width * pixel, pixel,
                out, to,
            )  # fmt: skip
        else:
            for p in range(width):
                for c in range(channels):
                    out[to + p * pixel + c] = 0.0


@Job
def times_strips(
    job: int, worker: Worker, x: Floats, gate: Floats, winner: Bytes, source: Ints, strip: Ints,
    phases: Ints,
    count_phases: int, rows: Ints, runs: Ints, cells: Ints, w: Floats, bias: Floats,
    numbers: Ints, settings: Floats, other: Floats, y: Floats, scratch: Floats,
) -> None:  # fmt: skip
    """Multiply the pixels under a window by weights, for every position of the window.

        y[cells[p] + o]  = bias[o] + sum over r, t of x[rows[p] + runs[r] + t] * w[r, t, o]

    Parameters
    ----------
    x, gate, winner, source
        See :class:`Source`.
    strip : int64 array
        Output lines in a strip; strips in an image; first line to read, relative to `advance`
        times the first output line; lines, zeros on the left, line and pixel of the scratch;
        whether to read in place; numbers in the scratch. Then in depth: output planes of a volume;
        first plane to read, relative to `advance` times the output plane; advance; taps, and their
        distance.
    phases : int64 array of shape (count_phases, 7)
        Output lines and positions in each; where its rows (and cells), its runs and its weights
        begin; number and length of the runs.
    numbers : int64 array
        groups, blocks of 16 columns in each, columns and input channels of a group, the kind of
        the epilogue, distance of images and of strip lines in y, pieces the blocks are cut into
        (1 if there are several groups: each writes a few zeros over the next), distance of the
        planes of a volume in y, 1 if `other` is added.
    settings : float32 array
        Those of the epilogue.
    other : float32 array
        What is added to the results, laid out as y.
    """
    span, strips, in_place, size = strip[0], strip[1], strip[8], strip[9]
    groups, blocks, width, channels = numbers[0], numbers[1], numbers[2], numbers[3]
    kind, y_image, y_line, parts = numbers[4], numbers[5], numbers[6], numbers[7]
    adds = numbers[9]
    clamps = int(kind == LIMITS and adds == 0)
    per_part = (blocks + parts - 1) // parts
    n = job // (strips * parts)
    part = job // strips - n * parts
    m = job % strips * span
    if in_place == 1:
        src, at = x, _in_place(source, strip, n, m)
    else:
        src, at = scratch, worker * size
        _fill_strip(x, gate, winner, source, strip, n, m, scratch, at)
    volume, q = _plane_of(strip, n)
    image = volume * y_image + q * numbers[8]
    for f in range(0, 7 * count_phases, 7):
        per_line, table, run = phases[f + 1], phases[f + 2], phases[f + 3]
        count = min(span, phases[f] - m) * per_line
        count_runs, length = phases[f + 5], phases[f + 6]
        taps = behind(runs, run)
        block = count_runs * length * COLUMNS
        out = image + m * y_line
        for first in range(0, count, BLOCK):
            last = min(count, first + BLOCK)
            for g in range(groups):
                base = at + g * channels
                last_block = min(blocks, (part + 1) * per_part)
                for b in range(part * per_part, last_block, TOGETHER):
                    column = g * width + b * COLUMNS
                    weights = phases[f + 4] + (g * blocks + b) * block
                    if b + TOGETHER <= last_block:
                        times_rows(
                            src, base, rows, table + first, table + last, taps, count_runs, length,
                            w, weights, block, TOGETHER, bias, column, clamps, settings, y,
                            out + column, cells,
                        )  # fmt: skip
                        together = TOGETHER
                    else:
                        times_rows(
                            src, base, rows, table + first, table + last, taps, count_runs, length,
                            w, weights, block, 1, bias, column, clamps, settings, y,
                            out + column, cells,
                        )  # fmt: skip
                        together = 1
                    if adds == 1 or kind > LIMITS:
                        finish(
                            y, out + column, cells, table + first, table + last,
                            together * COLUMNS, adds, other, kind, settings,
                        )  # fmt: skip


@inner
def outer_block(
    x: Any, rows: Any, base: int, taps: Any, first_tap: int, last_tap: int, d: Any, cells: Any,
    d_base: int, blocks: int, first: int, last: int, fresh: int, g: Any, to: int, row: int,
) -> None:  # fmt: skip
    """Add the products of some rows to the results of some taps, for all blocks of columns."""
    for b in range(0, blocks, TOGETHER):
        column = b * COLUMNS
        if b + TOGETHER <= blocks:
            outer_rows(
                x, base, rows, taps, first_tap, last_tap, d, d_base + column, COLUMNS, cells,
                first, last, fresh, TOGETHER, g, to + column, row, COLUMNS,
            )  # fmt: skip
        else:
            outer_rows(
                x, base, rows, taps, first_tap, last_tap, d, d_base + column, COLUMNS, cells,
                first, last, fresh, 1, g, to + column, row, COLUMNS,
            )  # fmt: skip


@Job
def outer_strips(
    job: int, worker: Worker, x: Floats, x_source: Ints, x_strip: Ints, rows: Ints, taps: Ints,
    count_taps: int,
    d: Floats, gate: Floats, winner: Bytes, d_source: Ints, d_strip: Ints, cells: Ints,
    per_line: int, images: int, numbers: Ints, g: Floats, db: Doubles, scratch: Floats,
) -> None:  # fmt: skip
    """Sum, over all positions, the products of what a window sees with the gradient there.

        g[k, o]  = sum over p of x[rows[p] + taps[k]] * d[cells[p] + o]

    Results of split s and group k start at ``(s * groups + k) * count_taps * row``, and the sums of
    d at ``s * groups * row``. The splits are to be added by the caller: their number does not
    depend on the number of threads, so that the sum does not either.
    """
    span, strips, size = x_strip[0], x_strip[1], x_strip[9]
    d_line, d_pixel, d_lines, d_size = d_strip[0], d_strip[1], d_strip[2], d_strip[3]
    groups, blocks, width, channels = numbers[0], numbers[1], numbers[2], numbers[3]
    splits, parts = numbers[4], numbers[5]
    row = blocks * COLUMNS
    tiles = (count_taps + OUTER_ROWS - 1) // OUTER_ROWS
    per_part = (tiles + parts - 1) // parts * OUTER_ROWS
    total = images * strips
    part = job % parts
    s = job // parts
    mine = worker * (size + d_size)
    begin = s * total // splits
    for piece in range(begin, (s + 1) * total // splits):
        n = piece // strips
        m = (piece - n * strips) * span
        src, at = open_strip(x, x_source, x_strip, n, m, scratch, mine)
        used = min(span, d_lines - m)
        volume, q = _plane_of(x_strip, n)
        fill(
            d, gate, winner, d_source, volume, q, m, used, np.int64(0), d_line, d_pixel, scratch,
            mine + size,
        )  # fmt: skip
        count = used * per_line
        for k in range(groups):
            base = (s * groups + k) * count_taps * row
            if part == 0:
                add_rows(scratch, mine + size + k * width, cells, count, blocks, db,
                          (s * groups + k) * row)  # fmt: skip
            for first in range(0, count, BLOCK):
                outer_block(
                    src, rows, at + k * channels, taps, part * per_part,
                    min(count_taps, (part + 1) * per_part), scratch, cells,
                    mine + size + k * width, blocks, first, min(count, first + BLOCK),
                    int(piece == begin and first == 0), g, base, row,
                )  # fmt: skip


@Job
def collect(
    job: int, partial: Floats, splits: int, groups: int, taps: int, channels: int, row: int,
    width: int, dw: Floats,
) -> None:  # fmt: skip
    """Add up the splits of :func:`outer_strips`, and put filters first: (O, C, taps)."""
    blocks = row // COLUMNS
    size = groups * taps * channels * row
    k = job // blocks
    column = (job - k * blocks) * COLUMNS
    lanes = min(COLUMNS, width - column)
    total = room()
    for t in range(taps):
        for c in range(channels):
            at = ((k * taps + t) * channels + c) * row + column
            a, b = wide_zero(), wide_zero()
            for s in range(splits):
                a = widen(a, load(partial, s * size + at))
                b = widen(b, load(partial, s * size + at + 8))
            store(total, 0, narrow(a))
            store(total, 8, narrow(b))
            to = ((k * width + column) * channels + c) * taps + t
            for o in range(lanes):
                dw[to + o * channels * taps] = total[o]
