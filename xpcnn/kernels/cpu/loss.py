"""Softmax and cross-entropy with class labels, and their gradient, in one go.

As in :mod:`.softmax`, rows of classes are worked on where the classes lie side by side in memory,
and eight neighbours at a time elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.activations import COSTLY
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.functions import exp, expm1, log1p
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.order import in_order, inverse
from xpcnn.kernels.cpu.softmax import jobs_of_rows, order_along, sizes_around
from xpcnn.kernels.cpu.vector import (
    WIDTH,
    add,
    divide,
    first_of,
    fma,
    keep_last,
    largest,
    load,
    load_splat,
    multiply,
    narrow,
    splat,
    store,
    subtract,
    sum_of,
    where_equal,
    where_less,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.trace import Declined

CLASS_AXIS = 1


def cross_entropy_forward(
    xp: Any, x: Any, labels: Any, ignore_index: int, weight: Any = None, smoothing: float = 0.0
) -> Any:
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
    """
    if x.dtype != np.float32 or x.size == 0:
        return Declined(f"{x.dtype} scores of shape {x.shape}")
    if x.shape[CLASS_AXIS] >= 2**24:
        return Declined("more classes than float32 can number")
    labels = labels.astype(np.int64, copy=False)
    given = labels != ignore_index
    factors = given.astype(np.float32)
    if weight is not None:
        factors *= weight[np.where(given, labels, 0)]
    numbers = np.where(given, labels, -1).astype(np.float32)
    spread = np.zeros(x.shape[CLASS_AXIS], np.float32)
    if smoothing:
        spread += np.float32(smoothing / len(spread))
        spread *= 1.0 if weight is None else weight
    terms, slopes = _run(x, numbers, factors, spread, smoothing)
    count = int(given.sum()) if weight is None else factors.sum(dtype=np.float64).astype(np.float32)
    return (terms, count), slopes


def cross_entropy_backward(xp: Any, scale: Any, slopes: Any) -> np.ndarray:
    """Return the gradient of ``sum(scale * terms)``."""
    single = np.ndim(scale) == 0
    return np.multiply(slopes, np.float32(scale) if single else np.expand_dims(scale, CLASS_AXIS))


def _run(
    x: np.ndarray, numbers: np.ndarray, factors: np.ndarray, spread: np.ndarray, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the terms and their slopes, in the memory order of x if possible."""
    order = order_along(x, CLASS_AXIS)
    if order is None:
        # There are neither eight classes nor eight places: some are added, and cut off again.
        more = [(0, WIDTH), *[(0, 0)] * (numbers.ndim - 1)]
        padded = np.pad(x, [more[0], (0, 0), *more[1:]])
        numbers, factors = np.pad(numbers, more), np.pad(factors, more)
        terms, slopes = _run(padded, numbers, factors, spread, smoothing)
        return terms[: len(x)], slopes[: len(x)]
    # The axes behind the classes are one fewer where there are none.
    of_places = tuple(axis - (axis > CLASS_AXIS) for axis in order if axis != CLASS_AXIS)
    dense, numbers, factors = (
        in_order(x, order), in_order(numbers, of_places), in_order(factors, of_places)
    )  # fmt: skip
    before, classes, behind = sizes_around(dense.shape, order.index(CLASS_AXIS))
    terms, slopes = buffers.empty(numbers.shape), buffers.empty(dense.shape)
    kernel, jobs = (_rows, jobs_of_rows) if behind == 1 else (_columns, _jobs_of_columns)
    threads.launch(
        COSTLY * x.size, kernel, jobs(before, classes, behind), dense.reshape(-1),
        numbers.reshape(-1), factors.reshape(-1), spread, before, classes, behind,
        int(smoothing > 0.0), 1.0 - smoothing, float(spread.sum(dtype=np.float64)),
        terms.reshape(-1), slopes.reshape(-1),
    )  # fmt: skip
    return terms.transpose(inverse(of_places)), slopes.transpose(inverse(order))


def _jobs_of_columns(before: int, classes: int, behind: int) -> int:
    """Return into how many jobs neighbours are cut, whose numbers lie apart."""
    return before * max(1, behind // (WIDTH * max(1, PIECE // classes // WIDTH)))


@inner
def one_if_zero(value: Any) -> Any:
    """Return ones in the place of zeros, and zeros elsewhere."""
    return where_equal(value, zero(), splat(1.0), zero())


@Job
def _rows(
    job: int, x: Floats, labels: Floats, factors: Floats, spread: Floats, rows: int, classes: int,
    one: int, smooths: int, rest_share: float, spread_sum: float, terms: Floats, slopes: Floats,
) -> None:  # fmt: skip
    """Work on rows of 8 classes or more; the last vector of each overlaps with that before it.

    A place has the target ``t = spread + rest_share * factor`` at its label and ``spread`` at the
    other classes. Its term is -t times the logarithms of the shares p, its slope p * sum(t) - t.
    """
    per_job = max(1, PIECE // classes)
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start = r * classes
        end = start + classes
        highest = splat(-np.inf)
        for k in range(start, end, WIDTH):
            value = load(x, min(k, end - WIDTH))
            highest = where_less(highest, value, value, highest)
        # NaN may be missing here, but spoils the sums below.
        highest = splat(largest(highest))
        ties, rest = wide_zero(), wide_zero()
        for k in range(start, end, WIDTH):
            below = subtract(load(x, min(k, end - WIDTH)), highest)
            e = where_equal(below, zero(), zero(), exp(below))
            ties = widen(ties, keep_last(one_if_zero(below), end - k))
            rest = widen(rest, keep_last(e, end - k))
        # One of the highest is left to log1p, beside which the others may be small.
        others = sum_of(ties) - 1.0 + sum_of(rest)
        shift, total = log1p(splat(others)), splat(1.0 + others)
        label, factor = int(labels[r]), splat(factors[r])
        valid = splat(0.0) if label < 0 else splat(1.0)
        # A place without label has no target, but its slopes are NaN if its scores are.
        whole = fma(splat(rest_share), factor, multiply(valid, splat(spread_sum)))
        spread_term = wide_zero()
        for k in range(start, end, WIDTH):
            c = min(k, end - WIDTH)
            below = subtract(load(x, c), highest)
            if smooths == 1:
                t = multiply(valid, load(spread, c - start))
                y = subtract(below, shift)
                spread_term = widen(spread_term, keep_last(_product(t, y), end - k))
                slope = _slope(t, y, whole)
            else:
                slope = multiply(whole, divide(exp(below), total))
            store(slopes, c, slope)
        if label < 0:
            terms[r] = 0.0
            continue
        y = subtract(subtract(load_splat(x, start + label), highest), shift)
        own = multiply(splat(rest_share), factor)
        t = add(own, load_splat(spread, label))
        terms[r] = -sum_of(spread_term) - first_of(_product(own, y))
        slopes[start + label] = first_of(_slope(t, y, whole))


@Job
def _columns(
    job: int, x: Floats, labels: Floats, factors: Floats, spread: Floats, before: int, classes: int,
    behind: int, smooths: int, rest_share: float, spread_sum: float, terms: Floats, slopes: Floats,
) -> None:  # fmt: skip
    """Do the same for 8 places or more at a time, whose scores of one class are neighbours."""
    width = WIDTH * max(1, PIECE // classes // WIDTH)
    blocks = max(1, behind // width)
    outer = job // blocks
    start = outer * classes * behind
    left = job % blocks * width
    right = behind if job % blocks == blocks - 1 else left + width
    for k in range(left, right, WIDTH):
        place = min(k, right - WIDTH)
        first, place = start + place, outer * behind + place
        highest = splat(-np.inf)
        for i in range(classes):
            value = load(x, first + i * behind)
            highest = where_less(highest, value, value, highest)
        label, factor = load(labels, place), load(factors, place)
        ties, rest, of_label = wide_zero(), wide_zero(), zero()
        for i in range(classes):
            below = subtract(load(x, first + i * behind), highest)
            of_label = where_equal(label, splat(np.float32(i)), below, of_label)
            ties = widen(ties, one_if_zero(below))
            rest = widen(rest, where_equal(below, zero(), zero(), exp(below)))
        others = narrow(widen(rest, subtract(narrow(ties), splat(1.0))))
        shift, total = log1p(others), add(splat(1.0), others)
        valid = where_less(label, zero(), zero(), splat(1.0))
        own = multiply(splat(rest_share), factor)
        whole = add(own, multiply(valid, splat(spread_sum)))
        of_label = subtract(of_label, shift)
        slope_of_label, spread_term = _slope(own, of_label, whole), wide_zero()
        for i in range(classes):
            at = first + i * behind
            below = subtract(load(x, at), highest)
            here = splat(np.float32(i))
            if smooths == 1:
                t, y = multiply(valid, load_splat(spread, i)), subtract(below, shift)
                spread_term = widen(spread_term, _product(t, y))
                slope = _slope(where_equal(label, here, add(t, own), t), y, whole)
            else:
                slope = multiply(whole, divide(exp(below), total))
                slope = where_equal(label, here, slope_of_label, slope)
            store(slopes, at, slope)
        term = narrow(widen(spread_term, _product(own, of_label)))
        store(terms, place, subtract(zero(), term))


@inner
def _product(t: Any, y: Any) -> Any:
    """Return t * y: what has no share adds nothing, however impossible it is thought to be."""
    return where_equal(t, zero(), zero(), multiply(t, y))


@inner
def _slope(t: Any, y: Any, whole: Any) -> Any:
    """Return p * whole - t for p = exp(y), with the digits of 1 - p where that is small."""
    return fma(t, expm1(y), multiply(exp(y), subtract(whole, t)))
