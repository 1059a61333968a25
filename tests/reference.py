"""Naive loops that say what the operations mean, element by element; oracles for the tests.

Nothing here is shared with the package. Positions are counted in the unpadded input, so the
padding before it has negative indices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

Pairs = Sequence[tuple[int, int]]


def starts(
    n: int, kernel: int, stride: int, dilation: int, sides: tuple[int, int], ceil_mode: bool = False
) -> list[int]:
    """Where the window may start along one axis.

    It must end inside the padded input; with `ceil_mode` it may stick out by less than a stride,
    but must not start in the padding behind the input.
    """
    before, after = sides
    found = []
    for start in range(-before, n + after, stride):
        overhang = start + dilation * (kernel - 1) + 1 - (n + after)
        if overhang <= 0 or (ceil_mode and overhang < stride and start < n):
            found.append(start)
    return found


def source(i: int, n: int, mode: str) -> int | None:
    """Which input element stands at position i of the padded input; None for a zero."""
    if 0 <= i < n:
        return i
    if mode == "reflect":
        return -i if i < 0 else 2 * (n - 1) - i
    if mode == "replicate":
        return 0 if i < 0 else n - 1
    if mode == "circular":
        return i % n
    return None


def same_sides(n: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """The smallest padding that gives ceil(n / stride) windows, the odd element at the end."""
    total = 0
    while len(starts(n, kernel, stride, dilation, (0, total))) < math.ceil(n / stride):
        total += 1
    return total // 2, total - total // 2


def positions(spatial, kernel, stride, dilation, padding, ceil_mode=False):
    """Yield (output index, start of the window), and the output size first."""
    axes = [
        starts(*geometry, ceil_mode)
        for geometry in zip(spatial, kernel, stride, dilation, padding, strict=True)
    ]
    out = tuple(len(axis) for axis in axes)
    return out, list(zip(np.ndindex(*out), itertools.product(*axes), strict=True))


def conv(x, w, b, dy, *, stride, padding, dilation, groups=1, mode="zeros"):
    """Return y, dx, dw, db of a convolution; `dy` may be a function of y's shape."""
    spatial, kernel = x.shape[2:], w.shape[2:]
    out, places = positions(spatial, kernel, stride, dilation, padding)
    y = np.zeros((x.shape[0], w.shape[0], *out))
    if callable(dy):
        dy = dy(y.shape)
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(w.shape[0])
    per_in, per_out = x.shape[1] // groups, w.shape[0] // groups
    for n, o, (p, start) in itertools.product(range(x.shape[0]), range(w.shape[0]), places):
        g = dy[(n, o, *p)]
        y[(n, o, *p)] = 0.0 if b is None else b[o]
        db[o] += g
        for c, tap in itertools.product(range(per_in), np.ndindex(*kernel)):
            index = tuple(
                source(a + t * d, size, mode)
                for a, t, d, size in zip(start, tap, dilation, spatial, strict=True)
            )
            if None in index:
                continue
            seen, weight = (n, o // per_out * per_in + c, *index), (o, c, *tap)
            y[(n, o, *p)] += w[weight] * x[seen]
            dw[weight] += g * x[seen]
            dx[seen] += g * w[weight]
    return y, dx, dw, db


def max_pool(x, dy, *, kernel, stride, padding, dilation, ceil_mode=False):
    """Return y and dx; the first of equal elements wins, padding never."""
    spatial = x.shape[2:]
    out, places = positions(spatial, kernel, stride, dilation, padding, ceil_mode)
    y = np.full((*x.shape[:2], *out), -np.inf)
    if callable(dy):
        dy = dy(y.shape)
    dx = np.zeros(x.shape)
    for n, c, (p, start) in itertools.product(range(x.shape[0]), range(x.shape[1]), places):
        winner = None
        for index in _inside(start, kernel, dilation, spatial):
            if winner is None or x[(n, c, *index)] > x[winner]:
                winner = (n, c, *index)
        if winner is not None:
            y[(n, c, *p)] = x[winner]
            dx[winner] += dy[(n, c, *p)]
    return y, dx


def avg_pool(
    x, dy, *, kernel, stride, padding, ceil_mode=False, count_include_pad=True, divisor=None
):
    """Return y and dx; what only ceil_mode added counts in no case."""
    spatial, ones = x.shape[2:], (1,) * (x.ndim - 2)
    out, places = positions(spatial, kernel, stride, ones, padding, ceil_mode)
    y, dx = np.zeros((*x.shape[:2], *out)), np.zeros(x.shape)
    if callable(dy):
        dy = dy(y.shape)
    for p, start in places:
        inside = list(_inside(start, kernel, ones, spatial))
        count = len(inside)
        if count_include_pad:
            shifted = tuple(a + before for a, (before, _) in zip(start, padding, strict=True))
            padded = tuple(n + sum(sides) for n, sides in zip(spatial, padding, strict=True))
            count = len(list(_inside(shifted, kernel, ones, padded)))
        for n, c in np.ndindex(*x.shape[:2]):
            for index in inside:
                y[(n, c, *p)] += x[(n, c, *index)] / (divisor or count)
                dx[(n, c, *index)] += dy[(n, c, *p)] / (divisor or count)
    return y, dx


def _inside(start, kernel, dilation, spatial):
    """Yield the input elements under a window, last axis fastest."""
    for tap in np.ndindex(*kernel):
        index = tuple(a + t * d for a, t, d in zip(start, tap, dilation, strict=True))
        if all(0 <= i < n for i, n in zip(index, spatial, strict=True)):
            yield index


def pad(x, padding, mode, dy):
    """Return the padded y and dx."""
    spatial = x.shape[2:]
    shape = tuple(n + sum(sides) for n, sides in zip(spatial, padding, strict=True))
    y, dx = np.zeros((*x.shape[:2], *shape)), np.zeros(x.shape)
    if callable(dy):
        dy = dy(y.shape)
    for position in np.ndindex(*shape):
        index = tuple(
            source(i - before, n, mode)
            for i, (before, _), n in zip(position, padding, spatial, strict=True)
        )
        y[(..., *position)] = x[(..., *index)]
        dx[(..., *index)] += dy[(..., *position)]
    return y, dx


def batch_norm(x, gamma, beta, eps, dy):
    """Return y, mean, variance, dx, dgamma, dbeta, from the whole Jacobian of every channel.

    d x_hat_j / d x_i = ((i == j) - 1 / m - x_hat_i x_hat_j / m) / std
    """
    y, dx = np.zeros(x.shape), np.zeros(x.shape)
    mean, variance, dgamma, dbeta = (np.zeros(x.shape[1]) for _ in range(4))
    for c in range(x.shape[1]):
        values, gradient = x[:, c].ravel(), dy[:, c].ravel()
        m = len(values)
        mean[c] = sum(values) / m
        variance[c] = sum((v - mean[c]) ** 2 for v in values) / m
        std = math.sqrt(variance[c] + eps)
        x_hat = (values - mean[c]) / std
        jacobian = (np.eye(m) - 1 / m - np.outer(x_hat, x_hat) / m) / std
        y[:, c] = (gamma[c] * x_hat + beta[c]).reshape(y[:, c].shape)
        dx[:, c] = (gamma[c] * jacobian.T @ gradient).reshape(dx[:, c].shape)
        dgamma[c], dbeta[c] = x_hat @ gradient, sum(gradient)
    return y, mean, variance, dx, dgamma, dbeta
