"""Losses of numbers and of yes/no answers: one pass over memory for the terms, one for the slopes.

Each loss is a pair of formulas of vectors, as activations are in :mod:`.formulas`: the term, and
its derivative with respect to the prediction x, given the target t. Backward works it out from
both, which are there anyway, so that nothing besides is kept.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import CHEAP, COSTLY, named_job, refused
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import exp, log, log1p, sigmoid
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import (
    WIDTH,
    absolute,
    add,
    at_least,
    at_most,
    divide,
    fma,
    load,
    load_splat,
    multiply,
    negative,
    splat,
    store,
    subtract,
    where_at_most,
    where_equal,
    where_less,
    with_sign,
    zero,
)
from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.trace import Declined


@inner
def squared(x: Any, t: Any, settings: Any) -> Any:
    """Return the squared difference."""
    difference = subtract(x, t)
    return multiply(difference, difference)


@inner
def squared_slope(x: Any, t: Any, settings: Any) -> Any:
    return multiply(splat(2.0), subtract(x, t))


@inner
def absolute_difference(x: Any, t: Any, settings: Any) -> Any:
    """Return the absolute difference."""
    return absolute(subtract(x, t))


@inner
def absolute_difference_slope(x: Any, t: Any, settings: Any) -> Any:
    difference = subtract(x, t)
    sign = with_sign(splat(1.0), difference)
    sign = where_equal(difference, zero(), zero(), sign)
    return where_equal(difference, difference, sign, difference)


@inner
def huber(x: Any, t: Any, settings: Any) -> Any:
    """Return half the squared difference, and a line beyond the setting."""
    delta, size = load_splat(settings, 0), absolute(subtract(x, t))
    line = multiply(delta, subtract(size, multiply(splat(0.5), delta)))
    return where_at_most(size, delta, multiply(multiply(splat(0.5), size), size), line)


@inner
def huber_slope(x: Any, t: Any, settings: Any) -> Any:
    delta = load_splat(settings, 0)
    return at_most(at_least(subtract(x, t), negative(delta)), delta)


@inner
def smooth_l1(x: Any, t: Any, settings: Any) -> Any:
    """Return the absolute difference, rounded off below the setting, which is not zero."""
    beta, size = load_splat(settings, 0), absolute(subtract(x, t))
    below = at_most(size, beta)
    curve = divide(multiply(multiply(splat(0.5), below), below), beta)
    return where_less(size, beta, curve, subtract(size, multiply(splat(0.5), beta)))


@inner
def smooth_l1_slope(x: Any, t: Any, settings: Any) -> Any:
    beta = load_splat(settings, 0)
    return divide(at_most(at_least(subtract(x, t), negative(beta)), beta), beta)


@inner
def bce_with_logits(x: Any, t: Any, settings: Any) -> Any:
    """Return ``-t * log(sigmoid(x)) - (1 - t) * log(1 - sigmoid(x))``."""
    # Neither logarithm is made of the other by adding x: what is small would be lost.
    rest = log1p(exp(negative(absolute(x))))
    if_yes = multiply(t, add(at_least(negative(x), zero()), rest))
    return fma(subtract(splat(1.0), t), add(at_least(x, zero()), rest), if_yes)


@inner
def bce_with_logits_slope(x: Any, t: Any, settings: Any) -> Any:
    if_no = multiply(subtract(splat(1.0), t), sigmoid(x))
    return subtract(if_no, multiply(t, sigmoid(negative(x))))


@inner
def bce(x: Any, t: Any, settings: Any) -> Any:
    """Return ``-t * log(x) - (1 - t) * log(1 - x)``, with no logarithm below -100."""
    log_yes = at_least(log(x), splat(-100.0))
    log_no = at_least(log1p(negative(x)), splat(-100.0))
    return subtract(multiply(subtract(t, splat(1.0)), log_no), multiply(t, log_yes))


@inner
def bce_slope(x: Any, t: Any, settings: Any) -> Any:
    """Divide by what is no smaller than the setting."""
    below = at_least(multiply(x, subtract(splat(1.0), x)), load_splat(settings, 0))
    return divide(subtract(x, t), below)


class PointwiseLoss(NamedTuple):
    """How a loss is computed.

    Attributes
    ----------
    run, run_back : Job
        ``(x, t, size, settings, terms)`` and ``(x, t, size, settings, scale, dx)``.
    work : int
        Elementary operations for each number.
    """

    run: Job
    run_back: Job
    work: int


def _loss(name: str, term: Any, slope: Any, work: int) -> PointwiseLoss:
    """Make the two jobs of a loss, under names by which their machine code is kept."""

    def run(job: int, x: Floats, t: Floats, size: int, settings: Floats, terms: Floats) -> None:
        last = min(size, (job + 1) * PIECE)
        for k in range(job * PIECE, last, WIDTH):
            c = min(k, last - WIDTH)
            store(terms, c, term(load(x, c), load(t, c), settings))

    def run_back(
        job: int, x: Floats, t: Floats, size: int, settings: Floats, scale: float, dx: Floats
    ) -> None:  # fmt: skip
        last = min(size, (job + 1) * PIECE)
        for k in range(job * PIECE, last, WIDTH):
            c = min(k, last - WIDTH)
            store(dx, c, multiply(splat(scale), slope(load(x, c), load(t, c), settings)))

    return PointwiseLoss(named_job(run, name), named_job(run_back, f"{name}_slope"), work)


TABLE = {
    "mse_loss": _loss("mse_loss", squared, squared_slope, CHEAP),
    "l1_loss": _loss("l1_loss", absolute_difference, absolute_difference_slope, CHEAP),
    "huber_loss": _loss("huber_loss", huber, huber_slope, CHEAP),
    "smooth_l1_loss": _loss("smooth_l1_loss", smooth_l1, smooth_l1_slope, CHEAP),
    "bce_with_logits_loss": _loss(
        "bce_with_logits_loss", bce_with_logits, bce_with_logits_slope, COSTLY
    ),
    "bce_loss": _loss("bce_loss", bce, bce_slope, COSTLY),
}
"""The losses by the name of their operation."""


class State(NamedTuple):
    """What backward needs: what was compared, and the settings."""

    x: np.ndarray
    target: np.ndarray
    settings: np.ndarray


def forward(name: str, xp: Any, x: Any, target: Any, *settings: float) -> Any:
    """Return the terms of a loss, in the memory order of the prediction x."""
    if refusal := refused(x) or refused(target):
        return refusal
    if x.shape != target.shape:
        return Declined(f"predictions of shape {x.shape} and targets of shape {target.shape}")
    loss = TABLE[name]
    # What reads no settings is given the address of a number all the same.
    numbers = np.array(settings or (0.0,), np.float32)
    order = memory_order(x)
    dense = in_order(x, order)
    flat = buffers.empty(dense.shape)
    threads.launch(
        loss.work * x.size, loss.run, -(-x.size // PIECE), dense.reshape(-1),
        in_order(target, order).reshape(-1), x.size, numbers, flat.reshape(-1),
    )  # fmt: skip
    return flat.transpose(inverse(order)), State(x, target, numbers)


def backward(name: str, xp: Any, scale: Any, saved: State) -> Any:
    """Return the gradient of ``sum(scale * terms)``; scale is a number or fits the terms."""
    loss, (x, target, settings) = TABLE[name], saved
    order = memory_order(x)
    dense = in_order(x, order)
    flat = buffers.empty(dense.shape)
    single = isinstance(scale, float) or (scale.ndim == 0 and scale.dtype == np.float32)
    threads.launch(
        loss.work * x.size, loss.run_back, -(-x.size // PIECE), dense.reshape(-1),
        in_order(target, order).reshape(-1), x.size, settings, float(scale) if single else 1.0,
        flat.reshape(-1),
    )  # fmt: skip
    gradient = flat.transpose(inverse(order))
    return gradient if single else scale * gradient


PAIRS = {name: OpPair(partial(forward, name), partial(backward, name)) for name in TABLE}
"""The pairs by the name of their operation."""
