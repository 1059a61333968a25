"""Losses of numbers and of yes/no answers: one pass over memory forward, and one for the slopes.

Each loss is a pair of formulas of vectors, as activations are in :mod:`.formulas`: the term, and
its derivative with respect to the prediction x, given the target t. Backward works it out from
both, which are there anyway, so that nothing besides is kept.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import CHEAP, COSTLY, named_job
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import exp, log, log1p, sigmoid
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job, inner
from xpcnn.kernels.cpu.loss import sum_of_jobs
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import (
    RUN,
    SIXTEEN,
    absolute,
    add,
    all_like,
    at_least,
    at_most,
    divide,
    fma,
    keep_first,
    load_all_like,
    load_first,
    load_sixteen,
    multiply,
    negative,
    splat_sixteen,
    store_first,
    store_sixteen,
    subtract,
    sum_of,
    where_at_most,
    where_equal,
    where_less,
    wide_zero,
    widen_both,
    with_sign,
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
    return multiply(all_like(x, 2.0), subtract(x, t))


@inner
def absolute_difference(x: Any, t: Any, settings: Any) -> Any:
    """Return the absolute difference."""
    return absolute(subtract(x, t))


@inner
def absolute_difference_slope(x: Any, t: Any, settings: Any) -> Any:
    difference = subtract(x, t)
    sign = with_sign(all_like(x, 1.0), difference)
    sign = where_equal(difference, all_like(x, 0.0), all_like(x, 0.0), sign)
    return where_equal(difference, difference, sign, difference)


@inner
def huber(x: Any, t: Any, settings: Any) -> Any:
    """Return half the squared difference, and a line beyond the setting."""
    delta, size = load_all_like(x, settings, 0), absolute(subtract(x, t))
    line = multiply(delta, subtract(size, multiply(all_like(x, 0.5), delta)))
    return where_at_most(size, delta, multiply(multiply(all_like(x, 0.5), size), size), line)


@inner
def huber_slope(x: Any, t: Any, settings: Any) -> Any:
    delta = load_all_like(x, settings, 0)
    return at_most(at_least(subtract(x, t), negative(delta)), delta)


@inner
def smooth_l1(x: Any, t: Any, settings: Any) -> Any:
    """Return the absolute difference, rounded off below the setting, which is not zero."""
    beta, size = load_all_like(x, settings, 0), absolute(subtract(x, t))
    below = at_most(size, beta)
    curve = divide(multiply(multiply(all_like(x, 0.5), below), below), beta)
    return where_less(size, beta, curve, subtract(size, multiply(all_like(x, 0.5), beta)))


@inner
def smooth_l1_slope(x: Any, t: Any, settings: Any) -> Any:
    beta = load_all_like(x, settings, 0)
    return divide(at_most(at_least(subtract(x, t), negative(beta)), beta), beta)


@inner
def bce_with_logits(x: Any, t: Any, settings: Any) -> Any:
    """Return ``-t * log(sigmoid(x)) - (1 - t) * log(1 - sigmoid(x))``."""
    # Neither logarithm is made of the other by adding x: what is small would be lost.
    rest = log1p(exp(negative(absolute(x))))
    if_yes = multiply(t, add(at_least(negative(x), all_like(x, 0.0)), rest))
    return fma(subtract(all_like(x, 1.0), t), add(at_least(x, all_like(x, 0.0)), rest), if_yes)


@inner
def bce_with_logits_slope(x: Any, t: Any, settings: Any) -> Any:
    if_no = multiply(subtract(all_like(x, 1.0), t), sigmoid(x))
    return subtract(if_no, multiply(t, sigmoid(negative(x))))


@inner
def bce(x: Any, t: Any, settings: Any) -> Any:
    """Return ``-t * log(x) - (1 - t) * log(1 - x)``, with no logarithm below -100."""
    log_yes = at_least(log(x), all_like(x, -100.0))
    log_no = at_least(log1p(negative(x)), all_like(x, -100.0))
    return subtract(multiply(subtract(t, all_like(x, 1.0)), log_no), multiply(t, log_yes))


@inner
def bce_slope(x: Any, t: Any, settings: Any) -> Any:
    """Divide by what is no smaller than the setting."""
    below = at_least(multiply(x, subtract(all_like(x, 1.0), x)), load_all_like(x, settings, 0))
    return divide(subtract(x, t), below)


@inner
def soft_margin(x: Any, t: Any, settings: Any) -> Any:
    """Return ``log(1 + exp(-t * x))``."""
    z = multiply(negative(t), x)
    return add(at_least(z, all_like(x, 0.0)), log1p(exp(negative(absolute(z)))))


@inner
def soft_margin_slope(x: Any, t: Any, settings: Any) -> Any:
    return multiply(negative(t), sigmoid(multiply(negative(t), x)))


@inner
def hinge_embedding(x: Any, t: Any, settings: Any) -> Any:
    """Return x but where t is -1, plus what x lacks to the setting but where t is 1."""
    lacking = at_least(subtract(load_all_like(x, settings, 0), x), all_like(x, 0.0))
    near = where_equal(t, all_like(x, -1.0), all_like(x, 0.0), x)
    return add(near, where_equal(t, all_like(x, 1.0), all_like(x, 0.0), lacking))


@inner
def hinge_embedding_slope(x: Any, t: Any, settings: Any) -> Any:
    none, one = all_like(x, 0.0), all_like(x, 1.0)
    lacks = where_at_most(none, subtract(load_all_like(x, settings, 0), x), one, none)
    near = where_equal(t, all_like(x, -1.0), none, one)
    return subtract(near, where_equal(t, one, none, lacks))


@inner
def margin_ranking(x: Any, t: Any, settings: Any) -> Any:
    """Return what t * x lacks to the setting, for the difference x of two scores."""
    return at_least(subtract(load_all_like(x, settings, 0), multiply(t, x)), all_like(x, 0.0))


@inner
def margin_ranking_slope(x: Any, t: Any, settings: Any) -> Any:
    lacking = subtract(load_all_like(x, settings, 0), multiply(t, x))
    return where_at_most(all_like(x, 0.0), lacking, negative(t), all_like(x, 0.0))


@inner
def kl_div(x: Any, t: Any, settings: Any) -> Any:
    """Return ``t * log(t) - t * x``; 0 * log(0) counts as 0."""
    entropy = multiply(t, log(where_equal(t, all_like(x, 0.0), all_like(x, 1.0), t)))
    return subtract(entropy, multiply(t, x))


@inner
def kl_div_slope(x: Any, t: Any, settings: Any) -> Any:
    return negative(t)


@inner
def kl_div_of_logs(x: Any, t: Any, settings: Any) -> Any:
    """Return ``exp(t) * (t - x)``."""
    return multiply(exp(t), subtract(t, x))


@inner
def kl_div_of_logs_slope(x: Any, t: Any, settings: Any) -> Any:
    return negative(exp(t))


@inner
def poisson_nll(x: Any, t: Any, settings: Any) -> Any:
    """Return ``exp(x) - t * x``."""
    return subtract(exp(x), multiply(t, x))


@inner
def poisson_nll_slope(x: Any, t: Any, settings: Any) -> Any:
    return subtract(exp(x), t)


@inner
def poisson_nll_of_rates(x: Any, t: Any, settings: Any) -> Any:
    """Return ``x - t * log(x + setting)``."""
    return subtract(x, multiply(t, log(add(x, load_all_like(x, settings, 0)))))


@inner
def poisson_nll_of_rates_slope(x: Any, t: Any, settings: Any) -> Any:
    least = load_all_like(x, settings, 0)
    return divide(add(subtract(x, t), least), add(x, least))


class PointwiseLoss(NamedTuple):
    """How a loss is computed.

    Attributes
    ----------
    run, run_to_sum, run_back : Job
        ``(x, t, size, settings, terms)``, ``(x, t, size, settings, sums)`` and
        ``(x, t, size, settings, scale, dx)``.
    work : int
        Elementary operations for each number.
    """

    run: Job
    run_to_sum: Job
    run_back: Job
    work: int


def _loss(name: str, term: Any, slope: Any, work: int) -> PointwiseLoss:
    """Make the jobs of a loss, under names by which their machine code is kept."""

    def run(job: int, x: Floats, t: Floats, size: int, settings: Floats, terms: Floats) -> None:
        last = min(size, (job + 1) * PIECE)
        whole = last - last % SIXTEEN
        for k in range(job * PIECE, whole, SIXTEEN):
            store_sixteen(terms, k, term(load_sixteen(x, k), load_sixteen(t, k), settings))
        left = last - whole
        if left > 0:
            value = term(load_first(x, whole, left, 0.0), load_first(t, whole, left, 0.0), settings)
            store_first(terms, whole, value, left)

    def run_to_sum(
        job: int, x: Floats, t: Floats, size: int, settings: Floats, sums: Doubles
    ) -> None:  # fmt: skip
        last = min(size, (job + 1) * PIECE)
        whole = last - last % SIXTEEN
        total = wide_zero()
        for start in range(job * PIECE, whole, RUN * SIXTEEN):
            part = splat_sixteen(0.0)
            for k in range(start, min(whole, start + RUN * SIXTEEN), SIXTEEN):
                part = add(part, term(load_sixteen(x, k), load_sixteen(t, k), settings))
            total = widen_both(total, part)
        left = last - whole
        if left > 0:
            value = term(load_first(x, whole, left, 0.0), load_first(t, whole, left, 0.0), settings)
            total = widen_both(total, keep_first(value, left))
        sums[job] = sum_of(total)

    def run_back(
        job: int, x: Floats, t: Floats, size: int, settings: Floats, scale: float, dx: Floats
    ) -> None:  # fmt: skip
        last = min(size, (job + 1) * PIECE)
        whole = last - last % SIXTEEN
        for k in range(job * PIECE, whole, SIXTEEN):
            value = slope(load_sixteen(x, k), load_sixteen(t, k), settings)
            store_sixteen(dx, k, multiply(splat_sixteen(scale), value))
        left = last - whole
        if left > 0:
            value = slope(
                load_first(x, whole, left, 0.0), load_first(t, whole, left, 0.0), settings
            )
            store_first(dx, whole, multiply(splat_sixteen(scale), value), left)

    return PointwiseLoss(
        named_job(run, name), named_job(run_to_sum, f"{name}_sum"),
        named_job(run_back, f"{name}_slope"), work,
    )  # fmt: skip


TABLE = {
    "mse_loss": _loss("mse_loss", squared, squared_slope, CHEAP),
    "l1_loss": _loss("l1_loss", absolute_difference, absolute_difference_slope, CHEAP),
    "huber_loss": _loss("huber_loss", huber, huber_slope, CHEAP),
    "smooth_l1_loss": _loss("smooth_l1_loss", smooth_l1, smooth_l1_slope, CHEAP),
    "bce_with_logits_loss": _loss(
        "bce_with_logits_loss", bce_with_logits, bce_with_logits_slope, COSTLY
    ),
    "bce_loss": _loss("bce_loss", bce, bce_slope, COSTLY),
    "soft_margin_loss": _loss("soft_margin_loss", soft_margin, soft_margin_slope, COSTLY),
    "hinge_embedding_loss": _loss(
        "hinge_embedding_loss", hinge_embedding, hinge_embedding_slope, CHEAP
    ),
    "margin_ranking_loss": _loss(
        "margin_ranking_loss", margin_ranking, margin_ranking_slope, CHEAP
    ),
    "kl_div_loss": _loss("kl_div_loss", kl_div, kl_div_slope, COSTLY),
    "kl_div_loss_of_logs": _loss(
        "kl_div_loss_of_logs", kl_div_of_logs, kl_div_of_logs_slope, COSTLY
    ),
    "poisson_nll_loss": _loss("poisson_nll_loss", poisson_nll, poisson_nll_slope, COSTLY),
    "poisson_nll_loss_of_rates": _loss(
        "poisson_nll_loss_of_rates", poisson_nll_of_rates, poisson_nll_of_rates_slope, COSTLY
    ),
}
"""The losses by the name of their operation."""


class State(NamedTuple):
    """What backward needs: what was compared, and the settings."""

    x: np.ndarray
    target: np.ndarray
    settings: np.ndarray


def forward(
    name: str, xp: Any, x: Any, target: Any, *settings: float, whole: bool = False
) -> Any:  # fmt: skip
    """Return the terms of a loss, in the memory order of the prediction x, or their sum.

    Parameters
    ----------
    x, target : array
        Of one shape.
    *settings : float
        The numbers that the formulas read.
    whole : bool
        Whether to return the sum of the terms, of which none is written down then.
    """
    if x.dtype != np.float32 or target.dtype != np.float32:
        return Declined(f"{target.dtype if x.dtype == np.float32 else x.dtype} arrays")
    if x.shape != target.shape:
        return Declined(f"predictions of shape {x.shape} and targets of shape {target.shape}")
    if x.size == 0:
        return Declined(f"arrays of shape {x.shape}")
    loss = TABLE[name]
    numbers = _numbers(settings)
    saved = State(x, target, numbers)
    size, pieces = x.size, -(-x.size // PIECE)
    flat, flat_target, order = _alike(x, target)
    work = loss.work * size
    if whole:
        sums = buffers.empty(pieces, np.float64)
        threads.launch(work, loss.run_to_sum, pieces, flat, flat_target, size, numbers, sums)
        return sum_of_jobs(sums), saved
    terms = buffers.empty(size)
    threads.launch(work, loss.run, pieces, flat, flat_target, size, numbers, terms)
    return _back_in_order(terms, x.shape, order), saved


@lru_cache(maxsize=256)
def _numbers(settings: tuple[float, ...]) -> np.ndarray:
    """Return settings for a kernel, to be read only.

    What reads none is given the address of a number all the same.
    """
    return np.array(settings or (0.0,), np.float32)


def backward(name: str, xp: Any, scale: Any, saved: State) -> Any:
    """Return the gradient of ``sum(scale * terms)``; scale is a number or fits the terms."""
    loss, (x, target, settings) = TABLE[name], saved
    flat, flat_target, order = _alike(x, target)
    slopes = buffers.empty(x.size)
    single = isinstance(scale, float) or (scale.ndim == 0 and scale.dtype == np.float32)
    threads.launch(
        loss.work * x.size, loss.run_back, -(-x.size // PIECE), flat, flat_target, x.size,
        settings, float(scale) if single else 1.0, slopes,
    )  # fmt: skip
    gradient = _back_in_order(slopes, x.shape, order)
    return gradient if single else scale * gradient


def ranking_forward(
    xp: Any, first: Any, second: Any, target: Any, margin: float, whole: bool = False
) -> Any:
    """Return the terms of two scores, or their sum."""
    return forward("margin_ranking_loss", xp, first - second, target, margin, whole=whole)


def ranking_backward(xp: Any, scale: Any, saved: State) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients by the first and by the second score."""
    gradient = backward("margin_ranking_loss", xp, scale, saved)
    return gradient, np.negative(gradient)


def _alike(
    x: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...] | None]:
    """Return both along one axis, in the memory order of x, which is ``None`` if it is usual."""
    a, b = x.flags, target.flags
    if a.c_contiguous and b.c_contiguous and a.aligned and b.aligned:
        return x.reshape(-1), target.reshape(-1), None
    order = memory_order(x)
    return in_order(x, order).reshape(-1), in_order(target, order).reshape(-1), order


def _back_in_order(
    flat: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...] | None
) -> np.ndarray:
    """Return what was worked out along one axis in its shape."""
    if order is None:
        return flat.reshape(shape)
    return flat.reshape([shape[axis] for axis in order]).transpose(inverse(order))


PAIRS = {name: OpPair(partial(forward, name), partial(backward, name)) for name in TABLE} | {
    "margin_ranking_loss": OpPair(ranking_forward, ranking_backward)
}
"""The pairs by the name of their operation."""
