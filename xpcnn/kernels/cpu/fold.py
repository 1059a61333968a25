"""Columns of sliding windows added back into images."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.vector import SIXTEEN, add, load_first, splat_sixteen, store_first
from xpcnn.kernels.lifting import lift_window
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints, Window


def col2im(xp: Any, columns: Any, spatial: Ints, window: Window, out: Ints) -> Any:
    """Add columns (N, C * taps, positions) back into images (N, C, *spatial).

    Columns whose rows lie side by side, as behind layers of ours, make images of which the channels
    do.
    """
    if columns.dtype != np.float32 or columns.size == 0:
        return Declined(f"{columns.dtype} columns of shape {columns.shape}")
    if len(spatial) not in (1, 2):
        return Declined(f"{len(spatial)} spatial dimensions")
    g = lift_window(window)
    n, channels = columns.shape[0], columns.shape[1] // window.taps
    height, width = (1, *spatial)[-2:]
    lines, places = (1, *out)[-2:]
    sizes = (
        channels, height, width, lines, places, *g.kernel, *g.stride, *g.dilation,
        g.padding[0][0], g.padding[1][0],
    )  # fmt: skip
    by_place = columns.transpose(0, 2, 1)
    if by_place.flags.c_contiguous and by_place.flags.aligned and channels > 1:
        x = buffers.empty((n, *spatial, channels))
        threads.launch(
            2 * columns.size, _add_pixels, n * height, by_place.reshape(-1), *sizes, x.reshape(-1)
        )
        return np.moveaxis(x, -1, 1), None
    flat = np.ascontiguousarray(columns).reshape(-1)
    x = buffers.empty((n, channels, *spatial))
    threads.launch(columns.size, _add_planes, n * channels, flat, *sizes, x.reshape(-1))
    return x, None


@inner
def _first_seen(start: int, stride: int) -> int:
    """Return the first window of which the tap that begins at `start` lies inside."""
    return max(0, (stride - 1 - start) // stride)


@inner
def _last_seen(start: int, stride: int, size: int, windows: int) -> int:
    """Return the number behind the last such window."""
    return min(windows, (size - 1 - start) // stride + 1)


@inner
def _clear(x: Any, start: int, count: int) -> None:
    for k in range(0, count, SIXTEEN):
        store_first(x, start + k, splat_sixteen(0.0), count - k)


@Job
def _add_planes(
    job: int, columns: Floats, channels: int, height: int, width: int, lines: int, places: int,
    kh: int, kw: int, sh: int, sw: int, dh: int, dw: int, top: int, left: int, x: Floats,
) -> None:  # fmt: skip
    """Make one channel of an image, tap by tap."""
    plane = job * height * width
    _clear(x, plane, height * width)
    for tap in range(kh * kw):
        i, j = tap // kw * dh - top, tap % kw * dw - left
        first, last = _first_seen(j, sw), _last_seen(j, sw, width, places)
        for line in range(_first_seen(i, sh), _last_seen(i, sh, height, lines)):
            source = ((job * kh * kw + tap) * lines + line) * places
            target = plane + (line * sh + i) * width + j
            if sw == 1:
                for k in range(first, last, SIXTEEN):
                    value = load_first(x, target + k, last - k, 0.0)
                    value = add(value, load_first(columns, source + k, last - k, 0.0))
                    store_first(x, target + k, value, last - k)
            else:
                for k in range(first, last):
                    x[target + k * sw] += columns[source + k]


@Job
def _add_pixels(
    job: int, columns: Floats, channels: int, height: int, width: int, lines: int, places: int,
    kh: int, kw: int, sh: int, sw: int, dh: int, dw: int, top: int, left: int, x: Floats,
) -> None:  # fmt: skip
    """Make one line of an image, whose channels lie side by side."""
    n, y = job // height, job % height
    start = job * width * channels
    _clear(x, start, width * channels)
    for tap in range(kh * kw):
        i, j = tap // kw * dh - top, tap % kw * dw - left
        line = (y - i) // sh
        if y - i == line * sh and line >= 0 and line < lines:
            for k in range(_first_seen(j, sw), _last_seen(j, sw, width, places)):
                source = ((n * lines + line) * places + k) * channels * kh * kw + tap
                target = start + (k * sw + j) * channels
                for c in range(channels):
                    x[target + c] += columns[source + c * kh * kw]
