"""Softmax and cross-entropy with class labels in one go, and the likelihood of labels alone.

As in :mod:`.softmax`, rows of classes are worked on where the classes lie side by side in memory,
and sixteen neighbours at a time elsewhere. Forward keeps two numbers of each place, from which
backward works out the shares of the classes again: they are never written down.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import COSTLY
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import exp, expm1, log1p
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Ints, Job, inner
from xpcnn.kernels.cpu.order import in_order, inverse
from xpcnn.kernels.cpu.softmax import order_along, sizes_around
from xpcnn.kernels.cpu.vector import (
    RUN,
    SIXTEEN,
    WIDTH,
    add,
    all_like,
    divide,
    first_of,
    fma,
    keep_first,
    largest,
    load_first,
    load_index,
    load_sixteen,
    lower_eight,
    multiply,
    narrow_both,
    room,
    splat_sixteen,
    store_first,
    store_sixteen,
    subtract,
    sum_of,
    upper_eight,
    where_equal,
    where_less,
    wide_zero,
    widen,
    widen_both,
)
from xpcnn.kernels.trace import Declined

CLASS_AXIS = 1


class Places(NamedTuple):
    """Scores and labels as they are worked on.

    Attributes
    ----------
    x : array
        The scores (N, C, ...) along one axis.
    labels : int64 array
        Of all places, along one axis.
    shape : tuple of int
        Of the scores.
    sizes : (int, int, int)
        Numbers before, along and behind the classes.
    order : tuple of int
        The axes of the scores, those with the longest steps in memory first.
    of_places : tuple of int
        The same without the classes, as axes of the labels.
    """

    x: np.ndarray
    labels: np.ndarray
    shape: tuple[int, ...]
    sizes: tuple[int, int, int]
    order: tuple[int, ...]
    of_places: tuple[int, ...]

    def cut(self) -> tuple[int, int]:
        """Return into how many jobs the places are cut, and how many a job has."""
        before, classes, behind = self.sizes
        if behind == 1:
            per_job = max(1, PIECE // classes)
            return -(-before // per_job), per_job
        per_job = SIXTEEN * max(1, PIECE // classes // SIXTEEN)
        return before * -(-behind // per_job), per_job

    def like_scores(self, flat: np.ndarray) -> np.ndarray:
        """Give numbers along one axis the shape of the scores."""
        return _back(flat, self.shape, self.order)

    def like_labels(self, flat: np.ndarray) -> np.ndarray:
        """Give numbers along one axis the shape of the labels."""
        return _back(flat, (self.shape[0], *self.shape[2:]), self.of_places)

    def scales(self, scale: Any) -> tuple[np.ndarray, int, Any]:
        """Return what :func:`scales_of` does, in the order of the places; what is left fits x."""
        scales, step, rest = scales_of(scale, (self.shape[0], *self.shape[2:]), self.of_places)
        several = rest is not None and rest.ndim > 0
        return scales, step, np.expand_dims(rest, CLASS_AXIS) if several else rest


def scales_of(
    scale: Any, shape: tuple[int, ...], order: tuple[int, ...] | None = None
) -> tuple[np.ndarray, int, Any]:
    """Return what kernels multiply slopes by, the step from term to term, and what is left.

    Parameters
    ----------
    scale : float or array
        A number, or an array that broadcasts against the terms. What is not float32 is left.
    shape : tuple of int
        Of the terms.
    order : tuple of int, optional
        The order of their axes in memory.
    """
    if isinstance(scale, float):
        return np.array([scale], np.float32), 0, None
    if scale.dtype != np.float32:
        return ONE, 0, scale
    if scale.ndim == 0:
        return np.array([scale]), 0, None
    scale = np.broadcast_to(scale, shape).transpose(order)
    return np.ascontiguousarray(scale).reshape(-1), 1, None


def _back(flat: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    if order == tuple(range(len(order))):
        return flat.reshape(shape)
    return flat.reshape([shape[axis] for axis in order]).transpose(inverse(order))


ONE = np.ones(1, np.float32)


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    places : Places
    numbers : tuple
        What kernels are told of labels, weights and smoothing.
    kept : array
        The highest score h of each place; behind them, of each, the sum of ``exp(x - h)`` over the
        others.
    """

    places: Places
    numbers: tuple[Any, ...]
    kept: np.ndarray


def cross_entropy_forward(
    xp: Any, x: Any, labels: Any, ignore_index: int, weight: Any = None, smoothing: float = 0.0,
    whole: bool = False,
) -> Any:  # fmt: skip
    """Return the terms of scores x (N, C, ...), and what their mean is divided by.

    Parameters
    ----------
    labels : integer array (N, ...)
        They have been checked.
    ignore_index : int
        The label of places that do not count.
    weight : array (C,) or None
        Of the classes.
    smoothing : float
        The share of each target that is spread over all classes.
    whole : bool
        Whether to return the sum of the terms in their place.
    """
    if x.dtype != np.float32 or x.size == 0:
        return Declined(f"{x.dtype} scores of shape {x.shape}")
    places = places_of(x, labels)
    weights, spread, spread_sum = ONE if weight is None else weight, ONE, 0.0
    if smoothing:
        spread = np.full(x.shape[CLASS_AXIS], smoothing / x.shape[CLASS_AXIS], np.float32)
        spread *= weights
        spread_sum = float(spread.sum(dtype=np.float64))
    numbers = (
        ignore_index, weights, int(weight is not None), spread, int(smoothing > 0.0),
        1.0 - smoothing, spread_sum,
    )  # fmt: skip
    jobs, per_job = places.cut()
    terms, kept = buffers.empty(places.labels.size), buffers.empty(2 * places.labels.size)
    totals = buffers.empty((jobs, 2), np.float64)
    threads.launch(
        COSTLY * x.size, _rows if places.sizes[2] == 1 else _columns, jobs, places.x,
        places.labels, *numbers, *places.sizes, per_job, terms, kept, totals.reshape(-1),
    )  # fmt: skip
    found = _sum_and_count(totals, weight, None if whole else places.like_labels(terms))
    return found, State(places, numbers, kept)


def cross_entropy_backward(xp: Any, scale: Any, saved: State) -> np.ndarray:
    """Return the gradient of ``sum(scale * terms)``."""
    places, numbers, kept = saved
    scales, step, rest = places.scales(scale)
    jobs, per_job = places.cut()
    dx = buffers.empty(places.x.size)
    threads.launch(
        COSTLY * dx.size, _rows_back if places.sizes[2] == 1 else _columns_back, jobs, places.x,
        places.labels, *numbers, *places.sizes, per_job, kept, scales, step, dx,
    )  # fmt: skip
    gradient = places.like_scores(dx)
    return gradient if rest is None else rest * gradient


class Named(NamedTuple):
    """What the backward of :func:`nll_forward` needs: the places, and what kernels are told."""

    places: Places
    numbers: tuple[Any, ...]


def nll_forward(
    xp: Any, x: Any, labels: Any, ignore_index: int, weight: Any = None, whole: bool = False
) -> Any:
    """Return the terms of logarithms x (N, C, ...); see :func:`cross_entropy_forward`."""
    if x.dtype != np.float32 or x.size == 0:
        return Declined(f"{x.dtype} logarithms of shape {x.shape}")
    places = places_of(x, labels)
    numbers = (ignore_index, ONE if weight is None else weight, int(weight is not None))
    size = places.labels.size
    jobs = -(-size // PIECE)
    terms = buffers.empty(size)
    totals = buffers.empty((jobs, 2), np.float64)
    threads.launch(
        8 * size, _of_labels, jobs, places.x, places.labels, *numbers, *places.sizes[1:], size,
        terms, totals.reshape(-1),
    )  # fmt: skip
    found = _sum_and_count(totals, weight, None if whole else places.like_labels(terms))
    # The gradient does not depend on the logarithms.
    return found, Named(places._replace(x=ONE), numbers)


def nll_backward(xp: Any, scale: Any, saved: Named) -> np.ndarray:
    """Return the gradient of ``sum(scale * terms)``, which is zero but at the labels."""
    places, numbers = saved
    scales, step, rest = places.scales(scale)
    before, classes, behind = places.sizes
    dx = buffers.empty(before * classes * behind)
    threads.launch(
        dx.size, _of_labels_back, before, places.labels, *numbers, classes, behind, scales, step,
        dx,
    )  # fmt: skip
    gradient = places.like_scores(dx)
    return gradient if rest is None else rest * gradient


def places_of(x: np.ndarray, labels: np.ndarray) -> Places:
    """Return scores and labels in the memory order of the scores if possible."""
    labels = labels.astype(np.int64, copy=False)
    usual = _usual_places(x.shape) if x.flags.c_contiguous and x.flags.aligned else None
    if usual is not None:
        return Places(x.reshape(-1), np.ascontiguousarray(labels).reshape(-1), x.shape, *usual)
    # With few classes and few places, the classes of each place are brought together.
    last = (*(axis for axis in range(x.ndim) if axis != CLASS_AXIS), CLASS_AXIS)
    order = order_along(x, CLASS_AXIS) or last
    # The axes behind the classes are one fewer where there are none.
    of_places = tuple(axis - (axis > CLASS_AXIS) for axis in order if axis != CLASS_AXIS)
    dense = in_order(x, order)
    sizes = sizes_around(dense.shape, order.index(CLASS_AXIS))
    labels = np.ascontiguousarray(labels.transpose(of_places)).reshape(-1)
    return Places(dense.reshape(-1), labels, x.shape, sizes, order, of_places)


@lru_cache(maxsize=256)
def _usual_places(shape: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Return sizes and orders of scores in the order of their axes, if they can stay in it."""
    before, classes, behind = sizes_around(shape, CLASS_AXIS)
    if behind >= SIXTEEN or (behind == 1 and classes >= WIDTH):
        order = tuple(range(len(shape)))
        return (before, classes, behind), order, order[:-1]
    return None


def sum_of_jobs(totals: np.ndarray) -> np.float32:
    """Return the sum of what jobs have added up, rounded once."""
    return np.float32(totals.sum() if totals.size > 1 else totals[0])


def _sum_and_count(totals: np.ndarray, weight: Any, terms: np.ndarray | None) -> tuple[Any, Any]:
    """Return the terms, or their sum if they are not given, and what the mean is divided by.

    That is a number of labels, or the sum of their weights.
    """
    total, count = (totals.sum(axis=0) if len(totals) > 1 else totals[0]).tolist()
    return (
        np.float32(total) if terms is None else terms,
        int(count) if weight is None else np.float32(count),
    )


@Job
def _rows(
    job: int, x: Floats, labels: Ints, ignored: int, weights: Floats, weighted: int,
    spread: Floats, smooths: int, rest_share: float, spread_sum: float, before: int, classes: int,
    one: int, per_job: int, terms: Floats, kept: Floats, totals: Doubles,
) -> None:  # fmt: skip
    """Work on rows of classes.

    A place has the target ``t = spread + rest_share * factor`` at its label and ``spread`` at the
    other classes. Its term is -t times the logarithms of the shares p, its slope p * sum(t) - t.
    """
    total = count = 0.0
    for r in range(job * per_job, min(before, (job + 1) * per_job)):
        start = r * classes
        top = splat_sixteen(-np.inf)
        for k in range(0, classes, SIXTEEN):
            value = load_first(x, start + k, classes - k, -np.inf)
            top = where_less(top, value, value, top)
        low, high = lower_eight(top), upper_eight(top)
        # NaN may be missing here, but spoils the sums below.
        most = largest(where_less(low, high, high, low))
        top = splat_sixteen(most)
        ties, rest = splat_sixteen(0.0), wide_zero()
        for k in range(0, classes, SIXTEEN):
            below = subtract(load_first(x, start + k, classes - k, -np.inf), top)
            ties = add(ties, _one_if_zero(below))
            rest = widen_both(rest, _exp_but_of_zero(below))
        # One of the highest is left to log1p, beside which the others may be small.
        other = sum_of(widen_both(wide_zero(), ties)) - 1.0 + sum_of(rest)
        kept[r], kept[before + r] = most, other
        label = load_index(labels, r)
        if label == ignored:
            terms[r] = 0.0
            continue
        factor = splat_sixteen(1.0)
        if weighted == 1:
            factor = splat_sixteen(weights[label])
        shift, own = log1p(splat_sixteen(other)), multiply(splat_sixteen(rest_share), factor)
        of_label = subtract(subtract(splat_sixteen(x[start + label]), top), shift)
        products = wide_zero()
        if smooths == 1:
            for k in range(0, classes, SIXTEEN):
                y = subtract(load_first(x, start + k, classes - k, 0.0), top)
                t = load_first(spread, k, classes - k, 0.0)
                products = widen_both(products, _product(t, subtract(y, shift)))
        term = -sum_of(products) - first_of(_product(own, of_label))
        terms[r] = term
        total += term
        count += first_of(factor)
    totals[2 * job], totals[2 * job + 1] = total, count


@Job
def _rows_back(
    job: int, x: Floats, labels: Ints, ignored: int, weights: Floats, weighted: int,
    spread: Floats, smooths: int, rest_share: float, spread_sum: float, before: int, classes: int,
    one: int, per_job: int, kept: Floats, scales: Floats, step: int, dx: Floats,
) -> None:  # fmt: skip
    for r in range(job * per_job, min(before, (job + 1) * per_job)):
        start, label = r * classes, load_index(labels, r)
        top, other = splat_sixteen(kept[r]), splat_sixteen(kept[before + r])
        scale, shift = splat_sixteen(scales[r * step]), log1p(other)
        factor, valid = splat_sixteen(0.0), splat_sixteen(0.0)
        if label != ignored:
            factor = valid = splat_sixteen(1.0)
            if weighted == 1:
                factor = splat_sixteen(weights[label])
        own = multiply(splat_sixteen(rest_share), factor)
        # A place without label has no target, but its slopes are NaN if its scores are.
        whole = add(own, multiply(valid, splat_sixteen(spread_sum)))
        share = divide(multiply(scale, whole), add(splat_sixteen(1.0), other))
        for k in range(0, classes, SIXTEEN):
            below = subtract(load_first(x, start + k, classes - k, 0.0), top)
            slope = multiply(share, exp(below))
            if smooths == 1:
                t = multiply(valid, load_first(spread, k, classes - k, 0.0))
                slope = multiply(scale, _slope(t, subtract(below, shift), whole))
            store_first(dx, start + k, slope, classes - k)
        if label != ignored:
            if smooths == 1:
                own = add(own, splat_sixteen(spread[label]))
            y = subtract(subtract(splat_sixteen(x[start + label]), top), shift)
            dx[start + label] = first_of(multiply(scale, _slope(own, y, whole)))


@Job
def _columns(
    job: int, x: Floats, labels: Ints, ignored: int, weights: Floats, weighted: int,
    spread: Floats, smooths: int, rest_share: float, spread_sum: float, before: int, classes: int,
    behind: int, per_job: int, terms: Floats, kept: Floats, totals: Doubles,
) -> None:  # fmt: skip
    """Do the same for sixteen places at a time, whose scores of one class are neighbours."""
    blocks = (behind + per_job - 1) // per_job
    outer, left = job // blocks, job % blocks * per_job
    right = min(behind, left + per_job)
    found, total, count = room(), wide_zero(), 0.0
    for k in range(left, right, SIXTEEN):
        n = min(SIXTEEN, right - k)
        first, place = outer * classes * behind + k, outer * behind + k
        count += _read_labels(
            labels, place, n, ignored, weights, weighted, spread, smooths, x, first, behind, found
        )
        top = splat_sixteen(-np.inf)
        for i in range(classes):
            value = load_first(x, first + i * behind, n, 0.0)
            top = where_less(top, value, value, top)
        ties, low, high = splat_sixteen(0.0), wide_zero(), wide_zero()
        for run in range(0, classes, RUN):
            part = splat_sixteen(0.0)
            for i in range(run, min(classes, run + RUN)):
                below = subtract(load_first(x, first + i * behind, n, 0.0), top)
                ties = add(ties, _one_if_zero(below))
                part = add(part, _exp_but_of_zero(below))
            low, high = widen(low, lower_eight(part)), widen(high, upper_eight(part))
        ties = subtract(ties, splat_sixteen(1.0))
        other = narrow_both(widen(low, lower_eight(ties)), widen(high, upper_eight(ties)))
        store_first(kept, place, top, n)
        store_first(kept, before * behind + place, other, n)
        shift = log1p(other)
        own = multiply(splat_sixteen(rest_share), load_sixteen(found, FACTOR))
        y = subtract(subtract(load_sixteen(found, SCORE), top), shift)
        term = _product(own, y)
        if smooths == 1:
            valid = load_sixteen(found, VALID)
            low, high = widen(wide_zero(), lower_eight(term)), widen(wide_zero(), upper_eight(term))
            for i in range(classes):
                below = subtract(load_first(x, first + i * behind, n, 0.0), top)
                t = multiply(valid, splat_sixteen(spread[i]))
                product = _product(t, subtract(below, shift))
                low, high = widen(low, lower_eight(product)), widen(high, upper_eight(product))
            term = narrow_both(low, high)
        term = subtract(splat_sixteen(0.0), term)
        store_first(terms, place, term, n)
        total = widen_both(total, keep_first(term, n))
    totals[2 * job], totals[2 * job + 1] = sum_of(total), count


@Job
def _columns_back(
    job: int, x: Floats, labels: Ints, ignored: int, weights: Floats, weighted: int,
    spread: Floats, smooths: int, rest_share: float, spread_sum: float, before: int, classes: int,
    behind: int, per_job: int, kept: Floats, scales: Floats, step: int, dx: Floats,
) -> None:  # fmt: skip
    blocks = (behind + per_job - 1) // per_job
    outer, left = job // blocks, job % blocks * per_job
    right = min(behind, left + per_job)
    found = room()
    for k in range(left, right, SIXTEEN):
        n = min(SIXTEEN, right - k)
        first, place = outer * classes * behind + k, outer * behind + k
        _read_labels(
            labels, place, n, ignored, weights, weighted, spread, smooths, x, first, behind, found
        )
        top = load_first(kept, place, n, 0.0)
        other = load_first(kept, before * behind + place, n, 0.0)
        scale = splat_sixteen(scales[0])
        if step == 1:
            scale = load_first(scales, place, n, 0.0)
        shift, valid = log1p(other), load_sixteen(found, VALID)
        own = multiply(splat_sixteen(rest_share), load_sixteen(found, FACTOR))
        whole = add(own, multiply(valid, splat_sixteen(spread_sum)))
        share = divide(multiply(scale, whole), add(splat_sixteen(1.0), other))
        for i in range(classes):
            at = first + i * behind
            below = subtract(load_first(x, at, n, 0.0), top)
            slope = multiply(share, exp(below))
            if smooths == 1:
                t = multiply(valid, splat_sixteen(spread[i]))
                slope = multiply(scale, _slope(t, subtract(below, shift), whole))
            store_first(dx, at, slope, n)
        y = subtract(subtract(load_sixteen(found, SCORE), top), shift)
        of_labels = _slope(add(own, load_sixteen(found, SPREAD)), y, whole)
        store_sixteen(found, SCORE, multiply(scale, of_labels))
        for i in range(n):
            label = load_index(labels, place + i)
            if label != ignored:
                dx[first + label * behind + i] = found[SCORE + i]


VALID, FACTOR, SCORE, SPREAD = 0, 16, 32, 48
"""Where :func:`_read_labels` writes what."""


@inner
def _read_labels(
    labels: Any, place: int, n: int, ignored: int, weights: Any, weighted: int, spread: Any,
    smooths: int, x: Any, first: int, behind: int, found: Any,
) -> Any:  # fmt: skip
    """Write whether each of n places counts, its weight, its label's score and spread share.

    The sum of the weights is returned.
    """
    count: Any = 0.0
    for i in range(n):
        label = load_index(labels, place + i)
        valid = factor = score = share = np.float32(0.0)
        if label != ignored:
            valid = factor = np.float32(1.0)
            if weighted == 1:
                factor = weights[label]
            score = x[first + label * behind + i]
            if smooths == 1:
                share = spread[label]
        found[VALID + i], found[FACTOR + i] = valid, factor
        found[SCORE + i], found[SPREAD + i] = score, share
        count += factor
    return count


@Job
def _of_labels(
    job: int, x: Floats, labels: Ints, ignored: int, weights: Floats, weighted: int, classes: int,
    behind: int, places: int, terms: Floats, totals: Doubles,
) -> None:  # fmt: skip
    """Take the numbers at the labels, which are logarithms."""
    total: Any = 0.0
    count: Any = 0.0
    for place in range(job * PIECE, min(places, (job + 1) * PIECE)):
        label, term = load_index(labels, place), np.float32(0.0)
        if label != ignored:
            factor = np.float32(1.0)
            if weighted == 1:
                factor = weights[label]
            count += factor
            # What has no weight adds nothing, however impossible it is thought to be.
            if factor != 0.0:
                before = place // behind
                at = (before * classes + label) * behind + place - before * behind
                term = -(factor * x[at])
        terms[place] = term
        total += term
    totals[2 * job], totals[2 * job + 1] = total, count


@Job
def _of_labels_back(
    job: int, labels: Ints, ignored: int, weights: Floats, weighted: int, classes: int,
    behind: int, scales: Floats, step: int, dx: Floats,
) -> None:  # fmt: skip
    """Write the gradient of one of what comes before the classes."""
    start = job * classes * behind
    for k in range(start, start + classes * behind, SIXTEEN):
        store_first(dx, k, splat_sixteen(0.0), start + classes * behind - k)
    for k in range(behind):
        place = job * behind + k
        label = load_index(labels, place)
        if label != ignored:
            slope = -scales[place * step]
            if weighted == 1:
                slope *= weights[label]
            dx[start + label * behind + k] = slope


@inner
def _one_if_zero(value: Any) -> Any:
    """Return ones in the place of zeros, and zeros elsewhere."""
    return where_equal(value, all_like(value, 0.0), all_like(value, 1.0), all_like(value, 0.0))


@inner
def _exp_but_of_zero(below: Any) -> Any:
    """Return the exponential, and zero of zero."""
    return where_equal(below, all_like(below, 0.0), below, exp(below))


@inner
def _product(t: Any, y: Any) -> Any:
    """Return t * y: what has no share adds nothing, however impossible it is thought to be."""
    return where_equal(t, all_like(t, 0.0), all_like(t, 0.0), multiply(t, y))


@inner
def _slope(t: Any, y: Any, whole: Any) -> Any:
    """Return p * whole - t for p = exp(y), with the digits of 1 - p where that is small."""
    return fma(t, expm1(y), multiply(exp(y), subtract(whole, t)))
