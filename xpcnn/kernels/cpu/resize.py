"""Resizing by tables of taps: every new pixel is a weighted sum of old ones, for all its channels.

Height and width are resized at once, so that no half-resized image is written; the depth of volumes
goes before them. The backward is the same kernel with the tables transposed: it gathers, and every
number of dx is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import Rows, as_rows, declined
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job
from xpcnn.kernels.cpu.layout import in_order
from xpcnn.kernels.cpu.vector import WIDTH, fma, load, load_index, splat, store, zero
from xpcnn.kernels.trace import Declined
from xpcnn.ops.resize import Taps, transpose
from xpcnn.window import Ints as Sizes


class Table(NamedTuple):
    """What each new position of an axis is made of.

    Attributes
    ----------
    bounds : int64 array
        Entries ``bounds[i]`` to ``bounds[i + 1]`` of the others belong to position i.
    places : int64 array
        Positions on the old axis.
    weights : float32 array
    """

    bounds: np.ndarray
    places: np.ndarray
    weights: np.ndarray


def resize_forward(xp: Any, x: Any, axes: Sequence[tuple[int, Taps]]) -> Any:
    """Resize some spatial axes of x (N, C, *spatial), each by its taps."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    named = [axis for axis, _ in axes]
    if x.ndim not in (3, 4, 5) or min(named, default=2) < 2 or len(set(named)) < len(named):
        return Declined(f"resizing the axes {named} of {x.ndim}")
    if x.shape[1] < WIDTH and all(taps.weights is None for _, taps in axes):
        return Declined(f"copying elements of {x.shape[1]} channels, fewer than {WIDTH}")
    tables = {axis: _table(taps) for axis, taps in axes}
    return _resize(x, tables), (axes, tuple(x.shape))


def resize_backward(xp: Any, dy: Any, saved: Any) -> np.ndarray:
    """Give every old element the gradients of the new ones it went into."""
    axes, shape = saved
    return _resize(dy, {axis: _table(*transpose(taps, shape[axis])) for axis, taps in axes})


def _table(taps: Taps, counts: np.ndarray | None = None) -> Table:
    """Write down the entries that count: all of them, or of each row as many as `counts` says."""
    rows, longest = taps.indices.shape
    if counts is None:
        counts = np.full(rows, longest)
    there = np.arange(longest) < counts[:, None]
    weights = np.ones(taps.indices.shape) if taps.weights is None else taps.weights
    bounds = np.append(0, np.cumsum(counts))
    return Table(bounds, taps.indices[there], weights[there].astype(np.float32))


def _unchanged(length: int) -> Table:
    return _table(Taps(np.arange(length)[:, None], None))


def _resize(x: np.ndarray, tables: dict[int, Table]) -> np.ndarray:
    """Resize the axes of x that have a table."""
    n, channels, *spatial = x.shape
    size = [
        len(tables[axis].bounds) - 1 if axis in tables else length
        for axis, length in enumerate(spatial, start=2)
    ]
    rows = as_rows(x)
    images = n
    if len(spatial) == 3:
        depth, height, width = spatial
        if 2 in tables:
            plane = height * width
            rows = _combine(rows, n, (depth, plane), tables[2], _unchanged(plane))
        images = n * size[0]
    height, width = spatial[-2:] if len(spatial) > 1 else (1, *spatial)
    lines = tables.get(x.ndim - 2) if len(spatial) > 1 else None
    columns = tables.get(x.ndim - 1)
    rows = _combine(
        rows, images, (height, width), lines or _unchanged(height), columns or _unchanged(width)
    )
    last = rows.flat.reshape(n, *size, rows.lanes)[..., :channels]
    y = last.transpose(0, -1, *range(1, x.ndim - 1))
    if channels < WIDTH and x.ndim < 5:
        y, _ = in_order(None, y)  # most of the memory of a few channels is empty
    return y


def _combine(rows: Rows, images: int, size: Sizes, lines: Table, columns: Table) -> Rows:
    """Resize images of that height and width, whose pixels are rows."""
    height, width = size
    out_h, out_w = len(lines.bounds) - 1, len(columns.bounds) - 1
    # both tables as one, the columns behind the lines
    bounds = np.append(lines.bounds, columns.bounds + len(lines.places))
    places = np.append(lines.places, columns.places)
    weights = np.append(lines.weights, columns.weights)
    flat = buffers.empty(images * out_h * out_w * rows.lanes)
    taps = -(-len(lines.places) // out_h) * -(-len(columns.places) // out_w)
    threads.launch(
        flat.size * taps, _weigh, images * out_h, rows.flat, height * width * rows.pitch,
        width * rows.pitch, rows.pitch, rows.lanes, out_h, out_w, bounds, places, weights, flat,
    )  # fmt: skip
    return Rows(flat, rows.lanes, rows.lanes)


@Job
def _weigh(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, out_h: int, out_w: int,
    bounds: Ints, places: Ints, weights: Floats, y: Floats,
) -> None:  # fmt: skip
    """Write one line of the result."""
    n = job // out_h
    i = job - n * out_h
    above, below = load_index(bounds, i), load_index(bounds, i + 1)
    for j in range(out_w):
        first = load_index(bounds, out_h + 1 + j)
        last = load_index(bounds, out_h + 2 + j)
        to = (job * out_w + j) * lanes
        for k in range(0, lanes, 2 * WIDTH):
            c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
            total0, total1 = zero(), zero()
            for a in range(above, below):
                start = n * image + load_index(places, a) * line
                for b in range(first, last):
                    at = start + load_index(places, b) * pixel
                    share = splat(weights[a] * weights[b])
                    total0 = fma(load(x, at + c0), share, total0)
                    total1 = fma(load(x, at + c1), share, total1)
            store(y, to + c0, total0)
            store(y, to + c1, total1)
