"""Convolution without columns: every image is read in strips, through tables of positions.

Forward and the gradient of the input are one product. The latter runs over the gradient with the
weights transposed; with a stride it falls into phases, each reached by some of the taps.

Each plane of a volume's result is an image of which a window sees several planes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.constant import derive
from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.epilogue import NOTHING, Epilogue
from xpcnn.kernels.cpu.layout import (
    NO_FLOATS,
    Strides,
    float32,
    in_place,
    int64,
    new_output,
    pack_weights,
    padded_bias,
    source,
    spread,
    takes_images,
)
from xpcnn.kernels.cpu.product import COLUMNS
from xpcnn.kernels.cpu.strips import Source, collect, outer_strips, times_strips
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints, Window

Pair = Ints
"""Two numbers, for lines and columns."""

Triple = Ints
"""Three numbers, for planes, lines and columns."""

JOBS = 8
"""Pieces that the work is cut into at least, where it can be."""

STRIP = 48 * 1024
"""Numbers in the scratch memory of a strip, if it is not a single line."""


class Axis(NamedTuple):
    """Output positions ``first, first + step, ...`` of one axis, and the taps they are made of.

    Position m of the `length` takes tap ``taps[i]`` from ``advance * m + shift + i * apart`` of
    what is read.
    """

    first: int
    step: int
    length: int
    taps: range
    shift: int
    apart: int
    advance: int


FLAT = Axis(0, 1, 1, range(1), 0, 1, 1)
"""The depth of an image."""


class Depth(NamedTuple):
    """How the planes of a volume take part in a product; the default is what images need.

    Attributes
    ----------
    axis : Axis
    size : int
        Planes of what is read.
    kernel_plane : int
        Distance of the planes of a filter.
    """

    axis: Axis = FLAT
    size: int = 1
    kernel_plane: int = 0


IMAGES = Depth()


class Recipe(NamedTuple):
    """Everything about a product that follows from shapes; see :func:`strips.times_strips`.

    Attributes
    ----------
    packs : tuple
        For every phase: where its packed weights begin; the first tap, the taps (planes, lines,
        columns) and their distances, in numbers of the filter of one channel.
    weights : int
        Numbers in the packed weights.
    """

    strip: np.ndarray
    phases: np.ndarray
    rows: np.ndarray
    runs: np.ndarray
    cells: np.ndarray
    packs: tuple[tuple[int, int, Triple, Triple], ...]
    weights: int

    @property
    def scratch(self) -> int:
        """Numbers in the scratch memory of a strip."""
        return int(self.strip[9])

    @property
    def planes(self) -> int:
        """Planes of a volume of the result."""
        return int(self.strip[10])


def takes(x: Any, w: Any, groups: int) -> Declined | None:
    """Say why this kernel set does not convolve such arrays; ``None`` if it does.

    A few filters (in a group) would leave most of a vector, and of the output's memory, empty.
    """
    refusal = takes_images(x, w)
    if refusal is None and w.shape[0] // groups < 8:
        refusal = Declined("fewer than 8 filters in a group")
    return refusal


@lru_cache(maxsize=512)
def forward_axes(g: Window, spatial: Ints) -> tuple[tuple[Axis, ...], ...]:
    """Describe a forward convolution of images or volumes of that size, axis by axis."""
    out = g.output_shape(spatial)
    return tuple(
        (Axis(0, 1, n, range(k), -before, d, s),)
        for n, k, (before, _), d, s in zip(
            out, g.kernel, g.padding, g.dilation, g.stride, strict=True
        )
    )


def depth_of(g: Window, spatial: Sequence[int], axes: tuple[tuple[Axis, ...], ...]) -> Depth:
    """Return the depth of what :func:`forward_axes` describes."""
    return IMAGES if g.ndim == 2 else Depth(axes[0][0], spatial[0], prod(g.kernel[1:]))


@lru_cache(maxsize=512)
def gradient_axis(kernel: int, stride: int, dilation: int, before: int, n: int) -> tuple[Axis, ...]:
    """Sort the input positions of one axis by which taps reach them.

    Position i is seen by tap k from output q where ``i + before = stride * q + dilation * k``.
    """
    found = []
    common = gcd(stride, dilation)
    for first in range(min(stride, n)):
        at = first + before
        reaching = [k for k in range(kernel) if (at - dilation * k) % stride == 0]
        if not reaching:
            continue
        # From the last tap down, the gradient is read upwards.
        taps = range(reaching[-1], -1, -(stride // common))
        shift = (at - dilation * taps[0]) // stride
        length = -(-(n - first) // stride)
        found.append(Axis(first, stride, length, taps, shift, dilation // common, 1))
    return tuple(found)


@lru_cache(maxsize=512)
def make_recipe(
    lines: tuple[Axis, ...], columns: tuple[Axis, ...], images: int, channels: int, groups: int,
    blocks: int, size: Pair, strides: Strides | None, kernel_width: int, y_line: int, y_pixel: int,
    dense: bool = False, limit: int = STRIP, depth: Depth = IMAGES,
) -> Recipe:  # fmt: skip
    """Lay out the tables of a product.

    Parameters
    ----------
    lines, columns : tuple of Axis
        Every pair is a phase.
    channels, groups, blocks : int
        Input channels, and blocks of 16 output channels in each group.
    size : (int, int)
        Height and width of what is read.
    strides : tuple of int, optional
        Of what is read, where that is channels-last and may be read in place.
    kernel_width : int
        Distance of the lines of a filter's plane.
    y_line, y_pixel : int
        Distances in the output.
    dense : bool
        Whether the pixels of a strip have to lie side by side.
    limit : int
        Numbers in a strip, if it is not a single line.
    depth : Depth
    """
    apart = channels if dense else spread(channels)
    strip, low, left = _make_strip(
        lines, columns, images, size, strides, apart, limit, blocks if groups == 1 else 1, depth
    )
    span, line, pixel = (int(strip[i]) for i in (0, 6, 7))
    planes = plane_steps(strip, strides, depth)
    phases, tables, packs, at = [], [], [], [0, 0, 0]
    for a in lines:
        for c in columns:
            position = np.arange(span)[:, None] * (a.advance * line) + (a.shift - low) * line
            rows = position + (np.arange(c.length) * c.advance + c.shift + left) * pixel
            down = (a.first + np.arange(span)[:, None] * a.step) * y_line
            cells = down + (c.first + np.arange(c.length) * c.step) * y_pixel
            taps = len(a.taps), len(c.taps)
            runs, run = run_table(taps, (a.apart, c.apart), line, pixel, channels, groups)
            runs = np.add.outer(planes, runs).reshape(-1)
            phases.append((a.length, c.length, at[0], at[1], at[2], runs.size, run))
            tables.append((rows.ravel(), runs, cells.ravel()))
            deep, plane = depth.axis.taps, depth.kernel_plane
            first = deep[0] * plane + a.taps[0] * kernel_width + c.taps[0]
            steps = (deep.step * plane, a.taps.step * kernel_width, c.taps.step)
            packs.append((at[2], first, (len(deep), *taps), steps))
            weights = runs.size * run * COLUMNS * blocks * groups
            at = [at[0] + rows.size, at[1] + runs.size, at[2] + weights]
    rows, runs, cells = (np.concatenate(t).astype(np.int64) for t in zip(*tables, strict=True))
    numbers = np.array(phases, np.int64)
    return Recipe(strip, numbers, rows, runs, cells, tuple(packs), at[2])


def plane_steps(strip: np.ndarray, strides: Strides | None, depth: Depth) -> np.ndarray:
    """Where the planes under a window begin, in a strip or in place."""
    step = int(strip[4] * strip[6])
    if strides is not None and strip[8]:
        step = depth.axis.apart * strides[4]
    return np.arange(len(depth.axis.taps), dtype=np.int64) * step


@lru_cache(maxsize=512)
def run_table(
    taps: Pair, apart: Pair, line: int, pixel: int, channels: int, groups: int
) -> tuple[np.ndarray, int]:
    """Where the contiguous runs under a window start, and how long they are."""
    lines = np.arange(taps[0], dtype=np.int64) * (apart[0] * line)
    if groups == 1 and pixel == channels and (apart[1] == 1 or taps[1] == 1):
        return lines, taps[1] * channels
    columns = np.arange(taps[1], dtype=np.int64) * (apart[1] * pixel)
    return (lines[:, None] + columns).reshape(-1), channels // groups


def _make_strip(
    lines: tuple[Axis, ...], columns: tuple[Axis, ...], images: int, size: Pair,
    strides: Strides | None, apart: int, limit: int, blocks: int, depth: Depth,
) -> tuple[np.ndarray, int, int]:  # fmt: skip
    """Choose how many lines to work on at a time, and how they lie in the scratch memory."""
    left = max(0, max(-c.shift for c in columns))
    last = max((c.length - 1) * c.advance + c.shift + (len(c.taps) - 1) * c.apart for c in columns)
    right = max(0, last - (size[1] - 1))
    low = min(a.shift for a in lines)
    reach = max(a.shift + (len(a.taps) - 1) * a.apart for a in lines) - low
    advance, length = lines[0].advance, max(a.length for a in lines)
    padded = left > 0 or right > 0 or low < 0 or (length - 1) * advance + low + reach >= size[0]
    axis, taps = depth.axis, len(depth.axis.taps)
    deepest = (axis.length - 1) * axis.advance + axis.shift + (taps - 1) * axis.apart
    padded = padded or axis.shift < 0 or deepest >= depth.size
    if strides is None or padded:
        pixel = apart
        line = (left + size[1] + right) * pixel
    else:
        pixel = strides[3]
        line = strides[2] if size[0] > 1 else size[1] * pixel
    span = max(1, min(length, (limit // (line * taps) - reach - 1) // advance + 1))
    # Jobs enough for the threads: by strips where cutting the weights is not enough.
    wanted = -(-JOBS // (images * blocks))
    span = min(span, -(-length // wanted))
    strips = -(-length // span)
    span = -(-length // strips)
    height = (span - 1) * advance + reach + 1
    in_place = strides is not None and not padded
    numbers = (
        span, strips, low, advance, height, left, line, pixel, int(in_place),
        0 if in_place else taps * height * line,
        axis.length, axis.shift, axis.advance, taps, axis.apart,
    )  # fmt: skip
    return np.array(numbers, np.int64), low, left


def product(
    what: Source, images: int, recipe: Recipe, w: np.ndarray, transposed: bool, groups: int,
    blocks: int, bias: np.ndarray, epilogue: Epilogue, y: np.ndarray, y_image: int, y_line: int,
    y_plane: int, other: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Pack the weights and run :func:`strips.times_strips`; see there."""
    images *= recipe.planes
    width, channels = w.shape[0] // groups, w.shape[1]
    lanes, inner = (channels, width) if transposed else (width, channels)
    jobs = images * int(recipe.strip[1])
    parts = min(blocks, -(-JOBS // jobs)) if groups == 1 else 1
    numbers = (
        groups, blocks, lanes, inner, epilogue.kind, y_image, y_line, parts, y_plane,
        int(other is not None),
    )  # fmt: skip
    threads.launch(
        images * recipe.rows.size * int(recipe.strip[1]) * w.size // 8, times_strips, jobs * parts,
        *what[:4], recipe.strip, recipe.phases, len(recipe.phases), recipe.rows, recipe.runs,
        recipe.cells, pack(w, recipe, transposed, groups), bias, int64(numbers),
        float32(epilogue.settings), NO_FLOATS if other is None else other, y,
        threads.scratch(recipe.scratch),
    )  # fmt: skip


def pack(w: np.ndarray, recipe: Recipe, transposed: bool, groups: int) -> np.ndarray:
    """Arrange the weights as a product reads them."""
    key = (recipe.packs, transposed, groups)
    packed: np.ndarray = derive(w, key, lambda: _pack(w, recipe, transposed, groups))
    return packed


def _pack(w: np.ndarray, recipe: Recipe, transposed: bool, groups: int) -> np.ndarray:
    w = np.ascontiguousarray(w)
    (width, channels), taps = (w.shape[0] // groups, w.shape[1]), prod(w.shape[2:])
    lanes, inner = (channels, width) if transposed else (width, channels)
    lane, step = (taps, channels * taps) if transposed else (channels * taps, taps)
    packed, blocks = buffers.empty(recipe.weights), -(-lanes // COLUMNS)
    for at, first, kernel, steps in recipe.packs:
        threads.launch(
            2 * groups * blocks * prod(kernel) * inner * COLUMNS, pack_weights, groups * blocks,
            w.reshape(-1), first, width * channels * taps, lanes, lane, *kernel, *steps, inner,
            step, blocks, packed[at:],
        )  # fmt: skip
    return packed


@lru_cache(maxsize=512)
def window_axes(g: Window, shape: Pair, size: Pair) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    """Describe pooling windows: all that the convolutions under one of them see."""
    lines, columns = (
        (Axis(0, 1, count, range((p - 1) * s + (k - 1) * d + 1), -before, 1, p * s),)
        for count, p, s, k, d, (before, _) in zip(
            shape, size, g.stride, g.kernel, g.dilation, g.padding, strict=True
        )
    )
    return lines, columns


def output_row(groups: int, width: int, blocks: int) -> int:
    """Numbers per output pixel: whole vectors for the last group."""
    return (groups - 1) * width + blocks * COLUMNS


def forward(
    x: np.ndarray, w: np.ndarray, b: Any, g: Window, groups: int, epilogue: Epilogue,
    flat: np.ndarray, row: int, other: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Convolve images or volumes, with a sum and an activation in the same pass.

    Parameters
    ----------
    flat : float32 array of one dimension
        Takes the results, channels last. Whole blocks of 16 columns are written, of which those
        behind the filters of the last group hold anything.
    row : int
        Distance of the pixels there, :func:`output_row` at least.
    other : float32 array of one dimension, optional
        What is added, laid out as the results. Each group then has a multiple of 16 filters.
    """
    what = source(x)
    out, blocks, recipe = _forward_layout(g, x.shape, w.shape[0], groups, in_place(what), row)
    bias = padded_bias(b, output_row(groups, w.shape[0] // groups, blocks) + COLUMNS)
    line = out[-1] * row
    product(
        what, len(x), recipe, w, False, groups, blocks, bias, epilogue, flat, prod(out) * row, line,
        out[-2] * line, other,
    )  # fmt: skip


@lru_cache(maxsize=512)
def _forward_layout(
    g: Window, shape: tuple[int, ...], filters: int, groups: int, strides: Strides | None, row: int
) -> tuple[Ints, int, Recipe]:
    """Return the output's size, blocks of columns in each group, and the recipe."""
    n, channels, *spatial = shape
    blocks, out = -(-filters // groups // COLUMNS), g.output_shape(spatial)
    axes = forward_axes(g, tuple(spatial))
    depth = depth_of(g, spatial, axes)
    recipe = make_recipe(
        *axes[-2:], n * depth.axis.length, channels, groups, blocks, tuple(spatial[-2:]), strides,
        g.kernel[-1], out[-1] * row, row, depth=depth,
    )  # fmt: skip
    return out, blocks, recipe


def weight_gradient(
    x: np.ndarray, d: Source, out: Ints, w: np.ndarray, g: Window, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of the weights and of the bias."""
    n, what, d_pixel = len(x) * prod(out[:-2]), source(x), spread(w.shape[0])
    height, across = out[-2:]
    width, channels = w.shape[0] // groups, w.shape[1]
    blocks = -(-width // COLUMNS)
    row = blocks * COLUMNS
    recipe, taps = _gradient_layout(g, x.shape, groups, in_place(what), d_pixel)
    span = int(recipe.strip[0])
    splits, parts = cut(taps.size * row, n * height * across, n * int(recipe.strip[1]))
    partial = buffers.empty(splits * groups * taps.size * row)
    sums = buffers.zeros((splits, groups, row), np.float64)
    d_size = span * across * d_pixel + COLUMNS
    threads.launch(
        n * height * across * groups * taps.size * row // 8, outer_strips, splits * parts,
        what.flat, what.numbers, recipe.strip, recipe.rows, taps, taps.size,
        *d[:4], int64((across * d_pixel, d_pixel, height, d_size)), recipe.cells,
        recipe.cells.size // span, n, int64((groups, blocks, width, channels, splits, parts)),
        partial, sums.reshape(-1), threads.scratch(recipe.scratch + d_size),
    )  # fmt: skip
    dw = buffers.empty(w.shape)
    threads.launch(
        2 * partial.size, collect, groups * blocks, partial, splits, groups, g.taps, channels,
        row, width, dw.reshape(-1),
    )  # fmt: skip
    # The lanes behind the last filter hold anything.
    return dw, sums[:, :, :width].sum(axis=0).reshape(-1).astype(np.float32)


@lru_cache(maxsize=512)
def _gradient_layout(
    g: Window, shape: tuple[int, ...], groups: int, strides: Strides | None, d_pixel: int
) -> tuple[Recipe, np.ndarray]:
    """Return the recipe by which x is read, and the table of taps."""
    n, channels, *spatial = shape
    axes = forward_axes(g, tuple(spatial))
    depth = depth_of(g, spatial, axes)
    recipe = make_recipe(
        *axes[-2:], n * depth.axis.length, channels, groups, 1, tuple(spatial[-2:]), strides,
        g.kernel[-1], axes[-1][0].length * d_pixel, d_pixel, depth=depth,
    )  # fmt: skip
    line, pixel = int(recipe.strip[6]), int(recipe.strip[7])
    taps = tap_table(g.kernel[-2:], g.dilation[-2:], line, pixel, channels // groups)
    return recipe, np.add.outer(plane_steps(recipe.strip, strides, depth), taps).reshape(-1)


@lru_cache(maxsize=512)
def tap_table(kernel: Pair, dilation: Pair, line: int, pixel: int, channels: int) -> np.ndarray:
    """Where every number under a window is, channels fastest."""
    lines = np.arange(kernel[0], dtype=np.int64)[:, None, None] * (dilation[0] * line)
    columns = np.arange(kernel[1], dtype=np.int64)[:, None] * (dilation[1] * pixel)
    return (lines + columns + np.arange(channels, dtype=np.int64)).reshape(-1)


def cut(results: int, rows: int, pieces: int) -> tuple[int, int]:
    """Cut a sum of outer products into jobs: pieces of the rows, and pieces of the results.

    The results of a job should fit into a second-level cache; small sums are not worth cutting.
    Neither number depends on the threads, so that results do not either. Every split has one of the
    `pieces` at least.
    """
    parts = -(-results // 65536)
    return max(1, min(16 // parts, rows // 512, pieces)), parts


def input_gradient(
    d: Source, out: Ints, shape: Sequence[int], w: np.ndarray, g: Window, groups: int,
    b: Any = None,
) -> np.ndarray:  # fmt: skip
    """Return the gradient of an input of that shape, channels last; `b` is added to each pixel."""
    n, all_channels, spatial = shape[0], shape[1], tuple(shape[2:])
    row, blocks, reached, recipes = _input_layout(g, n, spatial, w.shape[:2], groups, tuple(out))
    flat, dx = new_output(n, all_channels, spatial, row)
    bias = padded_bias(b, row + COLUMNS)
    if not reached:
        flat.reshape(-1, row)[...] = bias[:row]
    line = spatial[-1] * row
    plane = spatial[-2] * line
    for axis, recipe in recipes:
        product(
            d, n, recipe, w, True, groups, blocks, bias, NOTHING, flat[axis.first * plane :],
            prod(spatial) * row, g.stride[-2] * line, axis.step * plane,
        )  # fmt: skip
    return dx


@lru_cache(maxsize=512)
def _input_layout(
    g: Window, n: int, spatial: Ints, sizes: Pair, groups: int, out: Ints
) -> tuple[int, int, bool, list[tuple[Axis, Recipe]]]:
    """Return all that follows from shapes; `sizes` are filters, and channels in a group.

    These are: numbers per pixel, blocks of columns, whether taps reach all positions, and a recipe
    for each phase of the depth.
    """
    filters, channels = sizes
    blocks = -(-channels // COLUMNS)
    row = output_row(groups, channels, blocks)
    axes = [
        gradient_axis(k, s, dil, before, size)
        for k, s, dil, (before, _), size in zip(
            g.kernel, g.stride, g.dilation, g.padding, spatial, strict=True
        )
    ]
    phases = (min(s, m) for s, m in zip(g.stride, spatial, strict=True))
    reached = all(len(axis) == most for axis, most in zip(axes, phases, strict=True))
    *planes, lines, columns = axes
    recipes = []
    for axis in planes[0] if planes else (FLAT,):
        if lines and columns:
            depth = Depth(axis, out[0], prod(g.kernel[1:])) if planes else IMAGES
            recipe = make_recipe(
                lines, columns, n * axis.length, filters, groups, blocks, out[-2:], None,
                g.kernel[-1], spatial[-1] * row, row, depth=depth,
            )  # fmt: skip
            recipes.append((axis, recipe))
    return row, blocks, reached, recipes
