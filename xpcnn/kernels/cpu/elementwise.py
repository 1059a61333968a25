"""ReLU and sums of two arrays: one pass over memory, in whatever order the memory is.

Also what other kernels need that treat every position alike: an array as rows of channels.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.layout import dense_image, flat_view, source
from xpcnn.kernels.cpu.order import inverse, is_dense, memory_order
from xpcnn.kernels.cpu.vector import (
    WIDE,
    WIDTH,
    add,
    copy_few_transposed,
    load,
    load_full,
    relu,
    store,
    store_full,
    where_open,
    zero,
    zero_full,
)
from xpcnn.kernels.lifting import lift
from xpcnn.kernels.trace import Declined

PIECE = 4096
"""Numbers a thread works on at a time: 16 KB, so that they stay in the first-level cache."""

RELU, ADD, ADD_RELU, GATE = range(4)
"""What to do with a and b: max(a, 0), a + b, max(a + b, 0), or a where b is positive."""


class Rows(NamedTuple):
    """An array (N, C, ...) as one row of channels for each position.

    Attributes
    ----------
    flat : float32 array of one dimension
    pitch : int
        Distance from one row to the next, in numbers.
    lanes : int
        Numbers in a row: the channels, but at least one vector.
    """

    flat: np.ndarray
    pitch: int
    lanes: int


def as_rows(x: np.ndarray) -> Rows:
    """Return x (N, C, ...) as rows, in place if it is channels-last, else copied."""
    channels = x.shape[1]
    last = x.transpose(0, *range(2, x.ndim), 1)
    if channels < WIDTH:
        return _filled_up(x, last)
    if x.flags.writeable and x.flags.aligned:
        if last.flags.c_contiguous:
            return Rows(last.reshape(-1), channels, channels)
        pitch = _pitch(last)
        if pitch:
            extent = (prod(last.shape[:-1]) - 1) * pitch + channels
            return Rows(as_strided(x, (extent,), (4,)), pitch, channels)
    if x.ndim in (3, 4, 5):
        copy = dense_image(source(lift(x)), len(x))
        return Rows(copy.flat, copy.pixel, channels)
    dense = buffers.empty(last.shape)
    dense[...] = last
    return Rows(dense.reshape(-1), channels, channels)


def _filled_up(x: np.ndarray, last: np.ndarray) -> Rows:
    """Return rows with zeros behind a few channels: a vector never reaches past the last row."""
    out = buffers.empty((*last.shape[:-1], WIDTH))
    if x.ndim in (3, 4, 5) and x.size:
        image = lift(x)
        planes, (height, width) = prod(image.shape[2:-2]), image.shape[-2:]
        flat, strides = flat_view(image)
        threads.launch(
            2 * out.size, _fill_up, len(x) * planes * height, flat, *strides, x.shape[1], planes,
            height, width, out.reshape(-1),
        )  # fmt: skip
    else:
        out[..., : x.shape[1]] = last
        out[..., x.shape[1] :] = 0.0
    return Rows(out.reshape(-1), WIDTH, WIDTH)


@Job
def _fill_up(
    job: int, x: Floats, image: int, channel: int, line: int, pixel: int, plane: int,
    channels: int, planes: int, height: int, width: int, y: Floats,
) -> None:  # fmt: skip
    """Write one line of an image, or of a plane of a volume."""
    z = job // height
    n = z // planes
    start = n * image + (z - n * planes) * plane + (job - z * height) * line
    if pixel == 1 and width >= WIDTH:
        for k in range(0, width, WIDTH):
            j = min(k, width - WIDTH)
            to = (job * width + j) * WIDTH
            copy_few_transposed(x, start + j, channel, channels, y, to, WIDTH)
        return
    for j in range(width):
        to = (job * width + j) * WIDTH
        store(y, to, zero())
        for c in range(channels):
            y[to + c] = x[start + j * pixel + c * channel]


def _pitch(last: np.ndarray) -> int:
    """Distance between the rows along the last axis, or 0 if it is not the same everywhere."""
    if last.strides[-1] != 4:
        return 0
    step = 0
    for size, stride in zip(last.shape[-2::-1], last.strides[-2::-1], strict=True):
        if size == 1:
            continue
        if step == 0:
            pitch = step = stride
        if stride != step:
            return 0
        step *= size
    if step == 0:
        return last.shape[-1]
    return pitch // 4 if pitch % 4 == 0 and pitch >= 4 * last.shape[-1] else 0


def new_rows(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat memory of a channels-last array, dense from 8 channels on, and its view."""
    lanes = max(shape[1], WIDTH)
    out = buffers.empty((shape[0], *shape[2:], lanes))
    last = len(shape) - 1
    return out.reshape(-1), out[..., : shape[1]].transpose(0, last, *range(1, last))


def takes(*arrays: Any) -> bool:
    """Whether these kernels take such arrays: float32, of one shape, at least a vector each."""
    first = arrays[0]
    return first.ndim > 1 and all(
        a.dtype == np.float32 and a.size >= WIDTH and a.shape == first.shape for a in arrays
    )


def declined(*arrays: Any) -> Declined:
    """Say what came instead of float32 arrays of some size."""
    other = next((a.dtype for a in arrays if a.dtype != np.float32), None)
    if other is not None:
        return Declined(f"{other} arrays")
    return Declined("arrays of shape " + " and ".join(str(a.shape) for a in arrays))


def apply(what: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return what :data:`RELU` and its neighbours say, in the memory order of a if possible."""
    order = memory_order(a)
    dense_a = a.transpose(order)
    dense_b = dense_a if b is a else b.transpose(order)
    if is_dense(dense_a) and is_dense(dense_b):
        flat_a = filled(dense_a)
        flat_b = flat_a if b is a else filled(dense_b)
        out, size = buffers.empty(flat_a.size), flat_a.size
        threads.launch(size, _apply_flat, -(-size // PIECE), flat_a, flat_b, size, what, out)
        return out[: a.size].reshape(dense_a.shape).transpose(inverse(order))
    rows_a = as_rows(a)
    rows_b = rows_a if b is a else as_rows(b)
    flat, y = new_rows(a.shape)
    count = a.size // a.shape[1]
    threads.launch(
        a.size, _apply, _jobs(count, rows_a.lanes), rows_a.flat, rows_a.pitch, rows_b.flat,
        rows_b.pitch, count, rows_a.lanes, what, flat, rows_a.lanes,
    )  # fmt: skip
    return y


def filled(dense: np.ndarray) -> np.ndarray:
    """Return the numbers of a dense array along one axis, and zeros up to a register's width."""
    flat = dense.reshape(-1)
    return flat if flat.size >= WIDE else np.pad(flat, (0, WIDE - flat.size))


def _jobs(rows: int, width: int) -> int:
    """Return into how many pieces rows are cut, along both axes."""
    return -(-rows // max(1, PIECE // width)) * -(-width // PIECE)


@Job
def _apply_flat(job: int, a: Floats, b: Floats, size: int, what: int, y: Floats) -> None:
    """Work on a piece of the memory; the last register of each overlaps with that before it."""
    last = min(size, (job + 1) * PIECE)
    closes = what == RELU
    if what == ADD_RELU:
        closes = True
    for k in range(job * PIECE, last, WIDE):
        c = min(k, last - WIDE)
        value = load_full(a, c)
        if what == GATE:
            value = where_open(load_full(b, c), value, zero_full())
        elif what != RELU:
            value = add(value, load_full(b, c))
        if closes:
            value = relu(value)
        store_full(y, c, value)


@Job
def _apply(
    job: int, a: Floats, a_pitch: int, b: Floats, b_pitch: int, rows: int, width: int, what: int,
    y: Floats, pitch: int,
) -> None:  # fmt: skip
    """Work on rows of `width` numbers, at least 8; the end of a row is done twice if need be."""
    columns = (width + PIECE - 1) // PIECE
    per_job = max(1, PIECE // width)
    first = (job // columns) * per_job
    left = job % columns * PIECE
    closes = what == RELU
    if what == ADD_RELU:
        closes = True
    right = min(width, left + PIECE)
    for r in range(first, min(rows, first + per_job)):
        for k in range(left, right, WIDTH):
            c = min(k, right - WIDTH)
            value = load(a, r * a_pitch + c)
            if what == GATE:
                value = where_open(load(b, r * b_pitch + c), value, zero())
            elif what != RELU:
                value = add(value, load(b, r * b_pitch + c))
            if closes:
                value = relu(value)
            store(y, r * pitch + c, value)


def relu_forward(xp: Any, x: Any) -> Any:
    """Return max(x, 0), NaN going through; x of any memory order."""
    if not takes(x):
        return declined(x)
    y = apply(RELU, x, x)
    return y, y


def relu_backward(xp: Any, dy: Any, y: Any) -> np.ndarray:
    """Return the gradient where the output was positive or NaN."""
    return gated(dy, y)


def gated(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dy where y, the output of ReLU, is positive or NaN, and zero elsewhere."""
    return apply(GATE, dy, y) if takes(dy, y) else np.where(y <= 0, np.float32(0), dy)


def add_forward(xp: Any, a: Any, b: Any) -> Any:
    """Return a + b, two arrays of one shape."""
    if not takes(a, b):
        return declined(a, b)
    return apply(ADD, a, b), None


def add_backward(xp: Any, dy: Any, saved: None) -> tuple[Any, Any]:
    """Return the gradients of both: dy itself."""
    return dy, dy


def add_relu_forward(xp: Any, a: Any, b: Any) -> Any:
    """Return max(a + b, 0), two arrays of one shape."""
    if not takes(a, b):
        return declined(a, b)
    y = apply(ADD_RELU, a, b)
    return y, y


def add_relu_backward(xp: Any, dy: Any, saved: Any) -> tuple[Any, Any]:
    """Return the gradients of both, which are one array."""
    dx = apply(GATE, dy, saved)
    return dx, dx
