"""Updates of all parameters in one launch; the arrays are handed over by address.

The new arrays of one kind lie side by side in one piece of memory, so after the first update all
addresses but those of the gradients follow from few allocations. CuPy's memory pool gives the same
memory to every step, as a rule, and then the tables of addresses are on the device already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined
from xpcnn.ops.update import adam_numbers
from xpcnn.window import Ints

PIECE = 4096
"""Elements that one block updates."""

APART = 64
"""Parameters of a common array start at multiples of this."""

_Row = Sequence[Array | None]


def adam(
    xp: ModuleType, parameters: Sequence[Array], gradients: Sequence[Array], means: _Row,
    squares: _Row, steps: Sequence[int], lr: float, betas: tuple[float, float], eps: float,
    decay: tuple[float, float], numbers: Array | None = None,
) -> Any:  # fmt: skip
    """Make one update of Adam; see :func:`xpcnn.ops.update.adam`."""
    if refusal := _refusal(parameters, gradients, means, squares):
        return refusal
    rows = (parameters, gradients, means, squares)
    new: tuple[list[Any], ...] = tuple([None] * len(parameters) for _ in range(3))
    # As a rule all parameters are at the same update; what differs is a launch of its own.
    for step in sorted(set(steps)):
        chosen = [i for i, s in enumerate(steps) if s == step]
        size, small = adam_numbers(lr, betas, eps, step)
        values = (
            betas[0], 1.0 - betas[0], betas[1], 1.0 - betas[1], size, small, decay[0],
            1.0 - decay[1], numbers,
        )  # fmt: skip
        results = _update(xp, "adam", [[row[i] for i in chosen] for row in rows], 3, 3, values)
        for to, arrays in zip(new, results, strict=True):
            for i, array in zip(chosen, arrays, strict=True):
                to[i] = array
    return new, None


def sgd(
    xp: ModuleType, parameters: Sequence[Array], gradients: Sequence[Array], buffers: _Row,
    lr: float, momentum: float, dampening: float, nesterov: bool, decay: float,
    numbers: Array | None = None,
) -> Any:  # fmt: skip
    """Make one update of gradient descent; see :func:`xpcnn.ops.update.sgd`."""
    if refusal := _refusal(parameters, gradients, buffers):
        return refusal
    values = (float(momentum), 1.0 - dampening, nesterov, float(lr), float(decay), numbers)
    kept = 2 if momentum else 1
    results = _update(xp, "sgd", (parameters, gradients, buffers), 2, kept, values)
    return (results[0], results[1] if momentum else list(buffers)), None


def _refusal(parameters: Sequence[Array], *rows: _Row) -> Declined | None:
    arrays = [a for row in (parameters, *rows) for a in row if a is not None]
    names = {_xp.dtype_name(a) for a in arrays}
    if len(names) != 1 or not names <= {"float32", "float64"}:
        return Declined(f"{' and '.join(sorted(names)) or 'no'} arrays")
    return None


@lru_cache(maxsize=64)
def _layout(shapes: tuple[Ints, ...]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return the jobs as update.cu takes them, where the arrays start in a common one, its size."""
    sizes = [prod(shape) for shape in shapes]
    jobs = tuple(v for i, n in enumerate(sizes) for at in range(0, n, PIECE) for v in (i, at, n))
    starts = np.cumsum([0, *(-(-n // APART) * APART for n in sizes)]).tolist()
    return jobs, tuple(starts[:-1]), starts[-1]


def _address(a: Array | None) -> int:
    """Return where an array starts, 0 for none."""
    if a is None:
        return 0
    if isinstance(a, np.ndarray):
        return int(a.ctypes.data)
    return int(a.data.ptr)


def _update(
    xp: ModuleType, kernel: str, rows: Sequence[_Row], results: int, written: int,
    numbers: Sequence[Any],
) -> list[list[Array]]:  # fmt: skip
    """Run a kernel on all parameters; returns a list of new arrays for each of those `written`.

    Parameters
    ----------
    rows : sequences of arrays
        The parameters first.
    results : int
        How many kinds of new arrays the kernel knows.
    """
    old = [[None if a is None else source.laid_out(xp, a, False) for a in row] for row in rows]
    like: Any = old[0][0]
    shapes = tuple(tuple(p.shape) for p in rows[0])  # type: ignore[union-attr]
    jobs, starts, size = _layout(shapes)
    flat = [source.empty(xp, (size,), like, False) for _ in range(written)]
    table = [_address(a) for row in old for a in row]
    for part in [*flat, *[None] * (results - written)]:
        base = _address(part)
        table += [base + like.itemsize * at if base else 0 for at in starts]
    if jobs:
        addresses = source.constants(xp, like, tuple(table), np.int64)
        pieces = source.constants(xp, like, jobs, np.int64)
        source.launch(
            "update.cu", kernel, like, len(jobs) // 3, addresses, len(shapes), pieces, PIECE,
            *numbers,
        )  # fmt: skip
    return [
        [
            xp.reshape(part[at : at + prod(shape)], shape)
            for at, shape in zip(starts, shapes, strict=True)
        ]
        for part in flat
    ]
