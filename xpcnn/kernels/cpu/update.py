"""Parameter updates in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.vector import (
    add,
    divide,
    fma,
    load,
    multiply,
    splat,
    square_root,
    store,
)
from xpcnn.kernels.generic.update import adam_numbers

PIECE = 8192
"""Numbers that one job updates."""


@njit(nogil=True, parallel=True, cache=True)
def _adam(
    p: Any, g: Any, m: Any, v: Any, new_p: Any, new_m: Any, new_v: Any,
    keep1: Any, keep2: Any, take1: Any, take2: Any, size: Any, eps: Any,
) -> None:  # fmt: skip
    count = p.size
    for job in prange((count + PIECE - 1) // PIECE):
        first, last = job * PIECE, min(count, (job + 1) * PIECE)
        whole = first + (last - first) // 8 * 8
        for i in range(first, whole, 8):
            gradient = load(g, i)
            mean = fma(splat(keep1), load(m, i), multiply(splat(take1), gradient))
            squares = multiply(splat(take2), multiply(gradient, gradient))
            square = fma(splat(keep2), load(v, i), squares)
            store(new_m, i, mean)
            store(new_v, i, square)
            change = divide(mean, add(square_root(square), splat(eps)))
            store(new_p, i, fma(splat(-size), change, load(p, i)))
        for i in range(whole, last):
            new_m[i] = keep1 * m[i] + take1 * g[i]
            new_v[i] = keep2 * v[i] + take2 * (g[i] * g[i])
            new_p[i] = p[i] - size * (new_m[i] / (np.sqrt(new_v[i]) + eps))


def adam(
    xp: Any, p: Any, g: Any, mean: Any, square: Any, lr: float, betas: tuple[float, float],
    eps: float, step: int,
) -> Any:  # fmt: skip
    """Make one update of Adam; see :func:`xpcnn.kernels.generic.update.adam`."""
    if p.dtype != np.float32 or g.dtype != np.float32:
        return NotImplemented
    arrays = [p, g, *(np.zeros_like(p) if a is None else a for a in (mean, square))]
    old = [np.require(a, np.float32, ["C", "A", "W"]).reshape(-1) for a in arrays]
    new = [buffers.empty(p.shape) for _ in range(3)]
    size, eps = adam_numbers(lr, betas, eps, step)
    keep1, keep2 = betas
    numbers = (keep1, keep2, 1.0 - keep1, 1.0 - keep2, size, eps)
    threads.launch(
        4 * p.size, _adam, *old, *(a.reshape(-1) for a in new), *map(np.float32, numbers)
    )
    return tuple(new), None
