"""The fully connected layer by the same two products as convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import threads
from xpcnn.kernels.cpu.conv import multiply, padded_bias, row_table
from xpcnn.kernels.cpu.layout import Image, pack_weights
from xpcnn.kernels.cpu.product import COLUMNS, gather_outer


def _rows(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return rows of numbers in flat memory with whole vectors per row, and the row's length."""
    n, width = x.shape
    row = -(-width // COLUMNS) * COLUMNS
    if row == width and x.flags.c_contiguous and x.flags.writeable and x.flags.aligned:
        return x.reshape(-1), row
    out = np.zeros((n, row), np.float32)
    out[:, :width] = x
    return out.reshape(-1), row


def linear_forward(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """Multiply the last axis of x by w and add b."""
    if x.dtype != np.float32 or w.dtype != np.float32:
        return NotImplemented
    rows = x.reshape(-1, x.shape[-1])
    flat, row = _rows(rows)
    outputs, width = w.shape
    y = _times(flat, row, len(rows), w, 0, outputs, width, width, 1, b)
    return y.reshape(*x.shape[:-1], outputs), (flat, row, rows.shape, w, b is not None)


def linear_backward(xp: Any, dy: Any, saved: Any, need_dx: bool) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db)."""
    flat, row, (n, width), w, has_bias = saved
    shape = (*dy.shape[:-1], width)
    dy = dy.reshape(-1, w.shape[0])
    d, d_row = _rows(dy)
    dw = _outer(d, d_row, flat, row, n, w.shape)
    db = dy.sum(axis=0) if has_bias else None
    dx = None
    if need_dx:
        dx = _times(d, d_row, n, w, 0, width, w.shape[0], 1, width, None).reshape(shape)
    return dx, dw, db


def _times(
    flat: np.ndarray, row: int, n: int, w: np.ndarray, base: int, lanes: int, inner: int,
    lane: int, step: int, b: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Multiply rows by a matrix whose element (lane, inner) is at those distances in w."""
    packed, blocks = pack_weights(
        np.ascontiguousarray(w), base, 1, 0, lanes, lane, (1, 1), (0, 0), inner, step
    )
    out_row = blocks * COLUMNS
    y = np.empty(n * out_row, np.float32)
    image = Image(flat, 0, row, row)
    multiply(
        image, 1, row_table((n, 1), (1, 1), row, 0), (np.zeros(1, np.int64), inner), packed,
        1, blocks, lanes, inner, padded_bias(b, out_row), False, y, out_row,
    )  # fmt: skip
    return y.reshape(n, out_row)[:, :lanes]


def _outer(
    d: np.ndarray, d_row: int, x: np.ndarray, x_row: int, n: int, shape: tuple[int, int]
) -> np.ndarray:
    """Sum the outer products of the rows of d and x: the gradient of the weights."""
    outputs, width = shape
    taps = np.arange(outputs, dtype=np.int64)
    out = np.zeros((outputs, x_row), np.float32)
    threads.launch(
        n * outputs * x_row // 8, gather_outer,
        d, 1, 0, row_table((n, 1), (1, 1), d_row, 0), taps, outputs,
        x, 0, row_table((n, 1), (1, 1), x_row, 0), width, 1, x_row // COLUMNS,
        1, 1, min(x_row // COLUMNS, 16), out.reshape(-1), x_row,
    )  # fmt: skip
    return out[:, :width]
