"""Dropout: masks by Philox, bit for bit those that NumPy draws, and their use.

A mask is drawn as one byte for each of its numbers, and that is what backward keeps.
"""

from __future__ import annotations

import math
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn import rng
from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import refused
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.jobs import Bytes, Floats, Ints, Job, inner
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import (
    WIDTH,
    add,
    load,
    load_bytes,
    load_splat,
    multiply,
    splat,
    store,
    upper_product,
    where_equal,
    zero,
)
from xpcnn.ops.dropout import alpha_numbers
from xpcnn.window import Ints as Sizes

FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
"""By what Philox multiplies."""
FIRST_STEP, SECOND_STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
"""What is added to its keys: the golden ratio, and the root of 3 less 1."""
ROUNDS = 10
PER_BLOCK = 8
"""Numbers that one block of Philox gives."""
BITS = 24
"""Of which each has so many bits."""
HALF, LOW, DROPPED = np.uint64(32), np.uint64(2**32 - 1), np.uint64(32 - BITS)
ONE = np.uint64(1)
NO_SHIFTS = (0, 0.0, 0.0)
"""Whether something is added: to what was kept, and in the place of what was dropped."""
WORK = 5
"""Elementary operations for each number that is drawn."""


class Rows(NamedTuple):
    """How a mask with ones in its shape is used: memory is rows, and some rows share their factors.

    Attributes
    ----------
    number, width : int
    together : int
        Rows one after the other that have the same factors; 0 if each has a single factor.
    """

    number: int
    width: int
    together: int


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    mask : array
        Of uint8, 1 for each element that was kept, in the order in which x lies in memory; or,
        where there are rows, their factors.
    order : tuple of int
        The axes as they lie in memory.
    scale : float
        By what is multiplied what was kept.
    rows : Rows or None
    """

    mask: np.ndarray
    order: tuple[int, ...]
    scale: float
    rows: Rows | None


def dropout_forward(xp: Any, x: Any, mask_shape: Sizes, p: float, key: np.ndarray) -> Any:
    """Multiply x by a mask of 0 and 1 / (1 - p); see the generic kernel."""
    if refusal := refused(x):
        return refusal
    state = _draw_state(x, mask_shape, p, key, rng.scale_of_kept(p))
    return _apply(x, state), state


def alpha_dropout_forward(xp: Any, x: Any, mask_shape: Sizes, p: float, key: np.ndarray) -> Any:
    """Multiply x by a mask of 0 and a scale, and shift; see the generic kernel."""
    if refusal := refused(x):
        return refusal
    scale, kept, dropped = alpha_numbers(p)
    state = _draw_state(x, mask_shape, p, key, scale)
    return _apply(x, state, (1, kept, dropped)), state


def _draw_state(x: Any, mask_shape: Sizes, p: float, key: np.ndarray, scale: float) -> State:
    """Draw a mask for x."""
    order, mask = memory_order(x), _draw_mask(mask_shape, p, key)
    rows = _rows(tuple(x.shape[axis] for axis in order), tuple(mask_shape[axis] for axis in order))
    if rows is None:
        mask = np.ascontiguousarray(np.broadcast_to(mask, x.shape).transpose(order))
    else:
        mask = mask * np.float32(scale)
    return State(mask, order, scale, rows)


def dropout_backward(xp: Any, dy: Any, saved: State) -> np.ndarray:
    """Return the gradient: scaled where x was kept."""
    return _apply(dy, saved).astype(dy.dtype, copy=False)


@lru_cache(maxsize=512)
def _rows(shape: Sizes, masked: Sizes) -> Rows | None:
    """Return the rows of memory of some shape, if the mask has 1 in the place of some axes."""
    if masked == shape:
        return None
    whole = next(k for k, (n, m) in enumerate(zip(shape, masked, strict=True)) if n != m)
    width = prod(shape[whole:])
    if set(masked[whole:]) == {1} and width >= WIDTH:
        return Rows(prod(shape[:whole]), width, 0)
    channels = shape[-1]
    if masked == (shape[0], *(1,) * (len(shape) - 2), channels) and channels >= WIDTH:
        return Rows(prod(shape[:-1]), channels, prod(shape[1:-1]))
    return None


def _draw_mask(shape: Sizes, p: float, key: np.ndarray) -> np.ndarray:
    """Return one byte for each number of a mask: whether it is at least p."""
    count = prod(shape)
    kept = buffers.empty(-(-count // PER_BLOCK) * PER_BLOCK, np.uint8)
    # Numbers are whole ones over 2**24, and p is compared in float32.
    least = math.ceil(float(np.float32(p)) * 2**BITS)
    threads.launch(
        WORK * count, _draw, -(-count // PIECE), key.view(np.int64), kept.size, least, kept
    )
    return kept[:count].reshape(shape)


def _apply(x: np.ndarray, state: State, shifts: tuple[int, float, float] = NO_SHIFTS) -> np.ndarray:
    mask, order, scale, rows = state
    dense = in_order(x, order)
    flat = buffers.empty(dense.shape)
    if rows is None:
        threads.launch(
            x.size, _multiply, -(-x.size // PIECE), dense.reshape(-1), mask.reshape(-1), x.size,
            scale, *shifts, flat.reshape(-1),
        )  # fmt: skip
    else:
        jobs = -(-rows.number // max(1, PIECE // rows.width)) * -(-rows.width // PIECE)
        threads.launch(
            x.size, _multiply_rows, jobs, dense.reshape(-1), mask.reshape(-1), *rows,
            *shifts, flat.reshape(-1),
        )  # fmt: skip
    return flat.transpose(inverse(order))


@inner
def _philox(counter: Any, first_key: Any, second_key: Any) -> Any:
    """Turn a counter into four random words of 64 bits: Philox4x64-10 (Salmon et al., 2011)."""
    a, b, c, d = counter, np.uint64(0), np.uint64(0), np.uint64(0)
    for _ in range(ROUNDS):
        first_upper, first_lower = upper_product(FIRST_FACTOR, a), FIRST_FACTOR * a
        second_upper, second_lower = upper_product(SECOND_FACTOR, c), SECOND_FACTOR * c
        a, b = second_upper ^ b ^ first_key, second_lower
        c, d = first_upper ^ d ^ second_key, first_lower
        first_key += FIRST_STEP
        second_key += SECOND_STEP
    return a, b, c, d


@inner
def _decide(word: Any, least: Any, kept: Any, at: int) -> None:
    """Say of the two numbers of a word, the lower one first, whether they are kept."""
    kept[at] = np.uint8(((word & LOW) >> DROPPED) >= least)
    kept[at + 1] = np.uint8((word >> (HALF + DROPPED)) >= least)


@Job
def _draw(job: int, key: Ints, count: int, least: int, kept: Bytes) -> None:
    """Draw a mask of whole blocks. NumPy begins with counter 1."""
    first_key, second_key, lowest = np.uint64(key[0]), np.uint64(key[1]), np.uint64(least)
    for at in range(job * PIECE, min(count, (job + 1) * PIECE), PER_BLOCK):
        counter = np.uint64(at // PER_BLOCK) + ONE
        a, b, c, d = _philox(counter, first_key, second_key)
        _decide(a, lowest, kept, at)
        _decide(b, lowest, kept, at + 2)
        _decide(c, lowest, kept, at + 4)
        _decide(d, lowest, kept, at + 6)


@inner
def _write(x: Any, at: int, factor: Any, shifts: int, kept: float, dropped: float, y: Any) -> None:
    """Multiply eight numbers, and add what is to be added."""
    value = multiply(load(x, at), factor)
    if shifts == 1:
        value = add(value, where_equal(factor, zero(), splat(dropped), splat(kept)))
    store(y, at, value)


@Job
def _multiply(
    job: int, x: Floats, mask: Bytes, size: int, scale: float, shifts: int, kept: float,
    dropped: float, y: Floats,
) -> None:  # fmt: skip
    last = min(size, (job + 1) * PIECE)
    for k in range(job * PIECE, last, WIDTH):
        c = min(k, last - WIDTH)
        factor = multiply(load_bytes(mask, c), splat(scale))
        _write(x, c, factor, shifts, kept, dropped, y)


@Job
def _multiply_rows(
    job: int, x: Floats, factors: Floats, rows: int, width: int, together: int, shifts: int,
    kept: float, dropped: float, y: Floats,
) -> None:  # fmt: skip
    """Multiply rows of 8 numbers or more by a factor each, or by one for each of their numbers."""
    per_job, columns = max(1, PIECE // width), (width + PIECE - 1) // PIECE
    first, left = job // columns * per_job, job % columns * PIECE
    right, last = min(width, left + PIECE), min(rows, first + per_job)
    if together == 0:
        for r in range(first, last):
            for k in range(left, right, WIDTH):
                at = r * width + min(k, right - WIDTH)
                _write(x, at, load_splat(factors, r), shifts, kept, dropped, y)
        return
    for n in range(first // together, (last - 1) // together + 1):
        for k in range(left, right, WIDTH):
            c = min(k, right - WIDTH)
            factor = load(factors, n * width + c)
            for r in range(max(first, n * together), min(last, (n + 1) * together)):
                _write(x, r * width + c, factor, shifts, kept, dropped, y)
