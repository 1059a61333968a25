"""Losses of rows: scores that are to lie apart by a margin, and distances of vectors.

Each works on whole rows, whose numbers lie side by side, and backward works out again what forward
has had. Sums are made in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import PIECE
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Ints, Job, Worker, inner
from xpcnn.kernels.cpu.loss import ONE, scales_of, sum_of_jobs
from xpcnn.kernels.cpu.vector import (
    SIXTEEN,
    add,
    all_like,
    at_least,
    divide,
    keep_first,
    load_first,
    load_index,
    multiply,
    negative,
    root,
    splat_sixteen,
    store_first,
    subtract,
    sum_of,
    where_equal,
    where_less,
    wide_zero,
    widen_both,
    widen_products,
    zero_at,
)
from xpcnn.kernels.trace import Declined


class State(NamedTuple):
    """What backward needs: what was given, as it is worked on, and what kernels are told of it."""

    arrays: tuple[np.ndarray, ...]
    numbers: tuple[Any, ...]


def multi_margin_forward(
    xp: Any, x: Any, labels: Any, p: int, margin: float, weight: Any = None, whole: bool = False
) -> Any:
    """Return the terms of scores x (N, C) and checked labels (N,), or their sum."""
    if refusal := _refused(x):
        return refusal
    arrays = np.ascontiguousarray(x), np.ascontiguousarray(labels, np.int64)
    numbers = (
        *x.shape, _rows_per_job(x.shape[1]), p, margin, ONE if weight is None else weight,
        int(weight is not None),
    )  # fmt: skip
    return _forward(_multi_margin, arrays, numbers, whole), State(arrays, numbers)


def multi_margin_backward(xp: Any, scale: Any, saved: State) -> np.ndarray:
    """Return the gradient of ``sum(scale * terms)``."""
    return _backward(_multi_margin_back, saved, scale)


def multi_label_margin_forward(xp: Any, x: Any, lists: Any, whole: bool = False) -> Any:
    """Return the terms of scores x (N, C) and checked lists of classes (N, C), or their sum."""
    if refusal := _refused(x):
        return refusal
    arrays = np.ascontiguousarray(x), np.ascontiguousarray(lists, np.int64)
    numbers = (*x.shape, _rows_per_job(x.shape[1]), threads.scratch(x.shape[1]))
    return _forward(_multi_label_margin, arrays, numbers, whole), State(arrays, numbers)


def multi_label_margin_backward(xp: Any, scale: Any, saved: State) -> np.ndarray:
    """Return the gradient of ``sum(scale * terms)``."""
    return _backward(_multi_label_margin_back, saved, scale)


def triplet_margin_forward(
    xp: Any, anchor: Any, positive: Any, negative: Any, margin: float, eps: float,
    whole: bool = False,
) -> Any:  # fmt: skip
    """Return the terms of vectors (N, ..., D), or their sum; the distance is that of Euclid."""
    if refusal := _refused(anchor):
        return refusal
    shape = anchor.shape
    arrays = tuple(np.ascontiguousarray(a) for a in (anchor, positive, negative))
    rows, width = prod(shape[:-1]), shape[-1]
    per_job = _rows_per_job(width)
    near, far, terms = (buffers.empty(rows) for _ in range(3))
    totals = buffers.empty(-(-rows // per_job), np.float64)
    threads.launch(
        4 * anchor.size, _triplet, totals.size, *(a.reshape(-1) for a in arrays), rows, width,
        per_job, margin, eps, near, far, terms, totals,
    )  # fmt: skip
    found = sum_of_jobs(totals) if whole else terms.reshape(shape[:-1])
    return found, State((*arrays, near, far), (rows, width, per_job, margin, eps))


def triplet_margin_backward(xp: Any, scale: Any, saved: State) -> tuple[np.ndarray, ...]:
    """Return the gradients of ``sum(scale * terms)`` by anchors, positives and negatives."""
    *arrays, near, far = saved.arrays
    shape = arrays[0].shape
    scales, step, rest = scales_of(scale, shape[:-1])
    gradients = [buffers.empty(shape) for _ in range(3)]
    rows, _, per_job, *_ = saved.numbers
    threads.launch(
        4 * arrays[0].size, _triplet_back, -(-rows // per_job),
        *(a.reshape(-1) for a in arrays), *saved.numbers, near, far, scales, step,
        *(g.reshape(-1) for g in gradients),
    )  # fmt: skip
    return tuple(g if rest is None else rest[..., None] * g for g in gradients)


def cosine_embedding_forward(
    xp: Any, first: Any, second: Any, target: Any, margin: float, least: float, whole: bool = False
) -> Any:
    """Return the terms of pairs of vectors (N, D) and targets (N,), or their sum.

    `least` is added to the squares of the lengths.
    """
    if refusal := _refused(first) or _refused(target):
        return refusal
    arrays = np.ascontiguousarray(first), np.ascontiguousarray(second)
    rows, width = first.shape
    per_job = _rows_per_job(width)
    terms, slopes = buffers.empty(rows), buffers.empty(3 * rows)
    totals = buffers.empty(-(-rows // per_job), np.float64)
    threads.launch(
        4 * first.size, _cosine, totals.size, *(a.reshape(-1) for a in arrays),
        np.ascontiguousarray(target), rows, width, per_job, margin, least, slopes, terms, totals,
    )  # fmt: skip
    return sum_of_jobs(totals) if whole else terms, State((*arrays, slopes), (rows, width, per_job))


def cosine_embedding_backward(xp: Any, scale: Any, saved: State) -> tuple[np.ndarray, ...]:
    """Return the gradients of ``sum(scale * terms)`` by both sets of vectors."""
    *arrays, slopes = saved.arrays
    rows, _, per_job = saved.numbers
    scales, step, rest = scales_of(scale, (rows,))
    gradients = [buffers.empty(arrays[0].shape) for _ in range(2)]
    threads.launch(
        4 * arrays[0].size, _cosine_back, -(-rows // per_job),
        *(a.reshape(-1) for a in arrays), slopes, *saved.numbers, scales, step,
        *(g.reshape(-1) for g in gradients),
    )  # fmt: skip
    return tuple(g if rest is None else rest[..., None] * g for g in gradients)


def _refused(x: np.ndarray) -> Declined | None:
    if x.dtype != np.float32 or x.size == 0:
        return Declined(f"{x.dtype} arrays of shape {x.shape}")
    return None


def _rows_per_job(width: int) -> int:
    return max(1, PIECE // width)


def _forward(
    kernel: Job, arrays: Sequence[np.ndarray], numbers: tuple[Any, ...], whole: bool
) -> Any:  # fmt: skip
    """Run a kernel of scores (N, C) and labels; return the terms or their sum."""
    rows, _, per_job, *_ = numbers
    terms, totals = buffers.empty(rows), buffers.empty(-(-rows // per_job), np.float64)
    threads.launch(
        4 * arrays[0].size, kernel, totals.size, *(a.reshape(-1) for a in arrays), *numbers, terms,
        totals,
    )  # fmt: skip
    return sum_of_jobs(totals) if whole else terms


def _backward(kernel: Job, saved: State, scale: Any) -> np.ndarray:
    arrays, numbers = saved
    rows, _, per_job, *_ = numbers
    scales, step, rest = scales_of(scale, (rows,))
    dx = buffers.empty(arrays[0].shape)
    threads.launch(
        4 * dx.size, kernel, -(-rows // per_job), *(a.reshape(-1) for a in arrays), *numbers,
        scales, step, dx.reshape(-1),
    )  # fmt: skip
    return dx if rest is None else rest[..., None] * dx


@inner
def _excess(x: Any, at: int, left: int, base: Any) -> Any:
    """Return by how much ``base + x`` is above zero, and zeros behind the end of a row."""
    value = add(base, load_first(x, at, left, 0.0))
    return keep_first(at_least(value, splat_sixteen(0.0)), left)


@Job
def _multi_margin(
    job: int, x: Floats, labels: Ints, rows: int, classes: int, per_job: int, p: int,
    margin: float, weights: Floats, weighted: int, terms: Floats, totals: Doubles,
) -> None:  # fmt: skip
    total = 0.0
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start, label = r * classes, load_index(labels, r)
        base = splat_sixteen(margin - x[start + label])
        found = wide_zero()
        for k in range(0, classes, SIXTEEN):
            # The right class itself is not compared.
            excess = zero_at(_excess(x, start + k, classes - k, base), label - k)
            if p == 2:
                excess = multiply(excess, excess)
            found = widen_both(found, excess)
        term = sum_of(found) / classes
        if weighted == 1:
            term *= weights[label]
        terms[r] = term
        total += term
    totals[job] = total


@Job
def _multi_margin_back(
    job: int, x: Floats, labels: Ints, rows: int, classes: int, per_job: int, p: int,
    margin: float, weights: Floats, weighted: int, scales: Floats, step: int, dx: Floats,
) -> None:  # fmt: skip
    none, one = splat_sixteen(0.0), splat_sixteen(1.0)
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start, label = r * classes, load_index(labels, r)
        share = scales[r * step] / classes
        if weighted == 1:
            share *= weights[label]
        base, found = splat_sixteen(margin - x[start + label]), wide_zero()
        for k in range(0, classes, SIXTEEN):
            slope = zero_at(_excess(x, start + k, classes - k, base), label - k)
            if p == 2:
                slope = add(slope, slope)
            else:
                slope = where_less(none, slope, one, none)
            slope = multiply(slope, splat_sixteen(share))
            store_first(dx, start + k, slope, classes - k)
            found = widen_both(found, slope)
        # What raises the others lowers the right one.
        dx[start + label] = -sum_of(found)


@inner
def _mark_wrong(lists: Any, start: int, classes: int, wrong: Any, room: int) -> None:
    """Write a 1 for each class that a list does not have, and a 0 for the others."""
    for j in range(classes):
        wrong[room + j] = 1.0
    for j in range(classes):
        named = load_index(lists, start + j)
        if named < 0:
            break
        wrong[room + named] = 0.0


@inner
def _lacking(x: Any, start: int, k: int, classes: int, base: Any, wrong: Any, room: int) -> Any:
    """Return by how much wrong classes lack to be 1 below a right one, and zeros elsewhere."""
    is_wrong = load_first(wrong, room + k, classes - k, 0.0)
    excess = _excess(x, start + k, classes - k, base)
    return where_equal(is_wrong, all_like(excess, 0.0), all_like(excess, 0.0), excess)


@Job
def _multi_label_margin(
    job: int, x: Floats, lists: Ints, rows: int, classes: int, per_job: int, wrong: Floats,
    terms: Floats, totals: Doubles, worker: Worker,
) -> None:  # fmt: skip
    total, room = 0.0, worker * classes
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start, found = r * classes, wide_zero()
        _mark_wrong(lists, start, classes, wrong, room)
        for j in range(classes):
            named = load_index(lists, start + j)
            if named < 0:
                break
            base = splat_sixteen(np.float32(1.0) - x[start + named])
            for k in range(0, classes, SIXTEEN):
                found = widen_both(found, _lacking(x, start, k, classes, base, wrong, room))
        terms[r] = sum_of(found) / classes
        total += sum_of(found) / classes
    totals[job] = total


@Job
def _multi_label_margin_back(
    job: int, x: Floats, lists: Ints, rows: int, classes: int, per_job: int, wrong: Floats,
    scales: Floats, step: int, dx: Floats, worker: Worker,
) -> None:  # fmt: skip
    """Count in how many pairs each class is too high or too low; the gradient is a multiple."""
    none, one, room = splat_sixteen(0.0), splat_sixteen(1.0), worker * classes
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        start = r * classes
        _mark_wrong(lists, start, classes, wrong, room)
        for k in range(0, classes, SIXTEEN):
            store_first(dx, start + k, none, classes - k)
        for j in range(classes):
            named = load_index(lists, start + j)
            if named < 0:
                break
            base, found = splat_sixteen(np.float32(1.0) - x[start + named]), wide_zero()
            for k in range(0, classes, SIXTEEN):
                lacking = _lacking(x, start, k, classes, base, wrong, room)
                counted = where_less(none, lacking, one, none)
                found = widen_both(found, counted)
                before = load_first(dx, start + k, classes - k, 0.0)
                store_first(dx, start + k, add(before, counted), classes - k)
            dx[start + named] -= sum_of(found)
        share = splat_sixteen(scales[r * step] / classes)
        for k in range(0, classes, SIXTEEN):
            counted = load_first(dx, start + k, classes - k, 0.0)
            store_first(dx, start + k, multiply(counted, share), classes - k)


@inner
def _difference(a: Any, b: Any, at: int, left: int, eps: float) -> Any:
    difference = subtract(load_first(a, at, left, 0.0), load_first(b, at, left, 0.0))
    return keep_first(add(difference, splat_sixteen(eps)), left)


@inner
def _distance(a: Any, b: Any, start: int, width: int, eps: float) -> Any:
    """Return the distance of two rows; NaN if a difference is infinite."""
    squares = wide_zero()
    for k in range(0, width, SIXTEEN):
        difference = _difference(a, b, start + k, width - k, eps)
        squares = widen_products(squares, difference, difference)
    found = root(sum_of(squares))
    return found - found + found


@Job
def _triplet(
    job: int, anchor: Floats, positive: Floats, negatives: Floats, rows: int, width: int,
    per_job: int, margin: float, eps: float, near: Floats, far: Floats, terms: Floats,
    totals: Doubles,
) -> None:  # fmt: skip
    total = 0.0
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        near[r] = _distance(anchor, positive, r * width, width, eps)
        far[r] = _distance(anchor, negatives, r * width, width, eps)
        term = near[r] - far[r] + margin
        if term < 0.0:
            term = np.float32(0.0)
        terms[r] = term
        total += term
    totals[job] = total


@Job
def _triplet_back(
    job: int, anchor: Floats, positive: Floats, negatives: Floats, rows: int, width: int,
    per_job: int, margin: float, eps: float, near: Floats, far: Floats, scales: Floats, step: int,
    by_anchor: Floats, by_positive: Floats, by_negative: Floats,
) -> None:  # fmt: skip
    none = splat_sixteen(0.0)
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        scale, start = splat_sixteen(np.float32(0.0)), r * width
        if near[r] - far[r] + margin >= 0.0:
            scale = splat_sixteen(scales[r * step])
        # A distance of zero has no slope.
        per_near, per_far = none, none
        if near[r] != 0.0:
            per_near = divide(scale, splat_sixteen(near[r]))
        if far[r] != 0.0:
            per_far = divide(scale, splat_sixteen(far[r]))
        for k in range(0, width, SIXTEEN):
            at, left = start + k, width - k
            of_near = multiply(per_near, _difference(anchor, positive, at, left, eps))
            of_far = multiply(per_far, _difference(anchor, negatives, at, left, eps))
            store_first(by_anchor, at, subtract(of_near, of_far), left)
            store_first(by_positive, at, negative(of_near), left)
            store_first(by_negative, at, of_far, left)


@Job
def _cosine(
    job: int, first: Floats, second: Floats, target: Floats, rows: int, width: int, per_job: int,
    margin: float, least: float, slopes: Floats, terms: Floats, totals: Doubles,
) -> None:  # fmt: skip
    """Keep what the derivatives by the one vector are multiples of: the other, and itself."""
    total = 0.0
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        across, along1, along2 = wide_zero(), wide_zero(), wide_zero()
        for k in range(0, width, SIXTEEN):
            a = load_first(first, r * width + k, width - k, 0.0)
            b = load_first(second, r * width + k, width - k, 0.0)
            across = widen_products(across, a, b)
            along1, along2 = widen_products(along1, a, a), widen_products(along2, b, b)
        square1, square2 = sum_of(along1) + least, sum_of(along2) + least
        lengths = root(square1) * root(square2)
        cosine = sum_of(across) / lengths
        term = slope = 0.0
        if target[r] == 1.0:
            term, slope = 1.0 - cosine, -1.0
        elif target[r] == -1.0:
            term = cosine - margin
            if term < 0.0:
                term = 0.0
            elif term >= 0.0:
                slope = 1.0
        terms[r] = term
        total += term
        slopes[r] = slope / lengths
        slopes[rows + r] = slope * cosine / square1
        slopes[2 * rows + r] = slope * cosine / square2
    totals[job] = total


@Job
def _cosine_back(
    job: int, first: Floats, second: Floats, slopes: Floats, rows: int, width: int, per_job: int,
    scales: Floats, step: int, by_first: Floats, by_second: Floats,
) -> None:  # fmt: skip
    for r in range(job * per_job, min(rows, (job + 1) * per_job)):
        scale = scales[r * step]
        across = splat_sixteen(scale * slopes[r])
        along1 = splat_sixteen(scale * slopes[rows + r])
        along2 = splat_sixteen(scale * slopes[2 * rows + r])
        for k in range(0, width, SIXTEEN):
            at, left = r * width + k, width - k
            a, b = load_first(first, at, left, 0.0), load_first(second, at, left, 0.0)
            store_first(by_first, at, subtract(multiply(across, b), multiply(along1, a)), left)
            store_first(by_second, at, subtract(multiply(across, a), multiply(along2, b)), left)
