"""Batch normalisation (Ioffe & Szegedy, 2015): every channel to mean 0 and variance 1."""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.kernels.half import narrow, widen
from xpcnn.ops.checks import check_floats
from xpcnn.ops.sums import mean as average
from xpcnn.ops.sums import total
from xpcnn.window import Ints

BatchNormState = tuple[Array, Array, Array | None, bool]


def batch_norm_forward(
    xp: ModuleType,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    eps: float,
    statistics: tuple[Array, Array] | None,
) -> tuple[tuple[Array, Array, Array], BatchNormState]:
    """Normalise channel c of x (N, C, *spatial), then scale by gamma and shift by beta.

    Half precision is computed in float32; gamma, beta and the statistics may be of float32 then.

    Parameters
    ----------
    statistics : (mean, variance), each of shape (C,), or None
        Given: use them. None: use those of this batch (the variance divides by the count).

    Returns
    -------
    (y, mean, variance)
        What was computed, and the statistics used, of float32 where x is of half precision.
    """
    axes, dtype = (0, *range(2, x.ndim)), x.dtype
    x = widen(xp, x)
    gamma, beta = (None if a is None else widen(xp, a) for a in (gamma, beta))
    if statistics is None:
        mean = average(xp, x, axes)
        centered = x - per_channel(mean, x)
        variance = average(xp, centered * centered, axes)
    else:
        mean, variance = (widen(xp, a) for a in statistics)
        centered = x - per_channel(mean, x)
    inv_std = 1.0 / xp.sqrt(variance + eps)
    x_hat = centered * per_channel(inv_std, x)
    y = scale_and_shift(xp, x_hat, gamma, beta, (-1, *(1,) * (x.ndim - 2)))
    return (narrow(xp, y, dtype), mean, variance), (x_hat, inv_std, gamma, statistics is None)


def batch_norm_backward(
    xp: ModuleType, dy: Array, saved: BatchNormState, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Return the gradients (dx, dgamma, dbeta).

    With the batch's own statistics, mean and variance depend on x too:

        dx = inv_std * gamma * (dy - mean(dy) - x_hat * mean(dy * x_hat))
    """
    x_hat, inv_std, gamma, own_statistics = saved
    axes, dtype = (0, *range(2, dy.ndim)), dy.dtype
    dy = widen(xp, dy)
    dgamma = total(xp, dy * x_hat, axes)
    dbeta = total(xp, dy, axes)
    dx: Any = None
    if need_dx:
        scale = inv_std if gamma is None else inv_std * gamma
        dx = dy
        if own_statistics:
            count = prod(dy.shape[a] for a in axes)
            dx = dy - per_channel(dbeta / count, dy)
            dx = dx - x_hat * per_channel(dgamma / count, dy)
        dx = narrow(xp, dx * per_channel(scale, dy), dtype)
    return dx, dgamma, dbeta


def scale_and_shift(
    xp: ModuleType, x: Array, gamma: Array | None, beta: Array | None, shape: Ints
) -> Array:
    """Multiply by gamma and add beta, as far as they are there, each brought to a shape before."""
    if gamma is not None:
        x = x * xp.reshape(gamma, shape)
    return x if beta is None else x + xp.reshape(beta, shape)


def per_channel(values: Array, x: Array) -> Array:
    """View (C,) so that it broadcasts along the channel axis of x."""
    return values[(None, slice(None), *(None,) * (x.ndim - 2))]


BATCH_NORM = Op("batch_norm", batch_norm_forward, batch_norm_backward, check=check_floats)
