"""PReLU: what is negative is multiplied by a learned slope, one for each channel or for all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import Rows, as_rows, declined, new_rows, takes
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job
from xpcnn.kernels.cpu.layout import fill_up
from xpcnn.kernels.cpu.norm import per_piece
from xpcnn.kernels.cpu.vector import (
    RUN,
    WIDTH,
    add,
    load,
    multiply,
    store,
    store_wide,
    where_less,
    wide_zero,
    widen,
    zero,
)


class State(NamedTuple):
    """What backward needs: the input as rows, a slope for each lane, and how many w had."""

    x: Rows
    slopes: np.ndarray
    slopes_given: int


def prelu_forward(xp: Any, x: Any, w: Any) -> Any:
    """Return x (N, C, ...) where positive, times w (C,) or (1,) elsewhere."""
    if not takes(x) or w.dtype != np.float32:
        return declined(x, w)
    rows = as_rows(x)
    slopes = fill_up(np.broadcast_to(w, x.shape[1]), rows.lanes)
    flat, y = new_rows(x.shape)
    positions, per = x.size // x.shape[1], per_piece(rows.lanes)
    threads.launch(
        x.size, _prelu, -(-positions // per), rows.flat, rows.pitch, slopes, rows.lanes, positions,
        per, flat,
    )  # fmt: skip
    return y, State(rows, slopes, w.shape[0])


def prelu_backward(xp: Any, dy: Any, saved: State, need_dx: bool) -> tuple[Any, Any]:
    """Return the gradients (dx, dw)."""
    x, slopes, given = saved
    d = as_rows(dy.astype(np.float32, copy=False))
    channels, positions, per = dy.shape[1], dy.size // dy.shape[1], per_piece(x.lanes)
    pieces = -(-positions // per)
    partial = buffers.empty((pieces, x.lanes), np.float64)
    flat, dx = new_rows(dy.shape) if need_dx else (d.flat, None)
    threads.launch(
        2 * dy.size, _prelu_back, pieces, d.flat, d.pitch, x.flat, x.pitch, slopes, x.lanes,
        positions, per, int(need_dx), flat, partial.reshape(-1),
    )  # fmt: skip
    by_channel = partial.sum(axis=0)[:channels]
    dw = by_channel.sum(keepdims=True) if given == 1 else by_channel
    return dx, dw.astype(np.float32)


@Job
def _prelu(
    job: int, x: Floats, pitch: int, slopes: Floats, lanes: int, positions: int, per: int, y: Floats
) -> None:  # fmt: skip
    for p in range(job * per, min(positions, (job + 1) * per)):
        for k in range(0, lanes, WIDTH):
            c = min(k, lanes - WIDTH)
            value = load(x, p * pitch + c)
            small = multiply(value, load(slopes, c))
            store(y, p * lanes + c, where_less(zero(), value, value, small))


@Job
def _prelu_back(
    job: int, dy: Floats, dy_pitch: int, x: Floats, pitch: int, slopes: Floats, lanes: int,
    positions: int, per: int, writes: int, dx: Floats, partial: Doubles,
) -> None:  # fmt: skip
    """Write for every piece the sums of dy * x where x is not positive, and dx if it is wanted."""
    last = min(positions, (job + 1) * per)
    for k in range(0, lanes, WIDTH):
        c = min(k, lanes - WIDTH)
        total = wide_zero()
        for run in range(job * per, last, RUN):
            part = zero()
            for p in range(run, min(last, run + RUN)):
                value, d = load(x, p * pitch + c), load(dy, p * dy_pitch + c)
                part = add(part, where_less(zero(), value, zero(), multiply(d, value)))
                if writes == 1:
                    small = multiply(d, load(slopes, c))
                    store(dx, p * lanes + c, where_less(zero(), value, d, small))
            total = widen(total, part)
        store_wide(partial, job * lanes + c, total)
