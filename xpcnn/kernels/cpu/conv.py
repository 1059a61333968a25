"""Convolution without columns: the image is read in place through tables of positions."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.layout import (
    Image,
    as_image,
    channel_sums,
    flat_view,
    lift,
    lift_pair,
    new_output,
    pack_weights,
    padded_copy,
)
from xpcnn.kernels.cpu.product import COLUMNS, gather_outer, gather_times
from xpcnn.window import Ints, Pairs, Window

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """A window over one or two dimensions, as two."""

    kernel: Pair
    stride: Pair
    padding: Pairs
    dilation: Pair


def takes(x: Any, w: Any, groups: int) -> bool:
    """Whether this kernel set convolves such arrays.

    A few filters (in a group) would leave most of a vector, and of the output's memory, empty.
    """
    narrow = w.shape[0] // groups < 8
    return x.dtype == np.float32 and w.dtype == np.float32 and x.ndim in (3, 4) and not narrow


def geometry(window: Window) -> Geometry:
    """Lift a window to two dimensions."""
    return Geometry(
        lift_pair(window.kernel, 1),
        lift_pair(window.stride, 1),
        lift_pair(window.padding, (0, 0)),
        lift_pair(window.dilation, 1),
    )


@lru_cache(maxsize=512)
def row_table(out: Pair, stride: Pair, line: int, pixel: int, start: int = 0) -> np.ndarray:
    """Where the window starts for each output position, within an image."""
    lines = np.arange(out[0], dtype=np.int64)[:, None] * (stride[0] * line)
    return (start + lines + np.arange(out[1], dtype=np.int64) * (stride[1] * pixel)).reshape(-1)


@lru_cache(maxsize=512)
def run_table(
    kernel: Pair, steps: Pair, line: int, pixel: int, channels: int, groups: int
) -> tuple[np.ndarray, int]:
    """Where the contiguous runs under a window start, and how long they are."""
    lines = np.arange(kernel[0], dtype=np.int64) * (steps[0] * line)
    if groups == 1 and steps[1] == 1 and pixel == channels:
        return lines, kernel[1] * channels
    columns = np.arange(kernel[1], dtype=np.int64) * (steps[1] * pixel)
    return (lines[:, None] + columns).reshape(-1), channels


@lru_cache(maxsize=512)
def tap_table(kernel: Pair, dilation: Pair, line: int, pixel: int, channels: int) -> np.ndarray:
    """Where every number under a window is, channels fastest."""
    lines = np.arange(kernel[0], dtype=np.int64)[:, None, None] * (dilation[0] * line)
    columns = np.arange(kernel[1], dtype=np.int64)[:, None] * (dilation[1] * pixel)
    return (lines + columns + np.arange(channels, dtype=np.int64)).reshape(-1)


def padded_bias(b: np.ndarray | None, size: int) -> np.ndarray:
    """Return the bias with zeros behind it, for whole vectors."""
    out = np.zeros(size, np.float32)
    if b is not None:
        out[: b.shape[0]] = b
    return out


def multiply(
    image: Image, n: int, rows: np.ndarray, runs: tuple[np.ndarray, int], packed: np.ndarray,
    groups: int, blocks: int, width: int, channels: int, bias: np.ndarray, relu: bool,
    y: np.ndarray, y_row: int,
) -> None:  # fmt: skip
    """Run the product kernel with its jobs cut finely enough for the threads."""
    block = runs[0].size * runs[1] * COLUMNS
    parts = 1 if groups > 1 or n * rows.size >= 1024 else blocks
    threads.launch(
        n * rows.size * groups * blocks * block // 8, gather_times,
        image.flat, n, image.image, rows, runs[0], runs[1], packed, blocks * block, block, COLUMNS,
        groups, blocks, parts, bias, width, channels, int(not relu), y, y_row,
    )  # fmt: skip


def output_row(groups: int, width: int, blocks: int) -> int:
    """Numbers per output pixel: whole vectors for the last group."""
    return (groups - 1) * width + blocks * COLUMNS


def pack_filters(w: np.ndarray, kernel: Pair, groups: int) -> tuple[np.ndarray, int]:
    """Pack the filters of a forward convolution: a lane for each filter of a group."""
    channels, width, taps = w.shape[1], w.shape[0] // groups, kernel[0] * kernel[1]
    return pack_weights(
        np.ascontiguousarray(w), 0, groups, width * channels * taps, width, channels * taps,
        kernel, (kernel[1], 1), channels, taps,
    )  # fmt: skip


def conv_forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, *, relu: bool = False
) -> Any:
    """Convolve; with `relu`, drop negative results in the same pass."""
    if not takes(x, w, groups):
        return NotImplemented
    g = geometry(window)
    spatial = window.output_shape(x.shape[2:])
    out = lift_pair(spatial, 1)
    n, channels, width = x.shape[0], w.shape[1], w.shape[0] // groups
    image = as_image(lift(x), g.padding)
    packed, blocks = pack_filters(w, g.kernel, groups)
    row = output_row(groups, width, blocks)
    y, view = new_output(n, w.shape[0], spatial, row)
    multiply(
        image, n, row_table(out, g.stride, image.line, image.pixel),
        run_table(g.kernel, g.dilation, image.line, image.pixel, channels, groups),
        packed, groups, blocks, width, channels, padded_bias(b, row), relu, y, row,
    )  # fmt: skip
    return view, (x, image, w, b is not None, view if relu else None)


def conv_relu_forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, *, training: bool = True
) -> Any:
    """Convolve and drop negative results in the same pass."""
    return conv_forward(xp, x, w, b, window, groups, relu=True)


def conv_backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db), of a convolution with or without ReLU behind it."""
    x, image, w, has_bias, gate = saved
    g = geometry(window)
    border = _border(g, lift(x).shape[2:], lift(dy).shape[2:]) if need_dx else ((0, 0), (0, 0))
    flat, strides = flat_view(lift(dy))
    shape = lift(dy).shape
    d = padded_copy(flat, strides, shape, border, None if gate is None else lift(gate))
    first = border[0][0] * d.line + border[1][0] * d.pixel
    cells = row_table(shape[2:], (1, 1), d.line, d.pixel, first)
    dw = _weight_gradient(image, x, d, cells, w, g, groups)
    db = dy.sum(axis=(0, *range(2, dy.ndim))) if has_bias and gate is None else None
    if has_bias and gate is not None:
        db = channel_sums(d, shape[1])
    dx = _input_gradient(d, border, x, w, shape[2:], g, groups) if need_dx else None
    return dx, dw, db


def _weight_gradient(
    image: Image, x: Any, d: Image, cells: np.ndarray, w: Any, g: Geometry, groups: int
) -> np.ndarray:
    n, width, channels = x.shape[0], w.shape[0] // groups, w.shape[1]
    out = Window(*g).output_shape(lift(x).shape[2:])
    rows = row_table(out, g.stride, image.line, image.pixel)
    taps = tap_table(g.kernel, g.dilation, image.line, image.pixel, channels)
    blocks = -(-width // COLUMNS)
    row = blocks * COLUMNS
    splits, parts = cut(taps.size * row, n * rows.size)
    partial = buffers.zeros((splits, groups, taps.size, row))
    threads.launch(
        n * rows.size * groups * taps.size * row // 8, gather_outer,
        image.flat, n, image.image, rows, taps, channels, d.flat, d.image, cells, width,
        groups, blocks, splits, parts, 1, partial.reshape(-1), row,
    )  # fmt: skip
    total = partial[0] if splits == 1 else partial.sum(axis=0)
    total = total[:, :, :width].reshape(groups, *g.kernel, channels, width)
    return np.ascontiguousarray(total.transpose(0, 4, 3, 1, 2)).reshape(w.shape)


def cut(results: int, rows: int) -> tuple[int, int]:
    """Cut a sum of outer products into jobs: pieces of the rows, and pieces of the results.

    The results of a job should fit into a second-level cache; small sums are not worth cutting.
    Neither number depends on the threads, so that results do not either.
    """
    parts = -(-results // 65536)
    return max(1, min(16 // parts, rows // 512)), parts


class _Phase(NamedTuple):
    """Input positions ``first, first + stride, ...`` of one axis, and the taps that reach them.

    Position m of the phase takes tap ``taps[i]`` from the gradient at ``m + shift + i * step``.
    """

    first: int
    length: int
    taps: range
    shift: int
    step: int


@lru_cache(maxsize=512)
def _phases(kernel: int, stride: int, dilation: int, before: int, n: int) -> tuple[_Phase, ...]:
    """Sort the input positions of one axis by which taps reach them.

    Position i is seen by tap k from output q where ``i + before = stride * q + dilation * k``.
    """
    found = []
    common = gcd(stride, dilation)
    for first in range(min(stride, n)):
        at = first + before
        reaching = [k for k in range(kernel) if (at - dilation * k) % stride == 0]
        count = -(-(n - first) // stride)
        # From the last tap down, the gradient is read upwards.
        last = reaching[-1] if reaching else 0
        taps = range(last, -1, -(stride // common)) if reaching else range(0)
        shift = (at - dilation * last) // stride
        found.append(_Phase(first, count, taps, shift, dilation // common))
    return tuple(found)


def _axis_phases(g: Geometry, spatial: Ints) -> list[tuple[_Phase, ...]]:
    return [
        _phases(g.kernel[a], g.stride[a], g.dilation[a], g.padding[a][0], spatial[a])
        for a in (0, 1)
    ]


def _border(g: Geometry, spatial: Ints, out: Ints) -> Pairs:
    """Zeros that the gradient needs around it, so that every phase can read it blindly."""
    border = []
    for axis, phases in enumerate(_axis_phases(g, spatial)):
        low = min((p.shift for p in phases if p.taps), default=0)
        high = max(
            (p.length - 1 + p.shift + (len(p.taps) - 1) * p.step for p in phases if p.taps),
            default=0,
        )
        border.append((max(0, -low), max(0, high - out[axis] + 1)))
    return tuple(border)


def _input_gradient(
    d: Image, border: Pairs, x: Any, w: Any, out: Ints, g: Geometry, groups: int
) -> np.ndarray:
    """Convolve the gradient with the transposed weights, phase by phase of the stride."""
    n, spatial = x.shape[0], lift(x).shape[2:]
    width, channels = w.shape[0] // groups, w.shape[1]
    taps = g.kernel[0] * g.kernel[1]
    weights = np.ascontiguousarray(w)
    dx = None
    lines, columns = _axis_phases(g, spatial)
    single = len(lines) == len(columns) == 1 and lines[0].taps and columns[0].taps
    if not single:
        dx = buffers.zeros((n, *spatial, x.shape[1]))
    for a in lines:
        for b in columns:
            if not (a.taps and b.taps):
                continue
            base = a.taps[0] * g.kernel[1] + b.taps[0]
            packed, blocks = pack_weights(
                weights, base, groups, width * channels * taps, channels, taps,
                (len(a.taps), len(b.taps)), (a.taps.step * g.kernel[1], b.taps.step),
                width, channels * taps,
            )  # fmt: skip
            start = (border[0][0] + a.shift) * d.line + (border[1][0] + b.shift) * d.pixel
            row = output_row(groups, channels, blocks)
            part, view = new_output(n, x.shape[1], (a.length, b.length), row)
            multiply(
                d, n, row_table((a.length, b.length), (1, 1), d.line, d.pixel, start),
                run_table(
                    (len(a.taps), len(b.taps)), (a.step, b.step), d.line, d.pixel, width, groups
                ),
                packed, groups, blocks, channels, width, padded_bias(None, row), False, part, row,
            )  # fmt: skip
            if dx is None:
                return view.reshape(x.shape) if x.ndim == 4 else view[:, :, 0, :]
            dx[:, a.first :: g.stride[0], b.first :: g.stride[1], :] = np.moveaxis(view, 1, -1)
    assert dx is not None
    result = np.moveaxis(dx, -1, 1)
    return result if x.ndim == 4 else result[:, :, 0, :]
