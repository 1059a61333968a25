"""Local response normalisation with the exponent that it is used with: 3/4, two square roots.

The squares of a pixel's channels are written to scratch memory with zeros on both sides, so that
the sum over neighbours is a sum of vectors that begin one number apart. Nothing but the input is
kept for backward, which works the divisors out again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE, Rows, as_rows, declined, new_rows
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.vector import (
    WIDTH,
    add,
    divide,
    fma,
    load,
    multiply,
    splat,
    square_root,
    store,
    zero,
)
from xpcnn.kernels.trace import Declined

EXPONENT = 0.75


class State(NamedTuple):
    """What backward needs: the input as rows of channels, and the settings.

    Attributes
    ----------
    x : Rows
    sides : (before, after)
        How many neighbours count.
    share : float
        By what the sum of squares is multiplied.
    k : float
        What is added to that.
    """

    x: Rows
    sides: tuple[int, int]
    share: float
    k: float


def forward(xp: Any, x: Any, sides: tuple[int, int], alpha: float, beta: float, k: float) -> Any:
    """Divide by ``(k + alpha * mean of squares)^beta``, over neighbouring channels."""
    if x.dtype != np.float32 or x.size == 0:
        return declined(x)
    if beta != EXPONENT:
        return Declined(f"beta={beta}, another than {EXPONENT}")
    rows = as_rows(x)
    before, after = (min(side, rows.lanes) for side in sides)  # there are no more neighbours
    state = State(rows, (before, after), alpha / (sum(sides) + 1), float(k))
    flat, y = new_rows(x.shape)
    positions, per, jobs = _cut(x, rows)
    room = rows.lanes + before + after
    threads.launch(
        (4 + before + after) * x.size, _normalise, jobs, rows.flat, rows.pitch, rows.lanes,
        positions, per, before, after, state.share, state.k, buffers.empty(jobs * room), flat,
    )  # fmt: skip
    return y, state


def backward(xp: Any, dy: Any, saved: State) -> np.ndarray:
    """Return dx: through the element itself, and through its neighbours' divisors."""
    x, (before, after), share, k = saved
    d = as_rows(dy)
    flat, dx = new_rows(dy.shape)
    positions, per, jobs = _cut(dy, x)
    room = x.lanes + before + after
    threads.launch(
        (8 + 2 * (before + after)) * dy.size, _gradient, jobs, x.flat, x.pitch, d.flat, d.pitch,
        x.lanes, positions, per, before, after, share, k, -2.0 * share * EXPONENT,
        buffers.empty(jobs * (2 * room + x.lanes)), flat,
    )  # fmt: skip
    return dx


def _cut(x: np.ndarray, rows: Rows) -> tuple[int, int, int]:
    """Return the number of positions, how many a job takes, and the jobs."""
    positions = x.size // x.shape[1]
    per = max(8, PIECE // rows.lanes)
    return positions, per, -(-positions // per)


@inner
def fill_margins(work: Any, at: int, before: int, lanes: int, after: int) -> None:
    """Write zeros before and behind the place of `lanes` numbers."""
    for i in range(before):
        work[at + i] = 0.0
    for i in range(before + lanes, before + lanes + after):
        work[at + i] = 0.0


@inner
def sum_of_neighbours(work: Any, at: int, count: int) -> Any:
    """Add up `count` vectors that begin one number apart."""
    total = zero()
    for i in range(count):
        total = add(total, load(work, at + i))
    return total


@inner
def write_squares(x: Any, at: int, lanes: int, work: Any, to: int) -> None:
    for k in range(0, lanes, WIDTH):
        c = min(k, lanes - WIDTH)
        value = load(x, at + c)
        store(work, to + c, multiply(value, value))


@inner
def to_the_exponent(base: Any) -> Any:
    """Return base to the power of -3/4."""
    root = square_root(base)
    return divide(splat(np.float32(1.0)), multiply(root, square_root(root)))


@Job
def _normalise(
    job: int, x: Floats, pitch: int, lanes: int, positions: int, per: int, before: int, after: int,
    share: float, k: float, work: Floats, y: Floats,
) -> None:  # fmt: skip
    squares = job * (before + lanes + after)
    fill_margins(work, squares, before, lanes, after)
    for p in range(job * per, min(positions, (job + 1) * per)):
        write_squares(x, p * pitch, lanes, work, squares + before)
        for first in range(0, lanes, WIDTH):
            c = min(first, lanes - WIDTH)
            total = sum_of_neighbours(work, squares + c, before + after + 1)
            scale = to_the_exponent(fma(total, splat(share), splat(k)))
            store(y, p * lanes + c, multiply(load(x, p * pitch + c), scale))


@Job
def _gradient(
    job: int, x: Floats, pitch: int, dy: Floats, dy_pitch: int, lanes: int, positions: int,
    per: int, before: int, after: int, share: float, k: float, slope: float, work: Floats,
    dx: Floats,
) -> None:  # fmt: skip
    """Compute ``dy * scale + slope * x * through``.

    `through` is the sum of ``dy * x * scale / base`` over those whose divisor the element is in.
    """
    room = before + lanes + after
    squares = job * (2 * room + lanes)
    terms, scaled = squares + room, squares + 2 * room
    fill_margins(work, squares, before, lanes, after)
    fill_margins(work, terms, after, lanes, before)
    for p in range(job * per, min(positions, (job + 1) * per)):
        at = p * pitch
        write_squares(x, at, lanes, work, squares + before)
        for first in range(0, lanes, WIDTH):
            c = min(first, lanes - WIDTH)
            total = sum_of_neighbours(work, squares + c, before + after + 1)
            base = fma(total, splat(share), splat(k))
            d = load(dy, p * dy_pitch + c)
            scale = to_the_exponent(base)
            store(work, scaled + c, multiply(d, scale))
            term = divide(multiply(multiply(d, load(x, at + c)), scale), base)
            store(work, terms + after + c, term)
        for first in range(0, lanes, WIDTH):
            c = min(first, lanes - WIDTH)
            through = sum_of_neighbours(work, terms + c, before + after + 1)
            value = multiply(load(x, at + c), splat(slope))
            store(dx, p * lanes + c, fma(value, through, load(work, scaled + c)))
