"""Padding of channels-last images, copied line by line in runs of neighbouring pixels.

The backward is that of the definition: it copies what is inside, and adds little to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import threads
from xpcnn.kernels.cpu.elementwise import as_rows, declined
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job
from xpcnn.kernels.cpu.layout import new_output
from xpcnn.kernels.cpu.vector import WIDTH, load, load_index, splat, store
from xpcnn.kernels.lifting import lift, lower
from xpcnn.kernels.trace import Declined
from xpcnn.ops.pad import pad_forward
from xpcnn.window import Pairs

OUTSIDE = -1
"""Stands for what is no element of the array."""


def forward(xp: Any, x: Any, padding: Pairs, mode: str, value: float = 0.0) -> Any:
    """Extend the spatial axes of x (N, C, *spatial) by (before, after) elements each."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    if x.ndim not in (3, 4) or len(padding) != x.ndim - 2:
        return Declined(f"padding {len(padding)} axes of {x.ndim}")
    if x.shape[1] < WIDTH:
        return Declined(f"{x.shape[1]} channels, fewer than {WIDTH}")
    rows = as_rows(x)
    if rows.pitch != rows.lanes:
        return Declined("room between the pixels")
    n, channels, height, width = lift(x).shape
    sides = [(int(before), int(after)) for before, after in padding]
    down, across = sides if len(sides) == 2 else ((0, 0), *sides)
    lines = _sources(height, down, mode)
    runs, columns = _runs(width, across, mode)
    flat, y = new_output(n, channels, (len(lines), columns), channels)
    threads.launch(
        flat.size, _copy_runs, n * len(lines), rows.flat, height, width, channels, lines,
        len(lines), runs, len(runs) // 3, columns, float(value), flat,
    )  # fmt: skip
    return lower(y, x.ndim), tuple(x.shape)


@lru_cache(maxsize=512)
def _sources(n: int, sides: tuple[int, int], mode: str) -> np.ndarray:
    """Return from where each element of a padded axis comes; the definition pads the numbers."""
    found, _ = pad_forward(numpy_namespace(), np.arange(n), (sides,), mode, OUTSIDE)
    sources: np.ndarray = found
    return sources


@lru_cache(maxsize=512)
def _runs(n: int, sides: tuple[int, int], mode: str) -> tuple[np.ndarray, int]:
    """Cut a padded axis into runs that come from neighbours or from outside; return its length too.

    Of each run: where it begins, where it comes from, and how long it is.
    """
    runs: list[list[int]] = []
    sources = _sources(n, sides, mode).tolist()
    for place, source in enumerate(sources):
        if runs:
            start, first, length = runs[-1]
            if source == (OUTSIDE if first == OUTSIDE else first + length):
                runs[-1] = [start, first, length + 1]
                continue
        runs.append([place, source, 1])
    return np.array(runs, np.int64).reshape(-1), len(sources)


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
