"""Normalisation of each sample by numbers of its own: groups of channels, last axes, neighbours.

Group normalisation (Wu & He, 2018) has instance normalisation as the case of one channel per
group; layer normalisation (Ba et al., 2016) takes the last axes; RMS normalisation (Zhang &
Sennrich, 2019) does not subtract the mean; local response normalisation (Krizhevsky et al., 2012)
divides by what neighbouring channels have.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_floats
from xpcnn.ops.norm import per_channel, scale_and_shift
from xpcnn.ops.sums import mean as average
from xpcnn.ops.sums import total
from xpcnn.window import Ints


def group_norm_forward(
    xp: ModuleType,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    groups: int,
    eps: float,
) -> tuple[tuple[Array, Array, Array], Any]:
    """Normalise each group of channels of each sample, then scale and shift every channel.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    gamma, beta : array of shape (C,), or None

    Returns
    -------
    (y, mean, variance)
        The last two of shape (N, groups); the variance divides by the count.
    """
    rows = xp.reshape(x, (x.shape[0], groups, -1))
    x_hat, mean, variance, inv_std = standardise(xp, rows, eps)
    x_hat = xp.reshape(x_hat, x.shape)
    y = scale_and_shift(xp, x_hat, gamma, beta, (-1, *(1,) * (x.ndim - 2)))
    statistics = xp.squeeze(mean, axis=2), xp.squeeze(variance, axis=2)
    return (y, *statistics), (x_hat, inv_std, gamma, beta is not None)


def group_norm_backward(
    xp: ModuleType, dy: Array, saved: Any, need_dx: bool
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients (dx, dgamma, dbeta)."""
    x_hat, inv_std, gamma, has_beta = saved
    axes = (0, *range(2, dy.ndim))
    dgamma = None if gamma is None else total(xp, dy * x_hat, axes)
    dbeta = total(xp, dy, axes) if has_beta else None
    dx = None
    if need_dx:
        rows = (*inv_std.shape[:2], -1)
        g = xp.reshape(dy if gamma is None else dy * per_channel(gamma, dy), rows)
        dx = standardise_backward(xp, g, xp.reshape(x_hat, rows), inv_std)
        dx = xp.reshape(dx, dy.shape)
    return dx, dgamma, dbeta


def layer_norm_forward(
    xp: ModuleType, x: Array, gamma: Array | None, beta: Array | None, ndim: int, eps: float
) -> tuple[Array, Any]:
    """Normalise over the last `ndim` axes, then scale and shift each of their elements.

    gamma and beta have the shape of these axes, or are None.
    """
    rows = xp.reshape(x, (-1, prod(x.shape[x.ndim - ndim :])))
    x_hat, _, _, inv_std = standardise(xp, rows, eps)
    y = scale_and_shift(xp, x_hat, gamma, beta, (-1,))
    return xp.reshape(y, x.shape), (x_hat, inv_std, gamma, beta, ndim)


def layer_norm_backward(
    xp: ModuleType, dy: Array, saved: Any, need_dx: bool
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients (dx, dgamma, dbeta)."""
    x_hat, inv_std, gamma, beta, ndim = saved
    last = dy.shape[dy.ndim - ndim :]
    rows = xp.reshape(dy, x_hat.shape)
    dgamma = dbeta = dx = None
    if gamma is not None:
        dgamma = xp.reshape(total(xp, rows * x_hat, 0), last)
    if beta is not None:
        dbeta = xp.reshape(total(xp, rows, 0), last)
    if need_dx:
        g = rows if gamma is None else rows * xp.reshape(gamma, (-1,))
        dx = xp.reshape(standardise_backward(xp, g, x_hat, inv_std), dy.shape)
    return dx, dgamma, dbeta


def rms_norm_forward(
    xp: ModuleType, x: Array, gamma: Array | None, ndim: int, eps: float
) -> tuple[Array, Any]:
    """Divide by the root of the mean square over the last `ndim` axes, then scale by gamma."""
    rows = xp.reshape(x, (-1, prod(x.shape[x.ndim - ndim :])))
    inv_rms = 1.0 / xp.sqrt(average(xp, rows * rows, -1, keepdims=True) + eps)
    x_hat = rows * inv_rms
    y = scale_and_shift(xp, x_hat, gamma, None, (-1,))
    return xp.reshape(y, x.shape), (x_hat, inv_rms, gamma, ndim)


def rms_norm_backward(
    xp: ModuleType, dy: Array, saved: Any, need_dx: bool
) -> tuple[Array | None, Array | None]:
    """Return the gradients (dx, dgamma)."""
    x_hat, inv_rms, gamma, ndim = saved
    rows = xp.reshape(dy, x_hat.shape)
    dgamma = dx = None
    if gamma is not None:
        dgamma = total(xp, rows * x_hat, 0)
        dgamma = xp.reshape(dgamma, dy.shape[dy.ndim - ndim :])
    if need_dx:
        g = rows if gamma is None else rows * xp.reshape(gamma, (-1,))
        dx = (g - x_hat * average(xp, g * x_hat, -1, keepdims=True)) * inv_rms
        dx = xp.reshape(dx, dy.shape)
    return dx, dgamma


def standardise(
    xp: ModuleType, x: Array, eps: float, axes: int | Ints = -1
) -> tuple[Array, Array, Array, Array]:
    """Bring x to mean 0 and variance 1 along axes; returns it, mean, variance, 1 / deviation."""
    mean = average(xp, x, axes, keepdims=True)
    centered = x - mean
    variance = average(xp, centered * centered, axes, keepdims=True)
    inv_std = 1.0 / xp.sqrt(variance + eps)
    return centered * inv_std, mean, variance, inv_std


def standardise_backward(
    xp: ModuleType, g: Array, x_hat: Array, inv_std: Array, axes: int | Ints = -1
) -> Array:
    """Mean and deviation depend on x too, so their share of the gradient is taken out."""
    along = average(xp, g * x_hat, axes, keepdims=True)
    return (g - average(xp, g, axes, keepdims=True) - x_hat * along) * inv_std


def lrn_forward(
    xp: ModuleType, x: Array, sides: tuple[int, int], alpha: float, beta: float, k: float
) -> tuple[Array, Any]:
    """Divide by ``(k + alpha * mean of squares)^beta``, over neighbouring channels.

    sides : (before, after)
        How many channels before and after each count; those beyond the ends are zeros.
    """
    share = alpha / (sum(sides) + 1)
    base = _sum_of_neighbours(xp, x * x, sides) * share + k
    scale = base ** (-beta)
    return x * scale, (x, base, scale, sides, share, beta)


def lrn_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    """Return dx: through the element itself, and through its neighbours' divisors."""
    x, base, scale, sides, share, beta = saved
    through = _sum_of_neighbours(xp, dy * x * scale / base, (sides[1], sides[0]))
    return dy * scale - (2.0 * share * beta) * x * through


def _sum_of_neighbours(xp: ModuleType, x: Array, sides: tuple[int, int]) -> Array:
    """Add to every channel those of the `before` channels in front of it and `after` behind."""
    channels = x.shape[1]
    before, after = (min(side, channels - 1) for side in sides)
    total = xp.zeros(x.shape, dtype=x.dtype, device=_xp.device_of(x))
    for offset in range(-before, after + 1):
        seen = slice(max(offset, 0), channels + min(offset, 0))
        by = slice(max(-offset, 0), channels + min(-offset, 0))
        total = _xp.add_at(total, (slice(None), by, ...), x[:, seen, ...])
    return total


GROUP_NORM = Op("group_norm", group_norm_forward, group_norm_backward, check=check_floats)
LAYER_NORM = Op("layer_norm", layer_norm_forward, layer_norm_backward, check=check_floats)
RMS_NORM = Op("rms_norm", rms_norm_forward, rms_norm_backward, check=check_floats)
LOCAL_RESPONSE_NORM = Op("local_response_norm", lrn_forward, lrn_backward, check=check_floats)
