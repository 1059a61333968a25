"""Group normalisation, of which instance normalisation is the case of one channel per group.

Channels-last arrays are rows of channels, and go through the kernels of batch normalisation with
every sample as a part of its own: sums of single channels, which are then put together to those of
groups. In channels-first arrays a channel of a sample is a plane of numbers that lie side by side,
and a group a row of several planes.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.elementwise import Rows, as_rows, declined, new_rows
from xpcnn.kernels.cpu.functions import load_up_to, store_up_to
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job
from xpcnn.kernels.cpu.layer_norm import add_row, moments_of_row, rows_per_job
from xpcnn.kernels.cpu.layout import in_order
from xpcnn.kernels.cpu.norm import (
    OPEN,
    gradient_sums,
    input_gradient,
    moments,
    normalise,
    per_piece,
)
from xpcnn.kernels.cpu.vector import SIXTEEN, WIDTH, add, fma, splat_sixteen
from xpcnn.kernels.trace import Declined


class State(NamedTuple):
    """What backward needs.

    Attributes
    ----------
    x : Rows, or float32 array of one dimension
        The input: rows of channels, or planes one after the other.
    groups : int
    center, inv_std, scale : float32 arrays of shape (N, lanes)
        ``y = (x + center) * scale + beta``, and scale is inv_std times gamma. Planes have as many
        lanes as there are channels.
    gamma : float32 array of shape (C,), or None
    has_beta : bool
    """

    x: Any
    groups: int
    center: np.ndarray
    inv_std: np.ndarray
    scale: np.ndarray
    gamma: np.ndarray | None
    has_beta: bool


def group_norm_forward(xp: Any, x: Any, gamma: Any, beta: Any, groups: int, eps: float) -> Any:
    """Normalise each group of channels of each sample; see the generic kernel."""
    values = [a for a in (x, gamma, beta) if a is not None]
    if x.size == 0 or any(a.dtype != np.float32 for a in values):
        return declined(*values)
    n, channels = x.shape[:2]
    plane = prod(x.shape[2:])
    if x.flags.c_contiguous and plane >= WIDTH:
        source: Any = np.require(x, None, ["A"]).reshape(-1)
        lanes = channels
        mean, variance = _moments_of_planes(source, n * groups, x.size // (n * groups))
    else:
        source = as_rows(x)
        lanes = source.lanes
        mean, variance = _moments_of_rows(source, n, channels, plane, groups)
    center, inv_std, scale, shift = (np.empty((n, lanes), np.float32) for _ in range(4))
    means, variances = (np.empty((n, groups), np.float32) for _ in range(2))
    threads.launch(
        n * lanes, _coefficients, n, mean, variance, channels, groups, lanes, float(eps),
        np.ones(channels, np.float32) if gamma is None else np.ascontiguousarray(gamma),
        np.zeros(channels, np.float32) if beta is None else np.ascontiguousarray(beta),
        *(a.reshape(-1) for a in (center, inv_std, scale, shift, means, variances)),
    )  # fmt: skip
    y = _normalised(source, x.shape, center, scale, shift)
    state = State(source, groups, center, inv_std, scale, gamma, beta is not None)
    return (y, means, variances), state


def group_norm_backward(xp: Any, dy: Any, saved: State, need_dx: bool) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dgamma, dbeta)."""
    n, channels = dy.shape[:2]
    plane = prod(dy.shape[2:])
    lanes = saved.center.shape[1]
    source = as_rows(dy) if isinstance(saved.x, Rows) else _in_planes(dy)
    plain, product = _sums(saved, source, n, lanes, plane)
    product *= saved.inv_std
    dgamma = dbeta = dx = None
    if saved.gamma is not None:
        dgamma = product.sum(axis=0)[:channels].astype(np.float32)
    if saved.has_beta:
        dbeta = plain.sum(axis=0)[:channels].astype(np.float32)
    if need_dx:
        # dx = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)), g being dy * gamma, multiplied out
        means = [_mean_of_groups(a, saved, channels, plane) for a in (plain, product)]
        constant = (-saved.inv_std * means[0]).astype(np.float32)
        slope = (-saved.inv_std * saved.inv_std * means[1]).astype(np.float32)
        dx = _input_gradient(saved, source, constant, slope, dy.shape)
    return dx, dgamma, dbeta


@Job
def _coefficients(
    n: int, mean: Doubles, variance: Doubles, channels: int, groups: int, lanes: int, eps: float,
    gamma: Floats, beta: Floats, center: Floats, inv_std: Floats, scale: Floats, shift: Floats,
    means: Floats, variances: Floats,
) -> None:  # fmt: skip
    """Write the numbers with which each channel of a sample is normalised, and those of groups."""
    for g in range(groups):
        means[n * groups + g] = mean[n * groups + g]
        variances[n * groups + g] = variance[n * groups + g]
    for c in range(channels):
        group, to = n * groups + c * groups // channels, n * lanes + c
        center[to] = -mean[group]
        inv_std[to] = 1.0 / math.sqrt(variance[group] + eps)
        scale[to] = inv_std[to] * gamma[c]
        shift[to] = beta[c]
    for to in range(n * lanes + channels, (n + 1) * lanes):
        center[to] = inv_std[to] = scale[to] = shift[to] = 0.0


def _mean_of_groups(sums: np.ndarray, saved: State, channels: int, plane: int) -> np.ndarray:
    """Return the mean over each group, for every lane, of sums over the planes times gamma."""
    weighted = sums[:, :channels] if saved.gamma is None else sums[:, :channels] * saved.gamma
    members = channels // saved.groups
    totals = weighted.reshape(len(sums), saved.groups, members).sum(axis=2)
    out = np.zeros(sums.shape)
    out[:, :channels] = np.repeat(totals / (members * plane), members, axis=1)
    return out


def _normalised(
    x: Any, shape: tuple[int, ...], center: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Return ``(x + center) * scale + shift``, with numbers for every lane of every sample."""
    n, lanes = center.shape
    plane = prod(shape[2:])
    values = [a.reshape(-1) for a in (center, scale, shift)]
    if isinstance(x, Rows):
        flat, y = new_rows(shape)
        per = per_piece(lanes)
        pieces = -(-plane // per)
        threads.launch(
            2 * n * plane * lanes, normalise, n * pieces, x.flat, x.pitch, x.flat, x.pitch, *values,
            lanes, plane, per, pieces, 0, 0, flat,
        )  # fmt: skip
        return y
    y, per = buffers.empty(shape), rows_per_job(plane)
    threads.launch(
        2 * x.size, _normalise_planes, -(-n * lanes // per), x, n * lanes, plane, per, *values,
        y.reshape(-1),
    )  # fmt: skip
    return y


# -- Rows of channels ------------------------------------------------------------------------------


def _moments_of_rows(
    rows: Rows, n: int, channels: int, positions: int, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    lanes, per = rows.lanes, per_piece(rows.lanes)
    pieces = -(-positions // per)
    partial = buffers.empty((n, pieces, 3, lanes), np.float64)
    threads.launch(
        4 * n * positions * lanes, moments, n * pieces, rows.flat, rows.pitch, lanes, positions,
        per, pieces, partial.reshape(-1),
    )  # fmt: skip
    mean, variance = np.empty(n * groups), np.empty(n * groups)
    threads.launch(
        partial.size, _combine_channels, n, partial.reshape(-1), lanes, positions, per, pieces,
        groups, channels // groups, mean, variance,
    )  # fmt: skip
    return mean, variance


@Job
def _combine_channels(
    n: int, partial: Doubles, lanes: int, positions: int, per: int, pieces: int, groups: int,
    members: int, mean: Doubles, variance: Doubles,
) -> None:  # fmt: skip
    """Combine the moments of the channels and pieces of each group of a sample."""
    for g in range(groups):
        total = squares = 0.0
        for piece in range(pieces):
            count = min(per, positions - piece * per)
            at = 3 * (n * pieces + piece) * lanes
            for c in range(g * members, (g + 1) * members):
                rest = partial[at + lanes + c]
                # Around an infinite center nothing is left that could be summed.
                total += (rest if rest == rest else 0.0) - count * partial[at + c]
        total /= positions * members
        for piece in range(pieces):
            count = min(per, positions - piece * per)
            at = 3 * (n * pieces + piece) * lanes
            for c in range(g * members, (g + 1) * members):
                rest = partial[at + lanes + c] / count
                away = rest - partial[at + c] - total
                own = partial[at + 2 * lanes + c] - count * (rest * rest)
                squares += (own if not own < 0 else 0.0) + count * (away * away)
        mean[n * groups + g] = total
        variance[n * groups + g] = squares / (positions * members)


def _sums(saved: State, d: Any, n: int, lanes: int, plane: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of dy and of dy * (x + center) over each plane, of shape (N, lanes)."""
    center, scale = saved.center.reshape(-1), saved.scale.reshape(-1)
    x = saved.x
    if isinstance(x, Rows):
        per = per_piece(lanes)
        pieces = -(-plane // per)
        partial = buffers.empty((n, pieces, 2, lanes), np.float64)
        threads.launch(
            4 * n * plane * lanes, gradient_sums, n * pieces, x.flat, x.pitch, d.flat, d.pitch,
            d.flat, d.pitch, center, scale, scale, lanes, plane, per, pieces, OPEN, d.flat,
            partial.reshape(-1),
        )  # fmt: skip
        total = partial.sum(axis=1)
        return total[:, 0], total[:, 1]
    per = rows_per_job(plane)
    sums = np.empty((n, lanes, 2))
    threads.launch(
        4 * d.size, _sums_of_planes, -(-n * lanes // per), x, d, n * lanes, plane, per, center,
        sums.reshape(-1),
    )  # fmt: skip
    return sums[:, :, 0], sums[:, :, 1]


def _input_gradient(
    saved: State, d: Any, constant: np.ndarray, slope: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return ``scale * dy + constant + slope * (x + center)``."""
    n, lanes = constant.shape
    plane = prod(shape[2:])
    values = [a.reshape(-1) for a in (saved.center, saved.scale, constant, slope)]
    x = saved.x
    if isinstance(x, Rows):
        flat, dx = new_rows(shape)
        per = per_piece(lanes)
        pieces = -(-plane // per)
        center, scale, *_ = values
        threads.launch(
            4 * n * plane * lanes, input_gradient, n * pieces, x.flat, x.pitch, d.flat, d.pitch,
            center, scale, scale, *values[2:], lanes, plane, per, pieces, 0, 1, flat,
        )  # fmt: skip
        return dx
    dx, per = buffers.empty(shape), rows_per_job(plane)
    threads.launch(
        4 * d.size, _gradient_of_planes, -(-n * lanes // per), x, d, n * lanes, plane, per, *values,
        dx.reshape(-1),
    )  # fmt: skip
    return dx


# -- Planes ----------------------------------------------------------------------------------------


def _in_planes(x: np.ndarray) -> np.ndarray:
    """Return the numbers of x in the order of its axes, as one axis."""
    found = in_order(None, x)
    ordered = x if isinstance(found, Declined) else found[0]
    return np.require(ordered, None, ["C", "A"]).reshape(-1)


def _moments_of_planes(x: np.ndarray, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every `length` numbers."""
    per = rows_per_job(length)
    mean, variance = np.empty(rows), np.empty(rows)
    jobs = -(-rows // per)
    threads.launch(
        4 * x.size, _write_moments, jobs, x, rows, length, per, np.empty(2 * jobs), mean, variance
    )
    return mean, variance


@Job
def _write_moments(
    job: int, x: Floats, rows: int, length: int, per: int, sums: Doubles, mean: Doubles,
    variance: Doubles,
) -> None:  # fmt: skip
    for r in range(job * per, min(rows, (job + 1) * per)):
        moments_of_row(x, r * length, length, sums, 2 * job)
        mean[r] = sums[2 * job]
        variance[r] = sums[2 * job + 1]


@Job
def _normalise_planes(
    job: int, x: Floats, planes: int, plane: int, per: int, center: Floats, scale: Floats,
    shift: Floats, y: Floats,
) -> None:  # fmt: skip
    for r in range(job * per, min(planes, (job + 1) * per)):
        middle, factor = splat_sixteen(center[r]), splat_sixteen(scale[r])
        moved, end = splat_sixteen(shift[r]), (r + 1) * plane
        for at in range(r * plane, end, SIXTEEN):
            value = add(load_up_to(x, at, end, 0.0), middle)
            store_up_to(y, at, end, fma(value, factor, moved))


@Job
def _sums_of_planes(
    job: int, x: Floats, dy: Floats, planes: int, plane: int, per: int, center: Floats,
    sums: Doubles,
) -> None:  # fmt: skip
    nothing = np.float32(0.0)
    for r in range(job * per, min(planes, (job + 1) * per)):
        at = r * plane
        add_row(dy, at, nothing, x, at, center[r], x, 0, plane, sums, 2 * r)


@Job
def _gradient_of_planes(
    job: int, x: Floats, dy: Floats, planes: int, plane: int, per: int, center: Floats,
    scale: Floats, constant: Floats, slope: Floats, dx: Floats,
) -> None:  # fmt: skip
    """Compute ``scale * dy + constant + slope * (x + center)``."""
    for r in range(job * per, min(planes, (job + 1) * per)):
        middle, factor = splat_sixteen(center[r]), splat_sixteen(scale[r])
        start, tilt, end = splat_sixteen(constant[r]), splat_sixteen(slope[r]), (r + 1) * plane
        for at in range(r * plane, end, SIXTEEN):
            rest = fma(add(load_up_to(x, at, end, 0.0), middle), tilt, start)
            store_up_to(dx, at, end, fma(load_up_to(dy, at, end, 0.0), factor, rest))
