"""Winograd's transform for volumes: 3x3 within planes, and the taps in depth as more channels.

A plane of the result sees a few planes of the input. Put side by side, channel after channel, these
are one image, and the filters' planes are one filter of more channels. So all three products are
those of images, some planes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpcnn.kernels.constant import derive
from xpcnn.kernels.cpu import buffers, threads, winograd
from xpcnn.kernels.cpu.conv import Axis, forward_axes, gradient_axis
from xpcnn.kernels.cpu.epilogue import Epilogue
from xpcnn.kernels.cpu.layout import Image, int64, new_output, source
from xpcnn.kernels.cpu.strips import Source, fill_images
from xpcnn.kernels.cpu.sums import sum_rows
from xpcnn.window import Ints, Window

STACKED = 4 << 20
"""Numbers in the images made of planes at a time, if they are not a single one."""


def forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: Window, epilogue: Epilogue,
    flat: np.ndarray, row: int,
) -> None:  # fmt: skip
    """Convolve volumes (N, C, D, H, W), with an activation in the same pass.

    Results go to `flat`, channels last and pixels `row` numbers apart.
    """
    what, spatial = source(x), x.shape[2:]
    axis, out = forward_axes(g, spatial)[0][0], g.output_shape(spatial)
    size, before = out[1] * out[2] * row, (g.padding[1][0], g.padding[2][0])
    for first, last in _pieces(len(x) * out[0], what, axis):
        winograd.forward(
            _stack(what, axis, first, last), last - first, spatial[1:], before, _more_channels(w),
            b, epilogue, flat[first * size :], (size, out[2] * row, row), out[1:],
        )  # fmt: skip


def input_gradient(
    d: Source, out: Ints, shape: tuple[int, ...], w: np.ndarray, g: Window
) -> np.ndarray:
    """Return the gradient of an input of that shape; the stride is 1 in depth, too."""
    n, channels, *spatial = shape
    axis = gradient_axis(g.kernel[0], 1, g.dilation[0], g.padding[0][0], spatial[0])[0]
    flat, dx = new_output(n, channels, tuple(spatial), channels)
    before = (2 - g.padding[1][0], 2 - g.padding[2][0])
    line = spatial[2] * channels
    size = spatial[1] * line
    for first, last in _pieces(n * spatial[0], d, axis):
        winograd.input_gradient(
            _stack(d, axis, first, last), last - first, out[1:], before, _more_filters(w, axis),
            flat[first * size :], (size, line, channels), tuple(spatial[1:]),
        )  # fmt: skip
    return dx


def weight_gradient(
    x: np.ndarray, d: Source, out: Ints, w: np.ndarray, g: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of the weights and of the bias."""
    what, spatial, (filters, channels, taps) = source(x), x.shape[2:], w.shape[:3]
    axis, before = forward_axes(g, spatial)[0][0], (g.padding[1][0], g.padding[2][0])
    own = Axis(0, 1, out[0], range(1), 0, 1, 1)
    dw = np.zeros((filters, taps * channels, 3, 3), np.float32)
    db = np.zeros(filters)
    for first, last in _pieces(len(x) * out[0], what, axis):
        gradient = _stack(d, own, first, last)
        db += sum_rows(gradient.flat.reshape(-1, filters))
        dw += winograd.weight_gradient(
            _stack(what, axis, first, last), last - first, spatial[1:], before, gradient, out[1:],
            filters, taps * channels,
        )  # fmt: skip
    dw = dw.reshape(filters, taps, channels, 3, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(dw), db.astype(np.float32)


def _pieces(planes: int, what: Source, axis: Axis) -> Iterator[tuple[int, int]]:
    """Cut the planes of a result into pieces, by sizes alone."""
    channels, height, width = what.given[9:12]
    count = max(1, STACKED // max(1, channels * height * width * len(axis.taps)))
    return ((first, min(planes, first + count)) for first in range(0, planes, count))


def _stack(what: Source, axis: Axis, first: int, last: int) -> Image:
    """Return the planes that some planes of a result see as images, side by side."""
    channels, height, width = what.given[9:12]
    pixel = channels * len(axis.taps)
    flat = buffers.empty((last - first) * height * width * pixel)
    depth = int64((axis.length, axis.shift, axis.advance, len(axis.taps), axis.apart, first))
    threads.launch(4 * flat.size, fill_images, (last - first) * height, *what[:4], depth, flat)
    return Image(flat, height * width * pixel, width * pixel, pixel)


def _more_channels(w: np.ndarray) -> np.ndarray:
    """Return filters (O, C, taps, 3, 3) as (O, taps C, 3, 3)."""

    def reorder() -> np.ndarray:
        return np.ascontiguousarray(w.transpose(0, 2, 1, 3, 4)).reshape(len(w), -1, 3, 3)

    stacked: np.ndarray = derive(w, "more channels", reorder)
    return stacked


def _more_filters(w: np.ndarray, axis: Axis) -> np.ndarray:
    """Return filters (O, C, taps, 3, 3) as (taps O, C, 3, 3), in the order of the axis' taps."""
    return w[:, :, list(axis.taps)].transpose(2, 0, 1, 3, 4).reshape(-1, w.shape[1], 3, 3)
