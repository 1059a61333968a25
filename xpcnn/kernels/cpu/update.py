"""Updates of all parameters at once, in one pass over memory.

The arrays are handed over by address: a network has dozens of them, and one call for each would
take longer than the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.constant import note_moderate
from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Ints, Job, addresses_of
from xpcnn.kernels.cpu.vector import (
    add,
    divide,
    fma,
    load,
    multiply,
    pointer_to,
    splat,
    square_root,
    store,
    sum_of,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.trace import Declined
from xpcnn.ops.update import adam_numbers

PIECE = 8192
"""Numbers that one job updates."""

APART = 16
"""Arrays in a common block start at multiples of this: a cache line."""

BLOCK = 1 << 18
"""Numbers in a block of several arrays, at most: parts of this size are found among those that
activations have left, while all arrays in one block would need memory of their own."""

LARGEST = float(np.finfo(np.float32).max)


@Job
def _adam(
    job: int, addresses: Ints, arrays: int, pieces: Ints, numbers: Floats, squares_of: Doubles
) -> None:  # fmt: skip
    """Step along the mean over the root of the mean square; see :func:`adam`."""
    i, first, count = pieces[3 * job], pieces[3 * job + 1], pieces[3 * job + 2]
    p, g = pointer_to(addresses[i]), pointer_to(addresses[arrays + i])
    m, v = pointer_to(addresses[2 * arrays + i]), pointer_to(addresses[3 * arrays + i])
    new_p, new_m = pointer_to(addresses[4 * arrays + i]), pointer_to(addresses[5 * arrays + i])
    new_v = pointer_to(addresses[6 * arrays + i])
    n = 8 * i
    keep1, keep2, take1, take2 = numbers[n], numbers[n + 1], numbers[n + 2], numbers[n + 3]
    size, eps, decay, kept = numbers[n + 4], numbers[n + 5], numbers[n + 6], numbers[n + 7]
    last = min(count, first + PIECE)
    whole = first + (last - first) // 8 * 8
    total = zero()
    for k in range(first, whole, 8):
        old = load(p, k)
        gradient = fma(splat(decay), old, load(g, k))
        mean = fma(splat(keep1), load(m, k), multiply(splat(take1), gradient))
        squares = multiply(splat(take2), multiply(gradient, gradient))
        square = fma(splat(keep2), load(v, k), squares)
        store(new_m, k, mean)
        store(new_v, k, square)
        change = divide(mean, add(square_root(square), splat(eps)))
        new = fma(splat(-size), change, multiply(splat(kept), old))
        store(new_p, k, new)
        total = fma(new, new, total)
    squares_of[job] = sum_of(widen(wide_zero(), total))
    for k in range(whole, last):
        one = g[k] + decay * p[k]
        new_m[k] = keep1 * m[k] + take1 * one
        new_v[k] = keep2 * v[k] + take2 * (one * one)
        new_p[k] = kept * p[k] - size * (new_m[k] / (np.sqrt(new_v[k]) + eps))
        squares_of[job] += np.float64(new_p[k]) * new_p[k]


@Job
def _sgd(
    job: int, addresses: Ints, arrays: int, pieces: Ints, numbers: Floats, squares_of: Doubles
) -> None:  # fmt: skip
    """Step along ``direction * buffer + gradient_share * gradient``; see :func:`sgd`."""
    i, first, count = pieces[3 * job], pieces[3 * job + 1], pieces[3 * job + 2]
    p, g = pointer_to(addresses[i]), pointer_to(addresses[arrays + i])
    b, new_p = pointer_to(addresses[2 * arrays + i]), pointer_to(addresses[3 * arrays + i])
    new_b = pointer_to(addresses[4 * arrays + i])
    n = 6 * i
    keep, take, along, share = numbers[n], numbers[n + 1], numbers[n + 2], numbers[n + 3]
    lr, decay = numbers[n + 4], numbers[n + 5]
    last = min(count, first + PIECE)
    whole = first + (last - first) // 8 * 8
    total = zero()
    for k in range(first, whole, 8):
        old = load(p, k)
        gradient = fma(splat(decay), old, load(g, k))
        buffer = fma(splat(keep), load(b, k), multiply(splat(take), gradient))
        store(new_b, k, buffer)
        step = fma(splat(along), buffer, multiply(splat(share), gradient))
        new = fma(splat(-lr), step, old)
        store(new_p, k, new)
        total = fma(new, new, total)
    squares_of[job] = sum_of(widen(wide_zero(), total))
    for k in range(whole, last):
        one = g[k] + decay * p[k]
        new_b[k] = keep * b[k] + take * one
        new_p[k] = p[k] - lr * (along * new_b[k] + share * one)
        squares_of[job] += np.float64(new_p[k]) * new_p[k]


class _Layout(NamedTuple):
    """How the work on some arrays is divided, and where they lie.

    Attributes
    ----------
    pieces : int64 array
        Array, first number and size of the array for each job.
    blocks : list of int
        Sizes of the storage for neighbouring arrays.
    parts : list of (int, slice, tuple of int)
        Block, place in it and shape of each array.
    block, start : int64 arrays
        The same for each array.
    """

    pieces: np.ndarray
    blocks: list[int]
    parts: list[tuple[int, slice, tuple[int, ...]]]
    block: np.ndarray
    start: np.ndarray


@lru_cache(maxsize=64)
def _layout(shapes: tuple[tuple[int, ...], ...]) -> _Layout:
    sizes = [prod(shape) for shape in shapes]
    pieces = [(i, at, n) for i, n in enumerate(sizes) for at in range(0, n, PIECE)]
    blocks, parts = [0], []
    for n, shape in zip(sizes, shapes, strict=True):
        if blocks[-1] and blocks[-1] + n > BLOCK:
            blocks.append(0)
        parts.append((len(blocks) - 1, slice(blocks[-1], blocks[-1] + n), shape))
        blocks[-1] += -(-n // APART) * APART
    block, start = np.array([(b, where.start) for b, where, _ in parts], np.int64).reshape(-1, 2).T
    return _Layout(np.array(pieces, np.int64).reshape(-1, 3), blocks, parts, block, start)


_TAKEN = {np.dtype(np.float32)}


def _takes(*rows: Sequence[Any]) -> bool:
    arrays = [a for row in rows for a in row if a is not None]
    return {a.dtype for a in arrays} <= _TAKEN


def _plain(a: Any) -> np.ndarray:
    if isinstance(a, np.ndarray) and a.flags.c_contiguous and a.flags.aligned:
        return a
    return np.require(a, None, ["C", "A"])


def _update(
    kernel: Any, rows: Sequence[Sequence[Any]], results: int, numbers: np.ndarray
) -> list[list[np.ndarray]]:
    """Run a kernel on all parameters; returns `results` lists of new arrays.

    The first of the rows has the parameters, the others an array for each, or ``None`` for zeros.
    Where all new parameters are moderate, that is noted; see :func:`note_moderate`.
    """
    pieces, blocks, parts, block, start = _layout(tuple([p.shape for p in rows[0]]))
    old = [
        _plain(np.zeros_like(p) if a is None else a)
        for row in rows
        for p, a in zip(rows[0], row, strict=True)
    ]
    new = [[buffers.empty(size) for size in blocks] for _ in range(results)]
    addresses = np.empty((len(rows) + results, len(parts)), np.int64)
    found = addresses_of([*old, *(flat for row in new for flat in row)])
    addresses[: len(rows)] = found[: len(old)].reshape(len(rows), -1)
    addresses[len(rows) :] = found[len(old) :].reshape(results, -1)[:, block] + 4 * start
    squares = np.empty(max(1, len(pieces)))
    threads.launch(
        (results + 1) * sum(blocks),
        kernel,
        len(pieces),
        addresses,
        len(parts),
        pieces,
        numbers,
        squares,
    )
    made = [[row[b][where].reshape(shape) for b, where, shape in parts] for row in new]
    # Sums of the squares of a piece: NaN, infinity and numbers that are too large show in them.
    if (squares[: len(pieces)] <= LARGEST).all():
        note_moderate(made[0])
    return made


def adam(
    xp: Any, parameters: Any, gradients: Any, means: Any, squares: Any, steps: Any, lr: float,
    betas: tuple[float, float], eps: float, decay: tuple[float, float], numbers: Any = None,
) -> Any:  # fmt: skip
    """Make one update of Adam; see :func:`xpcnn.ops.update.adam`."""
    if numbers is not None:
        return Declined("numbers on the device")
    if not _takes(parameters, gradients, means, squares):
        return Declined("float32 only")
    rows = np.empty((len(parameters), 8), np.float32)
    rows[:] = (*betas, 1.0 - betas[0], 1.0 - betas[1], 0.0, 0.0, decay[0], 1.0 - decay[1])
    known = {step: adam_numbers(lr, betas, eps, step) for step in set(steps)}
    rows[:, 4:6] = [known[step] for step in steps]
    return tuple(_update(_adam, (parameters, gradients, means, squares), 3, rows)), None


def sgd(
    xp: Any, parameters: Any, gradients: Any, kept: Any, lr: float, momentum: float,
    dampening: float, nesterov: bool, decay: float, numbers: Any = None,
) -> Any:  # fmt: skip
    """Make one update of gradient descent; see :func:`xpcnn.ops.update.sgd`."""
    if numbers is not None:
        return Declined("numbers on the device")
    if not _takes(parameters, gradients, kept):
        return Declined("float32 only")
    rows = np.empty((len(parameters), 6), np.float32)
    for row, buffer in zip(rows, kept, strict=True):
        # The first gradient fills the buffer; without momentum there is none to speak of.
        fresh = buffer is None or not momentum
        row[:2] = (0.0, 1.0) if fresh else (momentum, 1.0 - dampening)
        row[2:4] = (momentum, 1.0) if nesterov else (1.0, 0.0)
    rows[:, 4:] = lr, decay
    values, filled = _update(_sgd, (parameters, gradients, kept), 2, rows)
    return (values, filled if momentum else list(kept)), None
