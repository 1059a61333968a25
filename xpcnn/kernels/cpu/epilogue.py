"""What is done to the results of a product right away: a sum with another array, an activation.

Results that are kept between two limits (ReLU, ReLU6, Hardtanh) never leave the registers before
they are. For any other activation, and for a sum, a row of results is read again while it is in the
first-level cache, which costs little beside the pass over memory that it saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import formulas
from xpcnn.kernels.cpu.jobs import inner
from xpcnn.kernels.cpu.vector import WIDE, add, load_full, room, store_full

NONE, LIMITS, LEAKY_RELU, HARDSWISH, HARDSIGMOID, SILU, SIGMOID = range(7)
TANH, GELU, GELU_TANH, SOFTPLUS, ELU, MISH = range(7, 13)

KINDS = {
    "hardtanh": LIMITS, "leaky_relu": LEAKY_RELU, "hardswish": HARDSWISH,
    "hardsigmoid": HARDSIGMOID, "silu": SILU, "sigmoid": SIGMOID, "tanh": TANH, "gelu": GELU,
    "gelu_tanh": GELU_TANH, "softplus": SOFTPLUS, "elu": ELU, "mish": MISH,
}  # fmt: skip
"""Activations by the names of their formulas, each with the number by which kernels know it."""


class Epilogue(NamedTuple):
    """An activation behind a product.

    Attributes
    ----------
    kind : int
        One of :data:`KINDS`, or ``NONE``.
    settings : tuple of float
        What its formula reads; for ``LIMITS`` the least and the largest.
    """

    kind: int
    settings: tuple[float, ...]


NOTHING = Epilogue(NONE, (-np.inf, np.inf))
RELU = Epilogue(LIMITS, (0.0, np.inf))


def _over_rows(formula: Callable[..., Any]) -> Callable[..., None]:
    """Make a function that replaces the numbers of whole vectors by what a formula gives."""

    @inner
    def run(y: Any, start: int, stop: int, settings: Any) -> None:
        for k in range(start, stop, WIDE):
            store_full(y, k, formula(load_full(y, k), settings))

    return run


_hardtanh = _over_rows(formulas.hardtanh)
_leaky_relu = _over_rows(formulas.leaky_relu)
_hardswish = _over_rows(formulas.hardswish)
_hardsigmoid = _over_rows(formulas.hardsigmoid)
_silu = _over_rows(formulas.silu)
_sigmoid = _over_rows(formulas.sigmoid)
_tanh = _over_rows(formulas.tanh)
_gelu = _over_rows(formulas.gelu)
_gelu_tanh = _over_rows(formulas.gelu_tanh)
_softplus = _over_rows(formulas.softplus)
_elu = _over_rows(formulas.elu)
_mish = _over_rows(formulas.mish)


@inner
def activate(y: Any, at: int, count: int, kind: int, settings: Any) -> None:
    """Replace `count` numbers, a multiple of ``WIDE``, by the activation of some kind."""
    end = at + count
    if kind == LIMITS:
        _hardtanh(y, at, end, settings)
    elif kind == LEAKY_RELU:
        _leaky_relu(y, at, end, settings)
    elif kind == HARDSWISH:
        _hardswish(y, at, end, settings)
    elif kind == HARDSIGMOID:
        _hardsigmoid(y, at, end, settings)
    elif kind == SILU:
        _silu(y, at, end, settings)
    elif kind == SIGMOID:
        _sigmoid(y, at, end, settings)
    elif kind == TANH:
        _tanh(y, at, end, settings)
    elif kind == GELU:
        _gelu(y, at, end, settings)
    elif kind == GELU_TANH:
        _gelu_tanh(y, at, end, settings)
    elif kind == SOFTPLUS:
        _softplus(y, at, end, settings)
    elif kind == ELU:
        _elu(y, at, end, settings)
    elif kind == MISH:
        _mish(y, at, end, settings)


@inner
def add_row(y: Any, at: int, count: int, other: Any, source: int) -> None:
    """Add `count` numbers, a multiple of ``WIDE``, of another array to those of y."""
    for k in range(0, count, WIDE):
        store_full(y, at + k, add(load_full(y, at + k), load_full(other, source + k)))


@inner
def finish(
    y: Any, at: int, cells: Any, first: int, last: int, count: int, adds: int, other: Any,
    kind: int, settings: Any,
) -> None:  # fmt: skip
    """Do the sum, if `adds` is 1, and the activation of some rows of whole vectors.

    Row p has `count` results from ``at + cells[p]`` on, in y and in `other`.
    """
    for p in range(first, last):
        start = at + cells[p]
        if adds == 1:
            add_row(y, start, count, other, start)
        activate(y, start, count, kind, settings)


@inner
def finish_any(
    y: Any, at: int, count: int, adds: int, other: Any, source: int, kind: int, settings: Any
) -> None:
    """Do the sum, if `adds` is 1, and the activation of any number of results."""
    whole = count // WIDE * WIDE
    if adds == 1:
        add_row(y, at, whole, other, source)
        for k in range(whole, count):
            y[at + k] += other[source + k]
    activate(y, at, whole, kind, settings)
    if whole < count and kind != NONE:
        rest = room()
        for k in range(WIDE):
            rest[k] = y[at + min(whole + k, count - 1)]
        activate(rest, 0, WIDE, kind, settings)
        for k in range(whole, count):
            y[at + k] = rest[k - whole]
