"""Convolution, bias, ReLU and max pooling in one go.

Where pooling windows do not overlap, window (i, j) holds the convolution outputs at
``pool * (i, j) + phase``, one for each phase of the pool. Columns gathered phase by phase make the
maximum a comparison of contiguous blocks. Adding a bias and applying ReLU commute with the
maximum, so both come after it, on a fraction of the elements.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Fused
from xpcnn.kernels.workspace import batch_chunks, joined
from xpcnn.ops.conv import column_bytes
from xpcnn.ops.fused import CONV_RELU
from xpcnn.ops.im2col import channel_major, crop_spatial, pad_spatial
from xpcnn.ops.pool import MAX_POOL
from xpcnn.ops.select import beats, renumber
from xpcnn.ops.sums import product, total
from xpcnn.window import Ints, Window

_Chunks = list[tuple[slice, Array]]
_State = tuple[Array, Array, bool, Array, _Chunks]


def forward(
    xp: ModuleType,
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    groups: int,
    pool: Window,
    *,
    training: bool = True,
    flat: bool = False,
) -> Any:
    """Compute ``max_pool(relu(conv(x, w) + b))``; see :func:`conv.conv_forward` for the shapes.

    The output is always laid out as `flat` wishes. Declines overlapping or padded pooling, grouped
    convolution, and pooling windows of more elements than eight bits can number.
    """
    simple = pool.kernel == pool.stride and not pool.is_padded and pool.extent == pool.kernel
    if not simple or groups != 1 or pool.taps > 256:
        return NotImplemented
    out = window.output_shape(x.shape[2:])
    pooled = pool.output_shape(out)
    steps, starts = _phases(window, pool)
    n_out, n_phases = w.shape[0], len(starts)
    weights = xp.reshape(w, (n_out, -1))
    pieces, winners = [], []
    for chunk in batch_chunks(x, column_bytes(x.shape[1], w, prod(out))):
        padded = pad_spatial(xp, channel_major(xp, x[chunk, ...]), window)
        columns = _gather(xp, padded, steps, pooled, starts)
        y = xp.reshape(weights @ columns, (n_out, n_phases, -1))
        best, winner = _best_phase(xp, y, training)
        if b is not None:
            best = best + b[:, None]
        pieces.append(xp.reshape(best, (n_out, chunk.stop - chunk.start, *pooled)))
        winners.append((chunk, winner))
    y = channel_major(xp, xp.maximum(joined(xp, pieces, axis=1), 0.0))
    return y, (x, w, b is not None, y, winners)


def backward(
    xp: ModuleType,
    dy: Array,
    saved: _State,
    window: Window,
    groups: int,
    pool: Window,
    need_dx: bool,
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db)."""
    x, w, has_bias, y, winners = saved
    pooled = tuple(dy.shape[2:])
    padded_shape = window.padded_shape(x.shape[2:])
    steps, starts = _phases(window, pool)
    dy = _xp.zero_where(y <= 0, dy)
    weights_t = xp.permute_dims(xp.reshape(w, (w.shape[0], -1)), (1, 0))
    dw: Any = 0.0
    pieces = []
    for chunk, winner in winners:
        padded = pad_spatial(xp, channel_major(xp, x[chunk, ...]), window)
        columns = _gather(xp, padded, steps, pooled, starts)
        dy_chunk = xp.reshape(channel_major(xp, dy[chunk, ...]), (w.shape[0], -1))
        by_phase = [_xp.zero_where(winner != p, dy_chunk) for p in range(len(starts))]
        dy_phases = xp.concat(by_phase, axis=1)
        dw = dw + product(xp, dy_phases, columns)
        if need_dx:
            shape = (x.shape[1], chunk.stop - chunk.start, *padded_shape)
            dx = _scatter(xp, weights_t @ dy_phases, shape, steps, pooled, starts)
            pieces.append(channel_major(xp, crop_spatial(dx, window, x.shape[2:])))
    db = total(xp, dy, (0, *range(2, dy.ndim))) if has_bias else None
    dx = joined(xp, pieces, axis=0) if need_dx else None
    return dx, xp.reshape(dw, w.shape), db


def _phases(window: Window, pool: Window) -> tuple[Window, list[Ints]]:
    """Return the window that steps from pool to pool, and where each phase starts."""
    stride = tuple(s * p for s, p in zip(window.stride, pool.stride, strict=True))
    steps = Window(window.kernel, stride, ((0, 0),) * window.ndim, window.dilation)
    phases = itertools.product(*map(range, pool.kernel))
    starts = [tuple(p * s for p, s in zip(phase, window.stride, strict=True)) for phase in phases]
    return steps, starts


def _gather(xp: ModuleType, x: Array, window: Window, out: Ints, starts: Sequence[Ints]) -> Array:
    """Gather columns as im2col does, those of all positions from the first start in front."""
    with_taps = x[:, None, ...]
    seen = [with_taps[(slice(None), *view)] for view in window.views(out, starts)]
    return xp.reshape(xp.concat(seen, axis=1), (x.shape[0] * window.taps, -1))


def _scatter(
    xp: ModuleType,
    columns: Array,
    shape: Sequence[int],
    window: Window,
    out: Ints,
    starts: Sequence[Ints],
) -> Array:
    """Add every column back to where :func:`_gather` took it from."""
    views = window.views(out, starts)
    columns = xp.reshape(columns, (shape[0], len(views), shape[1], *out))
    x = xp.zeros(tuple(shape), dtype=columns.dtype, device=_xp.device_of(columns))
    for number, view in enumerate(views):
        x = _xp.add_at(x, view, columns[:, number, ...])
    return x


def _best_phase(xp: ModuleType, y: Array, training: bool) -> tuple[Array, Array | None]:
    """Take the maximum over axis 1, and the number of the first phase that reaches it."""
    best = y[:, 0, :]
    winner = xp.zeros_like(best, dtype=xp.uint8) if training else None
    for p in range(1, y.shape[1]):
        if training:
            winner = renumber(xp, beats(xp, y[:, p, :], best), p, winner)
        best = xp.maximum(best, y[:, p, :])
    return best, winner


CONV_RELU_MAX_POOL = Fused("conv_relu_max_pool", (CONV_RELU, MAX_POOL), forward, backward)
