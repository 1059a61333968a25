"""The fully connected layer: three products, each reading the weights as they lie in memory.

    forward   y[n, o]  = sum over k of x[n, k] * w[o, k]    along k, eight at a time
    dx        dx[n, k] = sum over o of d[n, o] * w[o, k]    16 columns of w, copied to a scratch
    dw        dw[o, k] = sum over n of d[n, o] * x[n, k]    columns of x, copied to a scratch

So nothing has to be rearranged when the weights change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xpcnn.kernels.cpu import activations, buffers, threads
from xpcnn.kernels.cpu.epilogue import NONE, NOTHING, RELU, Epilogue, finish_any
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.layout import float32, padded_bias
from xpcnn.kernels.cpu.product import (
    COLUMNS,
    DOT_ROWS,
    TOGETHER,
    dot_row,
    dot_rows,
    outer_rows,
    times_rows,
)
from xpcnn.kernels.cpu.sums import gated_rows, rows_of, sum_rows
from xpcnn.kernels.cpu.vector import load, store
from xpcnn.kernels.trace import Declined

CHUNK = 1024
"""Numbers of a sum taken at a time, so that the rows of a block stay in the second-level cache."""

LONGEST = 32 * 240
"""Rows of a sum of products that are added up in float32."""

SAMPLES = 240
"""Rows of x or d taken at a time where they are the sum's, or the output's, rows."""


@inner
def _add_rest(
    x: Any, x0: int, w: Any, w0: int, w_row: int, last: int, count: int, floor: Any, y: Any,
    y0: int,
) -> None:  # fmt: skip
    """Add the products that did not fill a vector to a row of results."""
    for o in range(last):
        total = y[y0 + o]
        for k in range(count):
            total += x[x0 + k] * w[w0 + o * w_row + k]
        y[y0 + o] = floor if total < floor else total


@Job
def _forward(
    job: int, x: Floats, n: int, x_row: int, w: Floats, outputs: int, w_row: int, width: int,
    bias: Floats, floor: float, y: Floats, y_row: int, row_block: int, block: int, kind: int,
    settings: Floats, adds: int, other: Floats, other_row: int,
) -> None:  # fmt: skip
    no_floor = np.float32(-np.inf)
    blocks = (outputs + block - 1) // block
    whole = width // 8 * 8
    r = job // blocks
    first, last = r * row_block, min(n, (r + 1) * row_block)
    o_first = (job - r * blocks) * block
    o_last = min(outputs, o_first + block)
    for k in range(0, max(whole, 1), CHUNK):
        count = min(CHUNK, whole - k)
        base, base_row = (y, y_row) if k > 0 else (bias, 0)
        limit = floor if k + count == width else no_floor
        if last - first == 1:
            dot_row(
                x, first * x_row + k, w, k, w_row, o_first, o_last, count, base,
                first * base_row, limit, y, first * y_row,
            )  # fmt: skip
        else:
            dot_rows(
                x, k, x_row, first, last, w, k, w_row, o_first, o_last, count, base, 0, base_row,
                limit, y, 0, y_row,
            )  # fmt: skip
    if whole < width:
        for p in range(first, last):
            _add_rest(
                x, p * x_row + whole, w, o_first * w_row + whole, w_row, o_last - o_first,
                width - whole, floor, y, p * y_row + o_first,
            )  # fmt: skip
    if kind != NONE or adds == 1:
        for p in range(first, last):
            finish_any(
                y, p * y_row + o_first, o_last - o_first, adds, other, p * other_row + o_first,
                kind, settings,
            )  # fmt: skip


@inner
def _copy_columns(
    x: Any, start: int, row: int, count: int, width: int, blocks: int, out: Any, begin: int
) -> None:
    """Copy columns as [block of 16][row][16], with zeros where a block is not full."""
    for b in range(blocks):
        lanes = min(16, width - b * 16)
        for p in range(count):
            at, to = start + p * row + b * 16, begin + (b * count + p) * 16
            if lanes == 16:
                store(out, to, load(x, at))
                store(out, to + 8, load(x, at + 8))
            else:
                for t in range(16):
                    out[to + t] = x[at + t] if t < lanes else np.float32(0)


@Job
def _input_gradient(
    job: int, worker: Worker, d: Floats, n: int, d_row: int, w: Floats, outputs: int, width: int,
    rows: Ints, cells: Ints, nothing: Floats, runs: Ints, dx: Floats, dx_row: int, block: int,
    scratch: Floats, size: int,
) -> None:  # fmt: skip
    blocks = (width + 16 * block - 1) // (16 * block)
    r = job // blocks
    first = r * SAMPLES
    count = min(SAMPLES, n - first)
    column = (job - r * blocks) * 16 * block
    columns = min(16 * block, width - column)
    parts = (columns + 15) // 16
    mine, apart = worker * size, outputs * COLUMNS
    _copy_columns(w, column, width, outputs, columns, parts, scratch, mine)
    for b in range(0, parts, TOGETHER):
        to = first * dx_row + column + b * COLUMNS
        if b + TOGETHER <= parts:
            times_rows(
                d, first * d_row, rows, 0, count, runs, 1, outputs, scratch, mine + b * apart,
                apart, TOGETHER, nothing, 0, 0, nothing, dx, to, cells,
            )  # fmt: skip
        else:
            times_rows(
                d, first * d_row, rows, 0, count, runs, 1, outputs, scratch, mine + b * apart,
                apart, 1, nothing, 0, 0, nothing, dx, to, cells,
            )  # fmt: skip


@Job
def _weight_gradient(
    job: int, worker: Worker, d: Floats, n: int, d_row: int, outputs: int, x: Floats, x_row: int,
    width: int, rows: Ints, taps: Ints, cells: Ints, dw: Floats, block: int, scratch: Floats,
    size: int,
) -> None:  # fmt: skip
    column = job * 16 * block
    columns = min(16 * block, width - column)
    parts = (columns + 15) // 16
    direct = n <= SAMPLES and columns % 16 == 0
    mine = worker * size
    total = mine + parts * SAMPLES * 16
    for first in range(0, n, SAMPLES):
        count = min(SAMPLES, n - first)
        _copy_columns(x, first * x_row + column, x_row, count, columns, parts, scratch, mine)
        fresh, apart = int(first == 0), count * COLUMNS
        for b in range(0, parts, TOGETHER):
            g, at, row, g_apart = dw, column + b * COLUMNS, width, COLUMNS
            if not direct:
                g, at, row, g_apart = (
                    scratch, total + b * outputs * COLUMNS, COLUMNS, outputs * COLUMNS,
                )  # fmt: skip
            if b + TOGETHER <= parts:
                outer_rows(
                    d, first * d_row, rows, taps, 0, outputs, scratch, mine + b * apart, apart,
                    cells, 0, count, fresh, TOGETHER, g, at, row, g_apart,
                )  # fmt: skip
            else:
                outer_rows(
                    d, first * d_row, rows, taps, 0, outputs, scratch, mine + b * apart, apart,
                    cells, 0, count, fresh, 1, g, at, row, g_apart,
                )  # fmt: skip
    for b in range(0 if direct else parts):
        lanes = min(16, columns - b * 16)
        for o in range(outputs):
            for t in range(lanes):
                dw[o * width + column + b * 16 + t] = scratch[total + (b * outputs + o) * 16 + t]


def _sum_of_products(
    d: np.ndarray, d_row: int, x: np.ndarray, x_row: int, n: int, outputs: int, width: int,
    block: int,
) -> np.ndarray:  # fmt: skip
    """Return the gradient of the weights; very many rows are added up in float64, part by part."""
    size = block * COLUMNS * (SAMPLES + outputs)
    dw, count = buffers.empty((outputs, width)), min(n, LONGEST)
    threads.launch(
        count * outputs * width // 8, _weight_gradient, -(-width // (block * COLUMNS)),
        d, count, d_row, outputs, x, x_row, width, _steps(min(count, SAMPLES), d_row),
        _steps(outputs, 1), _steps(min(count, SAMPLES), COLUMNS), dw.reshape(-1), block,
        threads.scratch(size), size,
    )  # fmt: skip
    if n == count:
        return dw
    total = dw.astype(np.float64)
    for first in range(count, n, LONGEST):
        rest = min(LONGEST, n - first)
        total += _sum_of_products(
            d[first * d_row :], d_row, x[first * x_row :], x_row, rest, outputs, width, block
        )
    return total.astype(np.float32)


@lru_cache(maxsize=256)
def _blocks(n: int, outputs: int) -> tuple[int, int]:
    """Return how many samples and outputs a job of the forward pass works on.

    An even number of equal jobs is best for the usual numbers of threads.
    """
    count = max(1, round(n / 96)) * 2 if n > 48 else 1
    rows = -(-n // (DOT_ROWS * count)) * DOT_ROWS
    if n >= 256:
        return rows, 128
    return rows, min((20, 24, 16, 28), key=lambda size: (-(-outputs // size) + 1) // 2 * size)


@lru_cache(maxsize=64)
def _steps(count: int, apart: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * apart


_NO_RUNS = np.zeros(1, np.int64)
_NOTHING = np.zeros(TOGETHER * COLUMNS, np.float32)


def linear_forward(
    xp: Any, x: Any, w: Any, b: Any, *, epilogue: Epilogue = NOTHING, other: Any = None
) -> Any:
    """Multiply the last axis of x by w, add b and `other`; backward knows ReLU and no sum."""
    if x.dtype != np.float32 or w.dtype != np.float32:
        return Declined("float32 only")
    (outputs, width), n = w.shape, x.size // x.shape[-1]
    if other is not None and (other.dtype, other.shape) != (x.dtype, (*x.shape[:-1], outputs)):
        return Declined(f"a sum with {other.dtype} of shape {other.shape}")
    past, past_row = (_NOTHING, 0) if other is None else rows_of(other.reshape(n, outputs))
    # ReLU is done where the last sums are.
    floored = epilogue == RELU and other is None
    flat, row = rows_of(x.reshape(n, width))
    weights, w_row = rows_of(w)
    # Four numbers are read where fewer may be left.
    y = buffers.empty(n * outputs + 4)
    bias = padded_bias(b, outputs + 4)
    rows, block = _blocks(n, outputs)
    threads.launch(
        n * outputs * width // 8, _forward, -(-n // rows) * -(-outputs // block),
        flat, n, row, weights, outputs, w_row, width, bias, 0.0 if floored else -np.inf, y,
        outputs, rows, block, NONE if floored else epilogue.kind, float32(epilogue.settings),
        int(other is not None), past, past_row,
    )  # fmt: skip
    y = y[: n * outputs].reshape(*x.shape[:-1], outputs)
    return y, (flat, row, w, b is not None, y if epilogue == RELU else None)


def linear_and_forward(
    name: str, xp: Any, x: Any, w: Any, b: Any, *options: Any, training: bool = True
) -> Any:
    """Do the same, with the activation of some name."""
    by_output = activations.tells_gradient(name)
    if training and not by_output:
        return Declined("backward needs what goes into the activation")
    epilogue = activations.epilogue_of(name, options)
    if isinstance(epilogue, Declined):
        return epilogue
    found = linear_forward(xp, x, w, b, epilogue=epilogue)
    if isinstance(found, Declined) or not by_output:
        return found if isinstance(found, Declined) else (found[0], None)
    y, saved = found
    return y, ((*saved[:-1], None), activations.State(y, float32(epilogue.settings)))


def linear_and_backward(name: str, xp: Any, dy: Any, saved: Any, need_dx: bool) -> Any:
    """Return the gradients (dx, dw, db), of an activation that tells its own from its output."""
    linear_saved, state = saved
    return linear_backward(xp, activations.backward(name, xp, dy, state), linear_saved, need_dx)


def linear_add_forward(
    name: str, xp: Any, x: Any, w: Any, b: Any, other: Any, *options: Any, training: bool = True
) -> Any:
    """Add another array besides, and apply the activation of some name, without training."""
    if training:
        return Declined("backward goes through each by itself")
    epilogue = activations.epilogue_of(name, options)
    if isinstance(epilogue, Declined):
        return epilogue
    found = linear_forward(xp, x, w, b, epilogue=epilogue, other=other)
    return found if isinstance(found, Declined) else (found[0], None)


def linear_backward(xp: Any, dy: Any, saved: Any, need_dx: bool) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db)."""
    x, x_row, w, has_bias, gate = saved
    outputs, width = w.shape
    n = dy.size // outputs
    rows = dy.reshape(n, outputs)
    if gate is None:
        db = sum_rows(rows) if has_bias else None
    else:
        rows, db = gated_rows(rows, gate.reshape(n, outputs))
    d, d_row = rows_of(rows)
    block = 2 if width < 2048 else 4 if n < 256 else 16
    jobs = -(-width // (block * COLUMNS))
    dw = _sum_of_products(d, d_row, x, x_row, n, outputs, width, block)
    db = db if has_bias else None
    if not need_dx:
        return None, dw, db
    dx_row = -(-width // COLUMNS) * COLUMNS
    dx = buffers.empty((n, dx_row))
    size = block * COLUMNS * outputs
    threads.launch(
        n * outputs * width // 8, _input_gradient, jobs * -(-n // SAMPLES),
        d, n, d_row, rows_of(w)[0], outputs, width, _steps(min(n, SAMPLES), d_row),
        _steps(min(n, SAMPLES), dx_row), _NOTHING, _NO_RUNS, dx.reshape(-1), dx_row, block,
        threads.scratch(size), size,
    )  # fmt: skip
    return dx[:, :width].reshape(*dy.shape[:-1], width), dw, db
