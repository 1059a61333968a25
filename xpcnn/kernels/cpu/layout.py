"""Arrays as flat memory with strides, and the copies between layouts.

Images are handled as (N, C, H, W); one-dimensional signals get a height of 1. Where the channels
of a pixel lie side by side ("channels last") a kernel reads the array in place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.lib.stride_tricks import as_strided

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.window import Ints, Pairs

Strides = tuple[int, int, int, int]


class Image(NamedTuple):
    """A channels-last image batch in flat memory.

    Attributes
    ----------
    flat : float32 array of one dimension
    image, line, pixel : int
        Distance from one image, line or pixel to the next, in numbers.
    """

    flat: np.ndarray
    image: int
    line: int
    pixel: int


def spread(channels: int) -> int:
    """Return how far apart the pixels of a copy should be.

    At multiples of 256 bytes the pixels of a block would compete for a few places of the cache.
    """
    return channels + COLUMNS if channels % 64 == 0 else channels


def channel_sums(image: Image, channels: int) -> np.ndarray:
    """Sum every channel of a copy over all pixels."""
    return image.flat[:-COLUMNS].reshape(-1, image.pixel)[:, :channels].sum(axis=0)


def lift(x: np.ndarray) -> np.ndarray:
    """Return (N, C, L) as (N, C, 1, L); images stay as they are."""
    return x[:, :, None, :] if x.ndim == 3 else x


def unlift(x: np.ndarray, ndim: int) -> np.ndarray:
    """Undo :func:`lift`."""
    return x if ndim == 4 else x[:, :, 0, :]


def lift_pair(values: Any, filler: Any) -> tuple[Any, Any]:
    """Put `filler` in front where there is one spatial dimension."""
    return (filler, values[0]) if len(values) == 1 else (values[0], values[1])


def flat_view(x: np.ndarray) -> tuple[np.ndarray, Strides]:
    """Return the memory of x (four axes) as one axis, and the strides; copies if it must.

    Read-only arrays are copied, since Numba would compile every kernel anew for them.
    """
    if not (x.flags.writeable and x.flags.aligned) or min(x.strides) < 0:
        x = x.copy()
    strides = tuple(s // 4 for s in x.strides)
    extent = 1 + sum((n - 1) * s for n, s in zip(x.shape, strides, strict=True))
    return as_strided(x, (extent,), (4,)), strides  # type: ignore[return-value]


def as_image(x: np.ndarray, padding: Pairs) -> Image:
    """Return x (N, C, H, W) channels-last with zeros around it, in place if it is that already."""
    padded = any(before or after for before, after in padding)
    flat, strides = flat_view(x)
    if not padded and (strides[1] == 1 or x.shape[1] == 1) and strides[3] >= x.shape[1]:
        return Image(flat, strides[0], strides[2], strides[3])
    return padded_copy(flat, strides, x.shape, padding, None)


def padded_copy(
    flat: np.ndarray, strides: Strides, shape: Ints, padding: Pairs, gate: np.ndarray | None
) -> Image:
    """Copy into a new channels-last buffer with zeros around the images and room at the end.

    With `gate`, an array of that shape, numbers are dropped where it is not positive.
    """
    n, c, h, w = shape
    (top, bottom), (left, right) = padding
    pixel = spread(c)
    line, height = (w + left + right) * pixel, h + top + bottom
    size = n * height * line + COLUMNS
    out = buffers.empty(size)
    out[size - COLUMNS :] = 0.0
    target = (n, c, h, w, out, top, left, height, line, pixel)
    if gate is None:
        threads.launch(4 * n * c * h * w, _copy, flat, *strides, *target)
    else:
        gate_flat, gate_strides = flat_view(gate)
        threads.launch(
            4 * n * c * h * w, _copy_gated, flat, *strides, gate_flat, *gate_strides, *target
        )
    return Image(out, height * line, line, pixel)


def new_output(n: int, channels: int, spatial: Ints, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a flat channels-last buffer with `row` numbers per pixel, and its (N, C, ...) view."""
    pixels = int(np.prod(spatial))
    flat = buffers.empty(n * pixels * row)
    view = flat.reshape(n, *spatial, row)[..., :channels]
    return flat, np.moveaxis(view, -1, 1)


@njit(nogil=True, parallel=True, cache=True)
def _copy(
    x: Any, sn: int, sc: int, sh: int, sw: int, n: int, c: int, h: int, w: int,
    out: Any, top: int, left: int, height: int, line: int, pixel: int,
) -> None:  # fmt: skip
    for job in prange(n * height):
        i = job // height
        j = job - i * height - top
        to, source = job * line, i * sn + j * sh
        if j < 0 or j >= h:
            for p in range(line):
                out[to + p] = 0.0
            continue
        _clear_sides(out, to, left, w, line, pixel)
        to += left * pixel
        if sc == 1:
            for p in range(w):
                for k in range(c):
                    out[to + p * pixel + k] = x[source + p * sw + k]
        else:
            for k in range(c):
                for p in range(w):
                    out[to + p * pixel + k] = x[source + p * sw + k * sc]


@njit(nogil=True, parallel=True, cache=True)
def _copy_gated(
    x: Any, sn: int, sc: int, sh: int, sw: int, g: Any, gn: int, gc: int, gh: int, gw: int,
    n: int, c: int, h: int, w: int, out: Any, top: int, left: int, height: int, line: int,
    pixel: int,
) -> None:  # fmt: skip
    for job in prange(n * height):
        i = job // height
        j = job - i * height - top
        to, source, gate = job * line, i * sn + j * sh, i * gn + j * gh
        if j < 0 or j >= h:
            for p in range(line):
                out[to + p] = 0.0
            continue
        _clear_sides(out, to, left, w, line, pixel)
        to += left * pixel
        for p in range(w):
            for k in range(c):
                keep = g[gate + p * gw + k * gc] > 0
                out[to + p * pixel + k] = x[source + p * sw + k * sc] if keep else np.float32(0)


@njit(nogil=True, cache=True)
def _clear_sides(out: Any, to: int, left: int, w: int, line: int, pixel: int) -> None:
    """Put zeros to the left and to the right of a line of an image."""
    for p in range(left * pixel):
        out[to + p] = 0.0
    for p in range((left + w) * pixel, line):
        out[to + p] = 0.0


@njit(nogil=True, parallel=True, cache=True)
def _pack(
    w: Any, base: int, groups: int, group: int, lanes: int, lane: int, kh: int, sh: int,
    kw: int, sw: int, inner: int, si: int, blocks: int, out: Any,
) -> None:  # fmt: skip
    for job in prange(groups * blocks):
        g = job // blocks
        b = job - g * blocks
        to = job * kh * kw * inner * 16
        width = min(16, lanes - b * 16)
        for i in range(kh):
            for j in range(kw):
                for k in range(inner):
                    source = base + g * group + b * 16 * lane + i * sh + j * sw + k * si
                    for t in range(width):
                        out[to + t] = w[source + t * lane]
                    for t in range(width, 16):
                        out[to + t] = 0.0
                    to += 16


def pack_weights(
    w: np.ndarray, base: int, groups: int, group: int, lanes: int, lane: int,
    taps: tuple[int, int], steps: tuple[int, int], inner: int, step: int, out: np.ndarray,
) -> None:  # fmt: skip
    """Arrange weights as [group][block of 16 lanes][tap row][tap column][inner][16 lanes].

    All distances are in numbers of the contiguous array `w`, starting at `base`.
    """
    blocks = -(-lanes // COLUMNS)
    threads.launch(
        2 * groups * blocks * taps[0] * taps[1] * inner * COLUMNS, _pack,
        w.reshape(-1), base, groups, group, lanes, lane, taps[0], steps[0], taps[1], steps[1],
        inner, step, blocks, out,
    )  # fmt: skip
