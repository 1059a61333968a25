"""PReLU: what is negative is multiplied by a learned slope, one for each channel or for all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import Rows, as_rows, declined, new_rows, takes
from xpcnn.kernels.cpu.functions import load_up_to, store_up_to
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job
from xpcnn.kernels.cpu.layout import fill_up
from xpcnn.kernels.cpu.norm import per_piece
from xpcnn.kernels.cpu.order import is_dense
from xpcnn.kernels.cpu.vector import (
    RUN,
    SIXTEEN,
    WIDTH,
    add,
    lower_eight,
    multiply,
    splat_sixteen,
    store_wide,
    upper_eight,
    where_less,
    wide_zero,
    widen,
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
    ready = w.size == rows.lanes and is_dense(w)
    slopes = w if ready else fill_up(np.broadcast_to(w, x.shape[1]), rows.lanes)
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
    width = -(-x.lanes // SIXTEEN) * SIXTEEN
    partial = buffers.empty((pieces, width), np.float64)
    flat, dx = new_rows(dy.shape) if need_dx else (d.flat, None)
    threads.launch(
        2 * dy.size, _prelu_back, pieces, d.flat, d.pitch, x.flat, x.pitch, slopes, x.lanes,
        positions, per, width, int(need_dx), flat, partial.reshape(-1),
    )  # fmt: skip
    by_channel = partial[:, :channels].sum(axis=0)
    dw = by_channel.sum(keepdims=True) if given == 1 else by_channel
    return dx, dw.astype(np.float32)


@Job
def _prelu(
    job: int, x: Floats, pitch: int, slopes: Floats, lanes: int, positions: int, per: int, y: Floats
) -> None:  # fmt: skip
    nothing, none = np.float32(0.0), splat_sixteen(0.0)
    for p in range(job * per, min(positions, (job + 1) * per)):
        for c in range(0, lanes, SIXTEEN):
            value = load_up_to(x, p * pitch + c, p * pitch + lanes, nothing)
            small = multiply(value, load_up_to(slopes, c, lanes, nothing))
            store_up_to(y, p * lanes + c, (p + 1) * lanes, where_less(none, value, value, small))


@Job
def _prelu_back(
    job: int, dy: Floats, dy_pitch: int, x: Floats, pitch: int, slopes: Floats, lanes: int,
    positions: int, per: int, width: int, writes: int, dx: Floats, partial: Doubles,
) -> None:  # fmt: skip
    """Write for every piece the sums of dy * x where x is not positive, and dx if it is wanted."""
    last, nothing, none = min(positions, (job + 1) * per), np.float32(0.0), splat_sixteen(0.0)
    for c in range(0, lanes, SIXTEEN):
        slope = load_up_to(slopes, c, lanes, nothing)
        low, high = wide_zero(), wide_zero()
        for run in range(job * per, last, RUN):
            part = none
            for p in range(run, min(last, run + RUN)):
                value = load_up_to(x, p * pitch + c, p * pitch + lanes, nothing)
                d = load_up_to(dy, p * dy_pitch + c, p * dy_pitch + lanes, nothing)
                part = add(part, where_less(none, value, none, multiply(d, value)))
                if writes == 1:
                    given = where_less(none, value, d, multiply(d, slope))
                    store_up_to(dx, p * lanes + c, (p + 1) * lanes, given)
            low, high = widen(low, lower_eight(part)), widen(high, upper_eight(part))
        to = job * width + c
        store_wide(partial, to, low)
        store_wide(partial, to + WIDTH, high)
