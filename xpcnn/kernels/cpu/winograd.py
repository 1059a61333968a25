"""3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): 36 multiplications in the place of 144.

A tile of 4x4 outputs sees 6x6 inputs. Both they and the filters are transformed to 6x6 numbers,
which multiply place by place: over all tiles and channels that is 36 matrix products, a fourth of
the arithmetic. A second transform makes outputs of the products. The gradient of the input is the
same with turned filters; that of the filters takes tiles of 4x4 gradients in the filters' place.

The transforms evaluate polynomials at 0, 5/8, -5/8, 3/2, -3/2 and infinity. The usual points 0, 1,
-1, 2, -2 double the error; a relative error near 1e-6 remains, about twice that of direct sums.

A number that is infinite or NaN spoils the windows that hold it, and besides the whole tile that it
lies in: up to three pixels further than with the generic kernels. It never disappears, but what
would be infinite is mostly NaN. Numbers beyond 1e36 may overflow.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from xpcnn.kernels.constant import derive, is_promised
from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.epilogue import NOTHING, Epilogue
from xpcnn.kernels.cpu.layout import NO_FLOATS, Image, float32, int64, padded_bias
from xpcnn.kernels.cpu.product import COLUMNS, TOGETHER
from xpcnn.kernels.cpu.vector import WIDE
from xpcnn.kernels.cpu.winograd_products import (
    GAP,
    PART,
    TILES,
    convolve_tiles,
    multiply,
    sum_gradients,
)
from xpcnn.kernels.cpu.winograd_tiles import PLACES, transform_filters, transform_tiles
from xpcnn.window import Ints

Pair = Ints
Triple = tuple[int, int, int]
Source = tuple[Any, ...]
"""An image, how many, their height and width, and the rows and columns missing in front."""

GROUP = 10 << 20
"""Bytes of transformed filters held at a time; an eighth if each is used once only."""
KEPT = 1 << 20
"""Numbers in the transformed filters of a layer that are kept from one image to the next."""
FEW_CHANNELS, MANY = 128, 2 * TILES
"""Channels up to which, and tiles from which on, a few tiles at a time go through all parts."""
HELD = 3 << 20
"""Bytes of transformed inputs held at a time, if that is at least 144 tiles."""


def pays(n: int, channels: int, filters: int, out: Pair, *, weights: bool = False) -> bool:
    """Whether it is faster than direct sums by a tenth or more.

    Parameters
    ----------
    n, channels, filters : int
    out : (height, width)
        Size of the output; for the gradient of the input, of that.
    weights : bool
        Ask for the gradient of the filters, which needs no transformed filters.
    """
    if min(channels, filters) < 16:
        return False
    # Nanoseconds on one core with AVX-512, as measured; only their ratios matter, and they are
    # much the same with AVX2. Beside the products, filters are packed or transformed, and direct
    # sums of their gradients added up.
    pairs = channels * filters
    tiles = n * -(-out[0] // 4) * -(-out[1] // 4)
    rows = tiles if weights else -(-tiles // 6) * 6
    pixels = n * out[0] * out[1]
    direct = (0.1 * pixels + 7 if weights else 0.08 * pixels + 4) * pairs
    products = (0.3 * rows + 4.5) * pairs
    return 10000 + products + 5 * tiles * (channels + filters) < 0.9 * direct


def forward(
    image: Image, n: int, spatial: Pair, before: Pair, w: np.ndarray, bias: np.ndarray | None,
    epilogue: Epilogue, y: np.ndarray, strides: Triple, out: Pair, other: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Convolve with 3x3 filters, stride 1.

    Parameters
    ----------
    image : Image
        Channels-last. It need not be padded: what lies outside counts as zeros.
    n : int
        Images.
    spatial : (height, width)
        What `image` holds.
    before : (rows, columns)
        Padding at the top and on the left that `image` does not hold. What is missing below and
        on the right follows from `out`.
    w : float32 array (filters, channels, 3, 3), of at least 8 filters and 8 channels
    bias : float32 array (filters,) or None
    epilogue : Epilogue
    y : float32 array of one dimension
        Takes the outputs; nothing between or behind them is written.
    strides : (image, line, pixel)
        Distances within `y`, in numbers. Channels lie side by side.
    out : (height, width)
        Size of the output.
    other : float32 array of one dimension, optional
        What is added to the outputs before the activation, laid out as y; the filters are a
        multiple of 16 then.
    """
    filters, channels = w.shape[:2]
    source = (image, n, *spatial, *before)
    _run(source, w, (filters, channels * 9), (channels, 9), (3, 1), bias, epilogue,
         y, strides, out, other)  # fmt: skip


def input_gradient(
    gradient: Image, n: int, spatial: Pair, before: Pair, w: np.ndarray,
    dx: np.ndarray, strides: Triple, out: Pair,
) -> None:  # fmt: skip
    """Write the gradient of the input: a convolution of the output's with the turned filters.

    The arguments are those of :func:`forward`, with the gradient in the image's place: `spatial`
    is the size of the output's gradient, `out` that of the input, and `before` is 2 minus the
    padding of the forward convolution, top and left (less what `gradient` has of zeros there).
    """
    filters, channels = w.shape[:2]
    source = (gradient, n, *spatial, *before)
    _run(source, w, (channels, 9), (filters, channels * 9), (-3, -1), None, NOTHING,
         dx, strides, out)  # fmt: skip


def weight_gradient(
    image: Image, n: int, spatial: Pair, before: Pair, gradient: Image, out: Pair,
    filters: int, channels: int,
) -> np.ndarray:  # fmt: skip
    """Return the gradient of the filters, a new array (filters, channels, 3, 3).

    `image`, `n`, `spatial` and `before` are those of :func:`forward`, and `gradient` is that of its
    output, of size `out` and without borders (a slice of a bordered one's memory will do).
    """
    assert min(filters, channels) >= 8
    down, across = -(-out[0] // 4), -(-out[1] // 4)
    tiles = n * down * across
    dw = buffers.empty((filters, channels, 3, 3))
    if tiles == 0:
        dw.fill(0)
        return dw
    row, column = _whole(channels), _whole(filters)
    held = _held(tiles, row + column)
    workers = threads.workers()
    own = buffers.empty(workers * PLACES * (WIDE + max(row, column, 2 * PART * COLUMNS + GAP)))
    block = held * COLUMNS
    v_step, d_step = held * row + GAP, held * column + GAP
    v, d = buffers.empty(PLACES * v_step), buffers.empty(PLACES * d_step)
    # If all tiles are held at once, nothing has to be kept between.
    total = buffers.empty(9 * (workers * PART * COLUMNS if held == tiles else column * channels))
    for first in range(0, tiles, held):
        last = min(tiles, first + held)
        span = (across, down, first, last, COLUMNS)
        source = (image, n, *spatial, *before)
        _transform_tiles(source, channels, 6, span, v_step, block, own, v)
        source = (gradient, n, *out, 0, 0)
        _transform_tiles(source, filters, 4, span, d_step, block, own, d)
        k = int64(
            (v_step, d_step, block, last - first, channels, filters, first == 0, last == tiles, 6)
        )
        work = (last - first) * PLACES * channels * filters // 8
        threads.launch(
            work, sum_gradients, workers, workers, k, v, d, own, own.size // workers, total,
            dw.reshape(-1),
        )  # fmt: skip
    return dw


def _run(
    source: Source, w: np.ndarray, outer: Pair, inner: Pair, taps: Pair, bias: np.ndarray | None,
    epilogue: Epilogue, y: np.ndarray, strides: Triple, out: Pair, other: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Convolve with filters whose distances and numbers along both axes are given."""
    (filters, lane), (channels, apart) = outer, inner
    assert min(filters, channels) >= 8
    down, across = -(-out[0] // 4), -(-out[1] // 4)
    tiles = source[1] * down * across
    if tiles == 0:
        return
    row, blocks = _whole(channels), -(-filters // COLUMNS)
    together = row <= FEW_CHANNELS and tiles >= MANY
    held = tiles if together else _held(tiles, row)
    piece = -(-tiles // (2 * -(-tiles // (2 * TILES)))) if together else held
    v_step, u_step = piece * row + GAP, channels * COLUMNS + GAP
    workers = threads.workers()
    # Filters that are needed again are kept; others had better not leave the cache.
    wanted = (GROUP if held < tiles else GROUP // 8) // (4 * PLACES * u_step)
    # Each thread multiplies by as many blocks at once as a tile has.
    even = workers * TOGETHER
    group = min(blocks, -(-max(1, wanted) // even) * even)
    small = blocks * u_step * PLACES < KEPT
    if together or (small and is_promised(w)):
        group = blocks
    room = PLACES * (WIDE + max(row, TOGETHER * (TILES * COLUMNS + GAP)))
    own = buffers.empty(workers * room)

    def transformed(b: int, end: int) -> np.ndarray:
        k = int64((lane, apart, *taps, filters, channels, u_step, b, end, 3, 6))
        flat = np.ascontiguousarray(w).reshape(-1)
        u = buffers.empty((end - b) * PLACES * u_step)
        threads.launch(
            1000 * channels * (end - b), transform_filters, workers, workers, k, flat, own, room, u
        )
        return u

    def filters_of(b: int, end: int) -> np.ndarray:
        make = partial(transformed, b, end)
        found: np.ndarray = derive(w, taps, make) if small and group == blocks else make()
        return found

    shift = padded_bias(bias, blocks * COLUMNS)
    settings = float32(epilogue.settings)
    added = NO_FLOATS if other is None else other
    # What the products take, but for the tiles and filters that they are about.
    sizes = (row, v_step, channels, u_step)
    written = (filters, epilogue.kind, *strides, *out, int(other is not None))
    if together:
        room += PLACES * v_step
        own = threads.scratch(room)
        k = int64((*sizes, 0, tiles, 0, blocks, across, down, *written))
        image, _, *area = source
        numbers = (image.image, image.line, image.pixel, *area, channels, 6, across, down)
        threads.launch(
            tiles * PLACES * channels * blocks * 2, convolve_tiles, -(-tiles // piece),
            int64((*numbers, 0, tiles, row, v_step, COLUMNS, 6)), image.flat, k,
            filters_of(0, blocks), shift, settings, added, piece, own, room, y,
        )  # fmt: skip
        return
    v = buffers.empty(PLACES * v_step)
    for first in range(0, tiles, held):
        last = min(tiles, first + held)
        span = (across, down, first, last, row)
        _transform_tiles(source, channels, 6, span, v_step, COLUMNS, own, v)
        for b in range(0, blocks, group):
            end = min(blocks, b + group)
            if first == 0 or group < blocks:
                u = filters_of(b, end)
            k = int64((*sizes, first, last, b, end, across, down, *written))
            work = (last - first) * PLACES * channels * (end - b) * 2
            threads.launch(
                work, multiply, workers, workers, k, v, u, shift, settings, added, own, room, y
            )


def _transform_tiles(
    source: Source, channels: int, size: int, span: tuple[int, ...], step: int, block: int,
    own: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    image, _, *area = source
    across, down, first, last, row = span
    k = int64((
        image.image, image.line, image.pixel, *area, channels, size, across, down, first, last,
        row, step, block, 6,))  # fmt: skip
    workers = threads.workers()
    threads.launch(
        10 * PLACES * channels * (last - first), transform_tiles, workers, workers, k, image.flat,
        own, own.size // workers, out,
    )  # fmt: skip


def _whole(channels: int) -> int:
    return -(-channels // COLUMNS) * COLUMNS


def _held(tiles: int, row: int) -> int:
    """Return how many tiles to hold: even pieces of about HELD bytes, but 144 tiles or more."""
    pieces = -(-tiles // max(3 * TILES, HELD // (4 * PLACES * row)))
    return -(-tiles // pieces)
