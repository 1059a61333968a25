"""Padding of channels-last images and volumes, in runs of neighbouring pixels.

Forward copies a line in runs. Backward gathers: each number of dx collects from all places that it
was copied to. The lines of a volume are those of all its planes, one plane after the other; tables
say which belong together.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, chain, product
from typing import Any, NamedTuple

import numpy as np

from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import threads
from xpcnn.kernels.cpu.elementwise import as_rows, declined, new_rows
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job
from xpcnn.kernels.cpu.layout import dense_image, source
from xpcnn.kernels.cpu.pool import lines_of
from xpcnn.kernels.cpu.vector import WIDTH, add, load, load_index, splat, store, zero
from xpcnn.kernels.lifting import lift
from xpcnn.kernels.trace import Declined
from xpcnn.ops.pad import pad_forward
from xpcnn.window import Ints as Sizes
from xpcnn.window import Pairs

OUTSIDE = -1
"""Stands for what is no element of the array."""

Places = tuple[tuple[int, ...], ...]
"""For every position of one axis, the positions of the padded axis that it was copied to."""


class Tables(NamedTuple):
    """By what dx is gathered; all are int64 arrays.

    Attributes
    ----------
    line_bounds, lines
        Line i was copied to those from ``line_bounds[i]`` to ``line_bounds[i + 1]`` of `lines`.
    segments
        Columns that were copied alike: the first, their number, and where in `columns` the places
        of the first begin and end.
    columns
    """

    line_bounds: np.ndarray
    lines: np.ndarray
    segments: np.ndarray
    columns: np.ndarray


def forward(xp: Any, x: Any, padding: Pairs, mode: str, value: float = 0.0) -> Any:
    """Extend the spatial axes of x (N, C, *spatial) by (before, after) elements each."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    if x.ndim not in (3, 4, 5) or len(padding) != x.ndim - 2:
        return Declined(f"padding {len(padding)} axes of {x.ndim}")
    if x.shape[1] < WIDTH:
        return Declined(f"{x.shape[1]} channels, fewer than {WIDTH}")
    return _copy(x, padding, mode, float(value)), tuple(x.shape)


def backward(xp: Any, dy: Any, shape: Sizes, padding: Pairs, mode: str) -> np.ndarray:
    """Add up the gradients of all copies of an element."""
    if mode == "constant":
        return _copy(dy, [(-before, -after) for before, after in padding], mode, 0.0)
    n, channels, spatial = *shape[:2], shape[2:]
    tables = _tables(spatial, tuple(map(tuple, padding)), mode)
    flat, dx = new_rows(shape)
    lines, width = lines_of(spatial)
    padded_lines, padded_width = lines_of(dy.shape[2:])
    threads.launch(
        2 * flat.size, _gather, n * lines, _dense(dy), padded_lines, padded_width, channels,
        *tables[:3], tables.segments.size // 4, tables.columns, lines, width, flat,
    )  # fmt: skip
    return dx


def _copy(x: np.ndarray, padding: Any, mode: str, value: float) -> np.ndarray:
    """Return x padded."""
    n, channels, spatial = *x.shape[:2], x.shape[2:]
    lines, runs, out = _plan(spatial, tuple(map(tuple, padding)), mode)
    flat, y = new_rows((n, channels, *out))
    threads.launch(
        flat.size, _copy_runs, n * len(lines), _dense(x), *lines_of(spatial), channels, lines,
        len(lines), runs, len(runs) // 3, out[-1], value, flat,
    )  # fmt: skip
    return y


@lru_cache(maxsize=512)
def _plan(spatial: Sizes, sides: Pairs, mode: str) -> tuple[np.ndarray, np.ndarray, Sizes]:
    """Return where lines come from, the runs of which they are made, and the padded size."""
    out = tuple(m + sum(both) for m, both in zip(spatial, sides, strict=True))
    lines = _line_sources(spatial[:-1], sides[:-1], mode)
    return lines, _runs(spatial[-1], sides[-1], mode), out


def _dense(x: np.ndarray) -> np.ndarray:
    """Return the memory of x channels-last and without room between the pixels."""
    rows = as_rows(x)
    return rows.flat if rows.pitch == rows.lanes else dense_image(source(lift(x)), len(x)).flat


def _sources(n: int, sides: tuple[int, int], mode: str) -> np.ndarray:
    """Return from where each element of a padded axis comes; the definition pads the numbers."""
    found, _ = pad_forward(numpy_namespace(), np.arange(n), (sides,), mode, OUTSIDE)
    sources: np.ndarray = found
    return sources


def _line_sources(sizes: Sizes, sides: Pairs, mode: str) -> np.ndarray:
    """Return the same for lines, which several axes number."""
    lines = np.zeros(1, np.int64)
    for n, both in zip(sizes, sides, strict=True):
        lines, next_axis = lines[:, None], _sources(n, both, mode)
        outside = (lines == OUTSIDE) | (next_axis == OUTSIDE)
        lines = np.where(outside, OUTSIDE, lines * n + next_axis).reshape(-1)
    return lines


def _runs(n: int, sides: tuple[int, int], mode: str) -> np.ndarray:
    """Cut a padded axis into runs that come from neighbours or from outside.

    Of each run: where it begins, where it comes from, and how long it is.
    """
    runs: list[list[int]] = []
    for place, origin in enumerate(_sources(n, sides, mode).tolist()):
        if runs:
            start, first, length = runs[-1]
            if origin == (OUTSIDE if first == OUTSIDE else first + length):
                runs[-1] = [start, first, length + 1]
                continue
        runs.append([place, origin, 1])
    return np.array(runs, np.int64).reshape(-1)


def _places(n: int, sides: tuple[int, int], mode: str) -> Places:
    """Return to where each element of an axis was copied, first to where it stayed."""
    found: list[list[int]] = [[] for _ in range(n)]
    for place, origin in enumerate(_sources(n, sides, mode).tolist()):
        if origin != OUTSIDE:
            at = 0 if place == origin + sides[0] else len(found[origin])
            found[origin].insert(at, place)
    return tuple(map(tuple, found))


@lru_cache(maxsize=512)
def _tables(spatial: Sizes, sides: Pairs, mode: str) -> Tables:
    """Say by what the gradient of an input of that size is gathered."""
    *others, across = [_places(n, both, mode) for n, both in zip(spatial, sides, strict=True)]
    lines: Places = ((0,),)
    for axis, n, both in zip(others, spatial[:-1], sides[:-1], strict=True):
        padded = n + sum(both)
        lines = tuple(
            tuple(line * padded + place for line, place in product(before, behind))
            for before in lines
            for behind in axis
        )
    segments: list[list[int]] = []
    columns: list[int] = []
    for j, places in enumerate(across):
        if segments:
            _, count, start, end = segments[-1]
            if places == tuple(place + count for place in columns[start:end]):
                segments[-1][1] += 1
                continue
        segments.append([j, 1, len(columns), len(columns) + len(places)])
        columns += places
    bounds, all_lines = [0, *accumulate(map(len, lines))], [*chain(*lines), 0]
    tables = (bounds, all_lines, segments, [*columns, 0])
    return Tables(*(np.array(table, np.int64).reshape(-1) for table in tables))


@Job
def _copy_runs(
    job: int, x: Floats, height: int, width: int, channels: int, lines: Ints, out_h: int,
    runs: Ints, count: int, out_w: int, value: float, y: Floats,
) -> None:  # fmt: skip
    """Write one line of the result."""
    n = job // out_h
    line = load_index(lines, job - n * out_h)
    for r in range(count):
        to = (job * out_w + load_index(runs, 3 * r)) * channels
        source = load_index(runs, 3 * r + 1)
        size = load_index(runs, 3 * r + 2) * channels
        if line == OUTSIDE or source == OUTSIDE:
            for k in range(0, size, WIDTH):
                store(y, to + min(k, size - WIDTH), splat(value))
        else:
            at = ((n * height + line) * width + source) * channels
            for k in range(0, size, WIDTH):
                c = min(k, size - WIDTH)
                store(y, to + c, load(x, at + c))


@Job
def _gather(
    job: int, dy: Floats, padded_h: int, padded_w: int, channels: int, bounds: Ints, lines: Ints,
    segments: Ints, count: int, columns: Ints, height: int, width: int, dx: Floats,
) -> None:  # fmt: skip
    """Write one line of the gradient: along each line first, then the lines."""
    n = job // height
    i = job - n * height
    above, below = load_index(bounds, i), load_index(bounds, i + 1)
    for s in range(count):
        to = (job * width + load_index(segments, 4 * s)) * channels
        size = load_index(segments, 4 * s + 1) * channels
        first, last = load_index(segments, 4 * s + 2), load_index(segments, 4 * s + 3)
        for k in range(0, size, WIDTH):
            c = min(k, size - WIDTH)
            total = zero()
            for a in range(above, below):
                line = (n * padded_h + load_index(lines, a)) * padded_w
                part = zero()
                for b in range(first, last):
                    at = (line + load_index(columns, b)) * channels
                    part = add(part, load(dy, at + c))
                total = add(total, part)
            store(dx, to + c, total)
