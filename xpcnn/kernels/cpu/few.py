"""Convolution with fewer than 8 filters: vectors run along the lines of the output.

The kernels of ``strips.py`` have the filters side by side in a vector, of which a few would leave
most places empty, and so the output's memory. Here a vector is some pixels of a line, and the
output has the channels first in memory. Each result is the sum of the same terms in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.constant import derive
from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.conv import JOBS, STRIP
from xpcnn.kernels.cpu.epilogue import Epilogue, finish_any
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.layout import NO_FLOATS, flat_view, float32, int64, padded_bias
from xpcnn.kernels.cpu.strips import copy_run, transpose
from xpcnn.kernels.cpu.vector import WIDE, fma, load_all_like, load_full, store_full, zero_full
from xpcnn.window import Window

LEAST = 16
"""Pixels of an output line from which on this way is gone: as many as the largest register has."""
TOGETHER = 4
"""Filters worked on together, times two vectors of pixels: eight sums stay in registers."""


@inner
def _fill_line(
    x: Any, at: int, sc: int, sw: int, channels: int, width: int, out: Any, to: int, apart: int
) -> None:
    """Bring a line of all channels to places `apart`, each dense."""
    if sw != 1 and sc == 1 and channels >= 8 and width >= 8:
        transpose(x, at, sw, width, channels, out, to, apart)
        return
    for c in range(channels):
        if sw == 1:
            copy_run(x, at + c * sc, width, out, to + c * apart)
        else:
            for p in range(width):
                out[to + c * apart + p] = x[at + c * sc + p * sw]


@inner
def _sum_pixels(
    memory: Any, at: int, plane: int, line: int, w: Any, filters: int, f: int, bias: Any,
    numbers: Any, c0: int, c1: int, y: Any, to: int, size: int,
) -> None:  # fmt: skip
    """Write two vectors of pixels of :data:`TOGETHER` filters; the last of all stand in for more.

    `at` is where the window of the first pixel begins in the scratch, `to` where its results go.
    """
    channels, kernel_h, kernel_w = numbers[4], numbers[8], numbers[9]
    down, across = numbers[11], numbers[12]
    f1, f2, f3 = min(f + 1, filters - 1), min(f + 2, filters - 1), min(f + 3, filters - 1)
    like = zero_full()
    a00 = a01 = load_all_like(like, bias, f)
    a10 = a11 = load_all_like(like, bias, f1)
    a20 = a21 = load_all_like(like, bias, f2)
    a30 = a31 = load_all_like(like, bias, f3)
    k = 0
    for a in range(kernel_h):
        for b in range(kernel_w):
            start = at + a * down * line + b * across
            for _ in range(channels):
                x0, x1 = load_full(memory, start + c0), load_full(memory, start + c1)
                v = load_all_like(like, w, k + f)
                a00, a01 = fma(x0, v, a00), fma(x1, v, a01)
                v = load_all_like(like, w, k + f1)
                a10, a11 = fma(x0, v, a10), fma(x1, v, a11)
                v = load_all_like(like, w, k + f2)
                a20, a21 = fma(x0, v, a20), fma(x1, v, a21)
                v = load_all_like(like, w, k + f3)
                a30, a31 = fma(x0, v, a30), fma(x1, v, a31)
                start += plane
                k += filters
    store_full(y, to + f * size + c0, a00)
    store_full(y, to + f * size + c1, a01)
    store_full(y, to + f1 * size + c0, a10)
    store_full(y, to + f1 * size + c1, a11)
    store_full(y, to + f2 * size + c0, a20)
    store_full(y, to + f2 * size + c1, a21)
    store_full(y, to + f3 * size + c0, a30)
    store_full(y, to + f3 * size + c1, a31)


@Job
def _convolve(
    job: int, worker: Worker, x: Floats, numbers: Ints, w: Floats, bias: Floats, kind: int,
    settings: Floats, nothing: Floats, y: Floats, memory: Floats,
) -> None:  # fmt: skip
    """Convolve some lines of an image, with all filters.

    `numbers` are the strides of x (image, channel, line, pixel), its channels, height and width,
    the filters, height and width of the kernel, the distance of windows down, of taps down and
    across, the zeros above and on the left, height and width of the output, lines of a job, jobs of
    an image, lines of a job's scratch and numbers in each.
    """
    channels, height, width, filters = numbers[4], numbers[5], numbers[6], numbers[7]
    stride, top, left, out_h, out_w = (
        numbers[10], numbers[13], numbers[14], numbers[15], numbers[16],
    )  # fmt: skip
    span, jobs, lines, line = numbers[17], numbers[18], numbers[19], numbers[20]
    n = job // jobs
    first = (job - n * jobs) * span
    last = min(out_h, first + span)
    plane = lines * line
    mine = worker * channels * plane
    for p in range(mine, mine + channels * plane):
        memory[p] = np.float32(0)
    for i in range(lines):
        row = first * stride - top + i
        if 0 <= row < height:
            at = n * numbers[0] + row * numbers[2]
            _fill_line(
                x, at, numbers[1], numbers[3], channels, width, memory, mine + i * line + left,
                plane,
            )  # fmt: skip
    size = out_h * out_w
    for f in range(0, filters, TOGETHER):
        for i in range(first, last):
            at = mine + (i - first) * stride * line
            to = n * filters * size + i * out_w
            for j in range(0, out_w, 2 * WIDE):
                c0, c1 = min(j, out_w - WIDE), min(j + WIDE, out_w - WIDE)
                _sum_pixels(
                    memory, at, plane, line, w, filters, f, bias, numbers, c0, c1, y, to, size
                )
    for f in range(filters):
        start = (n * filters + f) * size + first * out_w
        finish_any(y, start, (last - first) * out_w, 0, nothing, 0, kind, settings)


def takes(w: Any, g: Window, groups: int, out: tuple[int, ...]) -> bool:
    """Whether a convolution with such an output goes this way."""
    is_image = len(out) == 2 and groups == 1
    return is_image and w.shape[0] < 8 and g.stride[1] == 1 and out[1] >= LEAST


def forward(
    x: np.ndarray, w: np.ndarray, b: Any, g: Window, out: tuple[int, ...], epilogue: Epilogue
) -> np.ndarray:
    """Convolve images (N, C, H, W), with an activation in the same pass."""
    (n, channels, height, width), filters = x.shape, len(w)
    (kernel_h, kernel_w), (down, across) = g.kernel, g.dilation
    line = out[1] + (kernel_w - 1) * across
    reach = (kernel_h - 1) * down + 1
    most = STRIP // (channels * line)
    wanted = -(-JOBS // n)
    span = max(1, min(-(-out[0] // wanted), (most - reach) // g.stride[0] + 1))
    jobs = -(-out[0] // span)
    lines = (span - 1) * g.stride[0] + reach
    flat, (*strides, _) = flat_view(x)
    numbers = (
        *strides, channels, height, width, filters, kernel_h, kernel_w, g.stride[0], down, across,
        g.padding[0][0], g.padding[1][0], *out, span, jobs, lines, line,
    )  # fmt: skip
    y = buffers.empty((n, filters, *out))
    threads.launch(
        y.size * channels * g.taps // 8, _convolve, n * jobs, flat, int64(numbers),
        derive(w, ("taps", "channels", "filters"), lambda: _pack(w)), padded_bias(b, filters),
        epilogue.kind, float32(epilogue.settings), NO_FLOATS, y.reshape(-1),
        threads.scratch(channels * lines * line),
    )  # fmt: skip
    return y


def _pack(w: np.ndarray) -> np.ndarray:
    """Arrange filters as [tap][channel][filter]."""
    filters, channels = w.shape[:2]
    taps = w.reshape(filters, channels, -1)
    return np.ascontiguousarray(taps.transpose(2, 1, 0)).reshape(-1)
