"""Max and average pooling of channels-last images, eight channels at a time.

Padding is never made: a window is cut to what lies in the image. Backward gathers: each number of
dx collects from the windows that saw it, so that it is written once and needs no zeros before.

Signals are images of one line. The lines of a volume are those of all its planes, one plane after
the other. Which of them a window sees is in tables: kernels know of lines and columns alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import as_rows, declined, new_rows
from xpcnn.kernels.cpu.functions import load_up_to, store_up_to
from xpcnn.kernels.cpu.jobs import Bytes, Doubles, Floats, Ints, Job, inner
from xpcnn.kernels.cpu.layout import as_image, dense_image, new_output, source
from xpcnn.kernels.cpu.vector import (
    RUN,
    SIXTEEN,
    WIDTH,
    add,
    beats,
    fma,
    load,
    load_bytes,
    load_index,
    load_splat,
    load_wide,
    lower_eight,
    multiply,
    narrow_both,
    splat,
    splat_sixteen,
    square_root,
    store,
    store_bytes,
    store_wide,
    upper_eight,
    where_equal,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.lifting import lift
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints as Sizes
from xpcnn.window import Window

MOST_TAPS = 256
"""Taps that fit into the byte in which the winner is kept."""

POWERS = (1, 2, 4)
"""Of power means: those whose roots are square roots."""

EXACT = 1 << 24
"""Up to here every whole number is a float32."""


Links = tuple[tuple[tuple[int, int], ...], ...]
"""For every position of one axis of the result: (position in the source, tap) pairs."""


Tables = tuple[np.ndarray, np.ndarray]
"""Bounds, and what lies between them; see :func:`seen_by`."""

Reach = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What windows see: bounds, what lies between them, and columns; see :func:`reach`."""


class Images(NamedTuple):
    """Channels-last images of at least one vector per pixel.

    Attributes
    ----------
    flat : float32 array of one dimension
    image, line, pixel : int
        Distance from one to the next, in numbers.
    lanes : int
        Numbers in a pixel: the channels, but at least one vector.
    """

    flat: np.ndarray
    image: int
    line: int
    pixel: int
    lanes: int


def as_images(x: np.ndarray) -> Images:
    """Return x (N, C, *spatial) channels-last, in place if it is that already."""
    channels, (lines, w) = x.shape[1], lines_of(x.shape[2:])
    if channels < WIDTH:
        rows = as_rows(x)
        return Images(rows.flat, lines * w * rows.pitch, w * rows.pitch, rows.pitch, rows.lanes)
    what = source(lift(x))
    image = as_image(what, len(x))
    if x.ndim == 5 and image.plane != x.shape[3] * image.line:  # lines are as far apart everywhere
        image = dense_image(what, len(x))
    return Images(*image[:4], channels)


def lines_of(spatial: Sizes) -> Sizes:
    """Return the lines of all planes of an image, and their length."""
    return prod(spatial[:-1]), spatial[-1]


def links(window: Window, spatial: Sizes, axis: int) -> Links:
    """Say what each window position sees along one axis."""
    stride, dilation, before = window.stride[axis], window.dilation[axis], window.padding[axis][0]
    seen = []
    for q in range(window.output_shape(spatial)[axis]):
        taps = ((q * stride + t * dilation - before, t) for t in range(window.kernel[axis]))
        seen.append(tuple((i, t) for i, t in taps if 0 <= i < spatial[axis]))
    return tuple(seen)


def reverse(seen: Links, size: int) -> Links:
    """Say by which windows each input position is seen."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for q, pairs in enumerate(seen):
        for i, tap in pairs:
            found[i].append((q, tap))
    return tuple(map(tuple, found))


def join(axes: Sequence[Links], spatial: Sizes, kernel: Sizes) -> tuple[Links, Links]:
    """Return what is seen of the lines of all planes, and of the columns.

    Parameters
    ----------
    axes : sequence of Links
        One per spatial axis.
    spatial : tuple of int
        The size of the source.
    kernel : tuple of int
        Taps of a window, at most.
    """
    *others, columns = axes
    lines: Links = (((0, 0),),)
    for seen, n, taps in zip(others, spatial[:-1], kernel[:-1], strict=True):
        lines = tuple(
            tuple((at * n + i, tap * taps + t) for at, tap in before for i, t in pairs)
            for before in lines
            for pairs in seen
        )
    return lines, columns


@lru_cache(maxsize=512)
def links_of(window: Window, spatial: Sizes) -> tuple[Links, Links]:
    """Return what :func:`join` does for a window."""
    axes = [links(window, spatial, axis) for axis in range(window.ndim)]
    return join(axes, spatial, window.kernel)


@lru_cache(maxsize=512)
def _reach(window: Window, spatial: Sizes) -> Reach:
    """Return :func:`reach` of a window."""
    return reach(*links_of(window, spatial), window.dilation[-1])


def reach(lines: Links, columns: Links, dilation: int) -> Reach:
    """Say what every window sees.

    Returns
    -------
    bounds, pairs : int64 arrays
        What line i of the result sees is in entries ``bounds[i]`` to ``bounds[i + 1]`` of `pairs`:
        a line and its tap, alternating.
    columns : int64 array
        Three numbers per column of the result: where tap 0 lies, and the taps (from, to) inside.
    """
    numbers: list[int] = []
    for pairs in columns:
        if pairs:
            position, tap = pairs[0]
            numbers += [position - tap * dilation, tap, pairs[-1][1] + 1]
        else:
            numbers += [0, 0, 0]  # nothing is read
    return *_listed(lines), np.array(numbers, np.int64)


def _listed(*axes: Links) -> Tables:
    """Return links as arrays: those of each entry lie between two bounds, axis after axis."""
    bounds: list[int] = []
    pairs: list[tuple[int, int]] = []
    for axis in axes:
        for seen in axis:
            bounds.append(len(pairs))
            pairs += seen
        bounds.append(len(pairs))
    return np.array(bounds, np.int64), np.array([*pairs, (0, 0)], np.int64).reshape(-1)


@lru_cache(maxsize=512)
def _seen_by(window: Window, spatial: Sizes) -> Tables:
    """Return :func:`seen_by` of a window."""
    return seen_by(*links_of(window, spatial), spatial)


def seen_by(lines: Links, columns: Links, spatial: Sizes) -> Tables:
    """For lines and columns of the input: the windows that see them, and by which tap.

    Returns
    -------
    bounds : int64 array
        Entries ``bounds[i]`` to ``bounds[i + 1]`` of `pairs` belong to line i; those of column j
        start at ``bounds[lines + 1 + j]``.
    pairs : int64 array
        Window and tap, alternating; the first tap first.
    """
    both = zip((lines, columns), lines_of(spatial), strict=True)
    return _listed(*(tuple(p[::-1] for p in reverse(seen, size)) for seen, size in both))


def declines(x: Any) -> Declined | None:
    """Say why such an array is not pooled here; ``None`` if it is."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    return None if x.ndim in (3, 4, 5) else Declined(f"{x.ndim - 2} spatial dimensions")


def max_pool_forward(xp: Any, x: Any, window: Window) -> Any:
    """Take the largest number under each window; the first of equals wins, NaN spreads."""
    if refusal := declines(x):
        return refusal
    if window.taps > MOST_TAPS:
        return Declined(f"a window of {window.taps} taps, more than {MOST_TAPS}")
    spatial = x.shape[2:]
    size = window.output_shape(spatial)
    y, winner = take_maxima(x, size, _reach(window, spatial), window.kernel, window.dilation[-1])
    return y, (winner, x.shape)


def max_pool_backward(xp: Any, dy: Any, saved: Any, window: Window) -> np.ndarray:
    """Send each gradient to the number that won."""
    winner, shape = saved
    tables, none = _seen_by(window, shape[2:]), np.ones(1, np.float32)
    return give_back(dy, shape, tables, window.kernel, winner, none, average=False)


def avg_pool_forward(xp: Any, x: Any, window: Window, divisor: Any) -> Any:
    """Add what lies under each window and divide by `divisor`, one for all or one per position."""
    if refusal := declines(x):
        return refusal
    return _means_of(x, window, divisor)


def _means_of(x: np.ndarray, window: Window, divisor: Any, power: int = 1) -> Any:
    """Return what :func:`take_means` does for a window, and the shares with the input's shape."""
    spatial = x.shape[2:]
    size = window.output_shape(spatial)
    share = (1.0 / np.broadcast_to(np.asarray(divisor), size)).astype(np.float32).reshape(-1)
    y = take_means(
        x, size, _reach(window, spatial), window.kernel, window.dilation[-1], share, power
    )  # fmt: skip
    return y, (share, x.shape)


def lp_pool_forward(xp: Any, x: Any, window: Window, divisor: Any, p: float) -> Any:
    """Take the root of the mean of the powers under each window; some powers are declined."""
    if refusal := declines(x):
        return refusal
    if p not in POWERS:
        return Declined(f"norm_type {p}, another than 1, 2 or 4")
    y, shares = _means_of(x, window, divisor, int(p))
    return y, (x, y, shares)


def lp_pool_backward(xp: Any, dy: Any, saved: Any, window: Window, p: float) -> np.ndarray:
    """Return dx; where the output is zero and has no derivative, it is zero."""
    x, y, shares = saved
    slope = np.divide(dy, _root_power(y, p), out=np.zeros_like(dy), where=y != 0)
    dx = avg_pool_backward(xp, slope, shares, window)
    if p > 1.0:
        dx *= _root_power(x, p)
    return dx


def _root_power(a: np.ndarray, p: float) -> Any:
    """Return a to the power of p - 1, for one of :data:`POWERS`."""
    if p == 1.0:
        return np.float32(1)
    return a if p == 2.0 else a * a * a


def avg_pool_backward(xp: Any, dy: Any, saved: Any, window: Window) -> np.ndarray:
    """Give each number under a window its share of the gradient."""
    share, shape = saved
    tables, none = _seen_by(window, shape[2:]), np.zeros(1, np.uint8)
    return give_back(dy, shape, tables, window.kernel, none, share, average=True)


def take_maxima(
    x: np.ndarray, size: Sizes, reaching: Reach, kernel: Sizes, dilation: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maxima of windows, and which of their taps won.

    Parameters
    ----------
    x : array (N, C, *spatial)
    size : tuple of int
        Spatial shape of the result.
    reaching : three arrays
        What :func:`reach` returns.
    kernel : tuple of int
        Taps of a window, at most; 256 in all.
    dilation : int
        Distance of the taps in a line.
    """
    flat, y = new_rows((*x.shape[:2], *size))
    winner = buffers.empty(flat.size, np.uint8)
    lines, width = lines_of(size)
    threads.launch(
        y.size * prod(kernel), _max_forward, x.shape[0] * lines, *as_images(x), lines, width,
        *reaching, kernel[-1], dilation, flat, winner,
    )  # fmt: skip
    return y, winner


def take_means(
    x: np.ndarray, size: Sizes, reaching: Reach, kernel: Sizes, dilation: int,
    share: np.ndarray, power: int = 1,
) -> np.ndarray:  # fmt: skip
    """Return the sums of windows, each times its `share`; see :func:`take_maxima`.

    With a `power`, one of :data:`POWERS`, powers are added up, and the root is taken in the end.
    """
    flat, y = new_rows((*x.shape[:2], *size))
    lines, width = lines_of(size)
    threads.launch(
        y.size * prod(kernel), _avg_forward, x.shape[0] * lines, *as_images(x), lines, width,
        *reaching, dilation, share, power, flat,
    )  # fmt: skip
    return y


def give_back(
    dy: np.ndarray, shape: Sizes, tables: Tables, kernel: Sizes, winner: np.ndarray,
    share: np.ndarray, *, average: bool,
) -> np.ndarray:  # fmt: skip
    """Return the gradient of an input of that shape.

    Parameters
    ----------
    tables : two arrays
        What :func:`seen_by` returns.
    winner, share : arrays
        Of these one is read: the winners, or for an average the shares.
    """
    flat, dx = new_rows(shape)
    lines, width = lines_of(shape[2:])
    threads.launch(
        dy.size * prod(kernel), _gather, shape[0] * lines, *as_images(dy), lines, width,
        *lines_of(dy.shape[2:]), *tables, kernel[-1], winner, share, int(average), flat,
    )  # fmt: skip
    return dx


@Job
def _max_forward(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, out_h: int, out_w: int,
    bounds: Ints, pairs: Ints, columns: Ints, kernel_w: int, dilation: int, y: Floats,
    winner: Bytes,
) -> None:  # fmt: skip
    """Work on sixteen channels at a time, or on the last eight twice."""
    n = job // out_h
    i = job - n * out_h
    above, below = load_index(bounds, i), load_index(bounds, i + 1)
    for j in range(out_w):
        low_w, high_w = load_index(columns, 3 * j + 1), load_index(columns, 3 * j + 2)
        start = n * image + load_index(columns, 3 * j) * pixel
        # A window over nothing but padding has no tap; nobody reads its number.
        first = min(load_index(pairs, 2 * above + 1) * kernel_w + low_w, MOST_TAPS - 1)
        to = (job * out_w + j) * lanes
        for k in range(0, lanes, 2 * WIDTH):
            c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
            best0 = best1 = splat(np.float32(-np.inf))
            number0 = number1 = splat(np.float32(first))
            for a in range(above, below):
                at = start + load_index(pairs, 2 * a) * line
                line_tap = load_index(pairs, 2 * a + 1) * kernel_w
                for b in range(low_w, high_w):
                    v0 = load(x, at + b * dilation * pixel + c0)
                    v1 = load(x, at + b * dilation * pixel + c1)
                    tap = splat(np.float32(line_tap + b))
                    number0 = beats(v0, best0, tap, number0)
                    number1 = beats(v1, best1, tap, number1)
                    best0, best1 = beats(v0, best0, v0, best0), beats(v1, best1, v1, best1)
            store(y, to + c0, best0)
            store(y, to + c1, best1)
            store_bytes(winner, to + c0, number0)
            store_bytes(winner, to + c1, number1)


@Job
def _avg_forward(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, out_h: int, out_w: int,
    bounds: Ints, pairs: Ints, columns: Ints, dilation: int, share: Floats, power: int,
    y: Floats,
) -> None:  # fmt: skip
    """Write sums of powers times their share, or the roots of these."""
    n = job // out_h
    i = job - n * out_h
    above, below = load_index(bounds, i), load_index(bounds, i + 1)
    for j in range(out_w):
        low_w, high_w = load_index(columns, 3 * j + 1), load_index(columns, 3 * j + 2)
        start = n * image + load_index(columns, 3 * j) * pixel
        to = (job * out_w + j) * lanes
        scale = load_splat(share, i * out_w + j)
        for k in range(0, lanes, 2 * WIDTH):
            c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
            total0, total1 = zero(), zero()
            for a in range(above, below):
                at = start + load_index(pairs, 2 * a) * line
                for b in range(low_w, high_w):
                    v0 = load(x, at + b * dilation * pixel + c0)
                    v1 = load(x, at + b * dilation * pixel + c1)
                    if power == 4:
                        v0, v1 = multiply(v0, v0), multiply(v1, v1)
                    if power == 1:
                        total0, total1 = add(total0, v0), add(total1, v1)
                    else:
                        total0, total1 = fma(v0, v0, total0), fma(v1, v1, total1)
            mean0, mean1 = multiply(total0, scale), multiply(total1, scale)
            if power > 1:
                mean0, mean1 = square_root(mean0), square_root(mean1)
            if power == 4:
                mean0, mean1 = square_root(mean0), square_root(mean1)
            store(y, to + c0, mean0)
            store(y, to + c1, mean1)


@Job
def _gather(
    job: int, dy: Floats, image: int, line: int, pixel: int, lanes: int, height: int, width: int,
    out_h: int, out_w: int, bounds: Ints, pairs: Ints, kernel_w: int, winner: Bytes, share: Floats,
    average: int, dx: Floats,
) -> None:  # fmt: skip
    """Collect the gradients of the windows that see each position.

    For an average all of them, by their share; else those that this position has won.
    """
    n = job // height
    i = job - n * height
    above, below = load_index(bounds, i), load_index(bounds, i + 1)
    for j in range(width):
        to = (job * width + j) * lanes
        first = load_index(bounds, height + 1 + j)
        last = load_index(bounds, height + 2 + j)
        for k in range(0, lanes, 2 * WIDTH):
            c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
            total0, total1 = zero(), zero()
            for a in range(above, below):
                q, tap = load_index(pairs, 2 * a), load_index(pairs, 2 * a + 1) * kernel_w
                for b in range(first, last):
                    p = load_index(pairs, 2 * b)
                    at = n * image + q * line + p * pixel
                    d0, d1 = load(dy, at + c0), load(dy, at + c1)
                    if average == 1:
                        part = load_splat(share, q * out_w + p)
                        total0, total1 = fma(d0, part, total0), fma(d1, part, total1)
                    else:
                        mine = splat(np.float32(tap + load_index(pairs, 2 * b + 1)))
                        won = ((n * out_h + q) * out_w + p) * lanes
                        w0, w1 = load_bytes(winner, won + c0), load_bytes(winner, won + c1)
                        total0 = add(total0, where_equal(w0, mine, d0, zero()))
                        total1 = add(total1, where_equal(w1, mine, d1, zero()))
            store(dx, to + c0, total0)
            store(dx, to + c1, total1)


def global_avg_pool_forward(xp: Any, x: Any) -> Any:
    """Average over all positions: (N, C, *spatial) to (N, C)."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    rows, positions = as_rows(x), prod(x.shape[2:])
    y, width = buffers.empty((len(x), rows.lanes)), -(-rows.lanes // (2 * SIXTEEN)) * 2 * SIXTEEN
    threads.launch(
        x.size, _means, len(x), rows.flat, rows.pitch, rows.lanes, positions, width,
        buffers.empty(len(x) * width, np.float64), y.reshape(-1),
    )  # fmt: skip
    return y[:, : x.shape[1]], tuple(x.shape)


def global_avg_pool_backward(xp: Any, dy: Any, shape: Sizes) -> np.ndarray:
    """Spread each gradient evenly over the positions."""
    n, channels, *spatial = shape
    _, dx = new_output(n, channels, tuple(spatial), channels)
    share = dy * np.float32(1.0 / np.prod(spatial))
    dx[...] = share.reshape(n, channels, *(1,) * len(spatial))
    return dx


def global_max_pool_forward(xp: Any, x: Any) -> Any:
    """Take the largest of all positions: (N, C, *spatial) to (N, C). The first of equals wins."""
    if x.dtype != np.float32 or x.size == 0 or x.size // x.shape[0] >= EXACT:
        return declined(x)
    rows, positions = as_rows(x), prod(x.shape[2:])
    found = buffers.empty((2, len(x), rows.lanes))
    threads.launch(
        x.size, _maxima, len(x), rows.flat, rows.pitch, rows.lanes, positions,
        *(one.reshape(-1) for one in found),
    )  # fmt: skip
    y, winner = found[:, :, : x.shape[1]]
    return y, (winner.astype(np.int64), tuple(x.shape))


def global_max_pool_backward(xp: Any, dy: Any, saved: Any) -> np.ndarray:
    """Send each gradient to the position that won."""
    winner, (n, channels, *spatial) = saved
    flat, dx = new_output(n, channels, tuple(spatial), channels)
    flat.fill(0)
    pixels = flat.reshape(n, -1, channels)
    np.put_along_axis(pixels, winner[:, None, :], dy[:, None, :], axis=1)
    return dx


@inner
def _add_to(sums: Any, at: int, value: Any, begins: bool) -> None:
    """Add sixteen numbers to sums in memory, or begin these with them."""
    low = wide_zero() if begins else load_wide(sums, at)
    high = wide_zero() if begins else load_wide(sums, at + WIDTH)
    store_wide(sums, at, widen(low, lower_eight(value)))
    store_wide(sums, at + WIDTH, widen(high, upper_eight(value)))


@Job
def _means(
    n: int, x: Floats, pitch: int, lanes: int, positions: int, width: int, sums: Doubles, y: Floats
) -> None:  # fmt: skip
    """Average the positions of an image, some at a time, which stay in the first-level cache."""
    share, nothing = splat_sixteen(1.0 / positions), np.float32(0.0)
    for first in range(0, positions, RUN):
        for k in range(0, lanes, 2 * SIXTEEN):
            piece0, piece1 = splat_sixteen(0.0), splat_sixteen(0.0)
            for p in range(first, min(positions, first + RUN)):
                at = (n * positions + p) * pitch
                piece0 = add(piece0, load_up_to(x, at + k, at + lanes, nothing))
                piece1 = add(piece1, load_up_to(x, at + k + SIXTEEN, at + lanes, nothing))
            to = n * width + k
            _add_to(sums, to, piece0, first == 0)
            _add_to(sums, to + SIXTEEN, piece1, first == 0)
    for k in range(0, lanes, SIXTEEN):
        at, to = n * width + k, n * lanes
        total = narrow_both(load_wide(sums, at), load_wide(sums, at + WIDTH))
        store_up_to(y, to + k, to + lanes, multiply(total, share))


@Job
def _maxima(
    n: int, x: Floats, pitch: int, lanes: int, positions: int, y: Floats, winner: Floats
) -> None:
    nothing, to = np.float32(0.0), n * lanes
    for k in range(0, lanes, SIXTEEN):
        at = n * positions * pitch
        best, number = load_up_to(x, at + k, at + lanes, nothing), splat_sixteen(0.0)
        for p in range(1, positions):
            at = (n * positions + p) * pitch
            value = load_up_to(x, at + k, at + lanes, nothing)
            number = beats(value, best, splat_sixteen(np.float32(p)), number)
            best = beats(value, best, value, best)
        store_up_to(y, to + k, to + lanes, best)
        store_up_to(winner, to + k, to + lanes, number)
