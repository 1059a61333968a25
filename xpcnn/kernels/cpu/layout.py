"""Arrays as flat memory with strides, and the copies between layouts.

Images are handled as (N, C, H, W); one-dimensional signals get a height of 1. Volumes
(N, C, D, H, W) are D such planes for each sample. Where the channels of a pixel lie side by side
("channels last") a kernel reads the array in place.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpcnn.kernels.constant import derive
from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.kernels.cpu.strips import COPY, Source, fill_images
from xpcnn.kernels.lifting import lift
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints

Strides = tuple[int, int, int, int, int]
"""Of images, channels, lines, pixels, and of the planes of volumes (0 for images)."""

NO_STRIDES: Strides = (0, 0, 0, 0, 0)
NO_FLOATS, NO_BYTES = np.zeros(1, np.float32), np.zeros(1, np.uint8)


class Image(NamedTuple):
    """A channels-last batch of images or volumes in flat memory.

    Attributes
    ----------
    flat : float32 array of one dimension
    image, line, pixel, plane : int
        Distance from one image, line, pixel or plane of a volume to the next, in numbers.
    """

    flat: np.ndarray
    image: int
    line: int
    pixel: int
    plane: int = 0


def spread(channels: int) -> int:
    """Return how far apart the pixels of a copy should be.

    At multiples of 256 bytes the pixels of a block would compete for a few places of the cache.
    """
    return channels + COLUMNS if channels % 64 == 0 else channels


def flat_view(x: np.ndarray) -> tuple[np.ndarray, Strides]:
    """Return the memory of x (four or five axes) as one axis, and the strides; copies if it must.

    Read-only arrays are copied, since Numba would compile every kernel anew for them.
    """
    if not (x.flags.writeable and x.flags.aligned):
        x = x.copy()
    volumes = x.ndim == 5
    sn, sc, sp, sh, sw = x.strides if volumes else (*x.strides[:2], 0, *x.strides[2:])
    strides = (sn // 4, sc // 4, sh // 4, sw // 4, sp // 4)
    if x.flags.c_contiguous:
        return x.reshape(-1), strides
    last = x.transpose(0, 2, 3, 4, 1) if volumes else x.transpose(0, 2, 3, 1)
    if last.flags.c_contiguous:
        return last.reshape(-1), strides
    if min(strides) < 0:
        return flat_view(x.copy())
    extent = 1 + sum((n - 1) * s // 4 for n, s in zip(x.shape, x.strides, strict=True))
    return as_strided(x, (extent,), (4,)), strides


def source(
    x: np.ndarray, kind: int = COPY, gate: np.ndarray | None = None, winner: Any = NO_BYTES,
    size: Ints | None = None, pool: Ints = (1, 1), lanes: int = 0,
) -> Source:  # fmt: skip
    """Describe what strips are filled from; `x` is (N, C, H, W) or (N, C, D, H, W).

    `size` is that of the strips, where it is another than that of `x`.
    """
    flat, strides = flat_view(x)
    gate_flat, gate_strides = (NO_FLOATS, NO_STRIDES) if gate is None else flat_view(gate)
    planes, (height, width) = x.shape[2] if x.ndim == 5 else 1, x.shape[-2:]
    numbers = (kind, *strides[:4], *gate_strides[:4], x.shape[1], *(size or (height, width)),
               *pool, height, width, lanes, planes, strides[4], gate_strides[4])  # fmt: skip
    return Source(flat, gate_flat, winner, int64(numbers), numbers)


@lru_cache(maxsize=4096)
def int64(numbers: tuple[int, ...]) -> np.ndarray:
    """Return numbers as an array, made once: kernels take many integers as one argument."""
    return np.array(numbers, np.int64)


@lru_cache(maxsize=256)
def float32(numbers: tuple[float, ...]) -> np.ndarray:
    """Return numbers as an array, made once."""
    return np.array(numbers, np.float32)


def in_place(what: Source) -> Strides | None:
    """Return the strides of an array if a kernel may read it as it lies in memory."""
    kind, sn, sc, sh, sw = what.given[:5]
    channels, width, plane = what.given[9], what.given[15], what.given[18]
    # Along an axis of one number a stride may be anything.
    apart = sw >= channels or width == 1
    dense = kind == COPY and (sc == 1 or channels == 1) and apart
    return (sn, sc, sh, sw, plane) if dense else None


def as_image(what: Source, n: int) -> Image:
    """Return what strips would be filled from as a whole, in place if it is that already."""
    strides = in_place(what)
    if strides is not None:
        return Image(what.flat, strides[0], strides[2], strides[3], strides[4])
    return dense_image(what, n)


def dense_image(what: Source, n: int) -> Image:
    """Return what strips would be filled from as a new array, dense and channels-last."""
    (channels, height, width), planes = what.given[9:12], what.given[17]
    flat = buffers.empty(n * planes * height * width * channels)
    depth = int64((planes, 0, 1, 1, 1, 0))
    threads.launch(4 * flat.size, fill_images, n * planes * height, *what[:4], depth, flat)
    plane = height * width * channels
    return Image(flat, planes * plane, width * channels, channels, plane)


def takes_images(x: Any, w: Any) -> Declined | None:
    """Say why images are not convolved with such filters here; ``None`` if they are."""
    if x.dtype != np.float32 or w.dtype != np.float32:
        return Declined("float32 only")
    if x.ndim not in (3, 4, 5):
        return Declined("one to three spatial dimensions only")
    return None


def padded_bias(b: np.ndarray | None, size: int) -> np.ndarray:
    """Return the bias with zeros behind it, for whole vectors."""
    if b is None:
        return _zeros(size)
    out: np.ndarray = derive(b, ("bias", size), lambda: fill_up(b, size))
    return out


@lru_cache(maxsize=64)
def _zeros(size: int) -> np.ndarray:
    return fill_up(None, size)


def fill_up(values: np.ndarray | None, size: int) -> np.ndarray:
    """Return a new array of the values, or none, with zeros behind them."""
    out = np.zeros(size, np.float32)
    if values is not None:
        out[: values.shape[0]] = values
    return out


def new_output(n: int, channels: int, spatial: Ints, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a flat channels-last buffer with `row` numbers per pixel, and its (N, C, ...) view."""
    y = buffers.empty((n, *spatial, row))
    view = y if row == channels else y[..., :channels]
    return y.reshape(-1), view.transpose(0, -1, *range(1, y.ndim - 1))


@Job
def pack_weights(
    job: int, w: Floats, base: int, group: int, lanes: int, lane: int, kd: int, kh: int, kw: int,
    sd: int, sh: int, sw: int, inner: int, si: int, blocks: int, out: Floats,
) -> None:  # fmt: skip
    """Arrange weights as [group][block of 16 lanes][tap plane, row, column][inner][16 lanes].

    All distances are in numbers of the contiguous array `w`, starting at `base`.
    """
    g = job // blocks
    b = job - g * blocks
    to = job * kd * kh * kw * inner * 16
    width = min(16, lanes - b * 16)
    for d in range(kd):
        for i in range(kh):
            for j in range(kw):
                tap = base + g * group + b * 16 * lane + d * sd + i * sh + j * sw
                for k in range(inner):
                    for t in range(width):
                        out[to + t] = w[tap + k * si + t * lane]
                    for t in range(width, 16):
                        out[to + t] = 0.0
                    to += 16


@Job
def _order(
    job: int, x: Floats, image: int, line: int, pixel: int, channels: int, height: int, width: int,
    y: Floats,
) -> None:  # fmt: skip
    """Write some channels of an image one after the other."""
    blocks = (channels + COLUMNS - 1) // COLUMNS
    n = job // blocks
    first = (job - n * blocks) * COLUMNS
    for c in range(first, min(first + COLUMNS, channels)):
        to = (n * channels + c) * height * width
        for i in range(height):
            at = n * image + i * line + c
            for j in range(width):
                y[to + j] = x[at + j * pixel]
            to += width


def in_order(xp: Any, x: Any) -> Any:
    """Return images in the memory order of their axes, for reshaping."""
    if x.dtype != np.float32 or x.ndim not in (3, 4, 5):
        return Declined("float32 images only")
    if x.flags.c_contiguous:
        return x, None
    image = lift(x).reshape(*x.shape[:2], -1, x.shape[-1])
    what = source(image)
    n, channels, height, width = image.shape
    if in_place(what) is None:
        return Declined("the channels do not come last")
    y = buffers.empty(x.shape)
    threads.launch(
        4 * y.size, _order, n * -(-channels // COLUMNS), *as_image(what, n)[:4], channels, height,
        width, y.reshape(-1),
    )  # fmt: skip
    return y, None
