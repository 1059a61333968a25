"""Batch normalisation, alone or with what follows it: adding a shortcut, and ReLU.

No normalised copy of x is kept: backward works it out.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined

OPEN, RECOMPUTED, FROM_OUTPUT = range(3)
"""Which gradients pass: all; those of positive outputs, worked out anew; or read from y."""

ROUNDS = 16
"""Elements that a thread reduces in a row."""


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    x : array
    last : bool
        Whether its memory is channels-last.
    mean, variance, gamma, beta : arrays with one number per channel, or None
        In the dtype that is computed with.
    eps : float
    y : array or None
        The output, where a shortcut was added and ReLU gates the gradient.
    gate : int
        One of :data:`OPEN` and its neighbours.
    own_statistics : bool
        Whether mean and variance were those of x.
    dtype : dtype
        That of the parameters' gradients.
    """

    x: Array
    last: bool
    mean: Array
    variance: Array
    gamma: Array | None
    beta: Array | None
    eps: float
    y: Array | None
    gate: int
    own_statistics: bool
    dtype: Any


class _Cut(NamedTuple):
    """How the positions of x are cut for the reductions; see norm.cu."""

    lanes: int
    per: int
    pieces: int
    blocks: int


def _plain_forward(
    relu: bool, xp: ModuleType, x: Array, gamma: Array | None, beta: Array | None, eps: float,
    statistics: Any,
) -> Any:  # fmt: skip
    """Normalise the channels of x (N, C, ...), then perhaps ReLU; see the generic kernel."""
    return _forward(xp, x, None, gamma, beta, eps, statistics, relu)


batch_norm_forward = partial(_plain_forward, False)
batch_norm_relu_forward = partial(_plain_forward, True)


def batch_norm_add_relu_forward(
    xp: ModuleType, x: Array, gamma: Array | None, beta: Array | None, eps: float,
    statistics: Any, other: Array,
) -> Any:  # fmt: skip
    """Normalise x, add `other` (of its shape), then ReLU."""
    if other.shape != x.shape:
        return Declined(f"adding shape {tuple(other.shape)} to {tuple(x.shape)}")
    return _forward(xp, x, other, gamma, beta, eps, statistics, True)


def batch_norm_backward(
    xp: ModuleType, dy: Array, saved: State, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Return (dx, dgamma, dbeta), after :func:`batch_norm_forward` or the one with ReLU."""
    return batch_norm_add_relu_backward(xp, dy, saved, need_dx)[:3]


def _forward(
    xp: ModuleType, x: Array, other: Array | None, gamma: Array | None, beta: Array | None,
    eps: float, statistics: Any, closes: bool,
) -> Any:  # fmt: skip
    if refusal := source.refusal(x, other):
        return refusal
    x, last = source.dense(xp, x)
    given = [a for a in (gamma, *(statistics or ())) if a is not None]
    dtype = given[0].dtype if given else source.computed(_xp.dtype_name(x))
    gamma, beta = (_computed(xp, a, x) for a in (gamma, beta))
    if statistics is None:
        mean, variance = _statistics(xp, x, last)
    else:
        mean, variance = (_computed(xp, a, x) for a in statistics)
    if other is not None:
        other = source.laid_out(xp, other, last)
    y = source.empty(xp, tuple(x.shape), x, last)
    source.launch(
        "norm.cu", "normalise", x, source.blocks_for(x.size), x, other, mean, variance, gamma,
        beta, float(eps), y, x.shape[1], source.positions_inside(x, last), closes, x.size,
    )  # fmt: skip
    gate = OPEN if not closes else RECOMPUTED if other is None else FROM_OUTPUT
    state = State(
        x, last, mean, variance, gamma, beta, float(eps), y if gate == FROM_OUTPUT else None, gate,
        statistics is None, dtype,
    )  # fmt: skip
    return (y, xp.astype(mean, dtype, copy=False), xp.astype(variance, dtype, copy=False)), state


def _computed(xp: ModuleType, values: Array | None, x: Array) -> Array | None:
    """Return numbers per channel, side by side in memory, in the dtype that x is computed with."""
    if values is None:
        return None
    kind = source.computed(_xp.dtype_name(x))
    return xp.ascontiguousarray(xp.astype(values, kind, copy=False))


def _cut(x: Array, last: bool) -> _Cut:
    channels, positions = x.shape[1], x.size // x.shape[1]
    lanes = source.LANES if source.positions_inside(x, last) == 1 else 1
    per = source.THREADS // lanes * ROUNDS
    pieces = -(-positions // per)
    return _Cut(lanes, per, pieces, pieces * -(-channels // lanes))


def _statistics(xp: ModuleType, x: Array, last: bool) -> tuple[Array, Array]:
    """Return mean and variance of every channel."""
    channels, positions, cut = x.shape[1], x.size // x.shape[1], _cut(x, last)
    kind = source.computed(_xp.dtype_name(x))
    partial = source.empty(xp, (2, channels, cut.pieces), x, False, kind)
    source.launch(
        "norm.cu", "moments", x, cut.blocks, x, partial, channels,
        source.positions_inside(x, last), positions, cut.lanes, cut.per, cut.pieces,
    )  # fmt: skip
    mean, variance = (source.empty(xp, (channels,), x, False, kind) for _ in range(2))
    source.launch(
        "norm.cu", "combine_moments", x, channels, partial, mean, variance, channels, positions,
        cut.per, cut.pieces,
    )  # fmt: skip
    return mean, variance


def batch_norm_add_relu_backward(
    xp: ModuleType, dy: Array, saved: State, need_dx: bool
) -> tuple[Array | None, Array, Array, Array | None]:
    """Return (dx, dgamma, dbeta, dother)."""
    x, last = saved.x, saved.last
    dy = source.laid_out(xp, dy, last)
    channels, positions, cut = x.shape[1], x.size // x.shape[1], _cut(x, last)
    inner = source.positions_inside(x, last)
    kind = source.computed(_xp.dtype_name(x))
    partial = source.empty(xp, (2, channels, cut.pieces), x, False, kind)
    given = (
        dy, x, saved.y, saved.mean, saved.variance, saved.gamma, saved.beta, saved.eps, saved.gate,
    )  # fmt: skip
    source.launch(
        "norm.cu", "gradient_sums", x, cut.blocks, *given, partial, channels, inner, positions,
        cut.lanes, cut.per, cut.pieces,
    )  # fmt: skip
    dgamma, dbeta = (source.empty(xp, (channels,), x, False, kind) for _ in range(2))
    source.launch(
        "norm.cu", "combine_sums", x, channels, partial, saved.variance, saved.eps, dgamma, dbeta,
        channels, cut.pieces,
    )  # fmt: skip
    shape = tuple(x.shape)
    dx = source.empty(xp, shape, x, last) if need_dx else None
    passed = source.empty(xp, shape, x, last) if saved.gate == FROM_OUTPUT else None
    if dx is not None or passed is not None:
        source.launch(
            "norm.cu", "input_gradient", x, source.blocks_for(x.size), *given, dgamma, dbeta,
            saved.own_statistics, dx, passed, channels, inner, positions, x.size,
        )  # fmt: skip
    gradients = (xp.astype(a, saved.dtype, copy=False) for a in (dgamma, dbeta))
    return dx, *gradients, passed
