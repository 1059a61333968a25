"""Dropout: elements are set to zero at random, and the others scaled."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from xpcnn import _xp, rng
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_floats
from xpcnn.window import Ints

SELU_LIMIT = 1.7580993408473766
"""Scale times alpha of SELU, minus its limit at minus infinity."""


def dropout_forward(
    xp: ModuleType, x: Array, mask_shape: Ints, p: float, key: np.ndarray
) -> tuple[Array, tuple[Array, float]]:
    """Multiply x by a mask of 0 and 1 / (1 - p), drawn on the host from the key of `rng.key`.

    The mask has the shape of x, or 1 in its place along axes whose elements are dropped together.
    Saved is what was kept, as booleans, which take a quarter of the memory.
    """
    kept = xp.asarray(rng.uniform(key, mask_shape) >= p, device=_xp.device_of(x))
    scale = rng.scale_of_kept(p)
    return x * (xp.astype(kept, x.dtype) * scale), (kept, scale)


def dropout_backward(xp: ModuleType, dy: Array, saved: tuple[Array, float]) -> Array:
    """Return the gradient: scaled where x was kept."""
    kept, scale = saved
    return dy * (xp.astype(kept, dy.dtype) * scale)


def alpha_dropout_forward(
    xp: ModuleType, x: Array, mask_shape: Ints, p: float, key: np.ndarray
) -> tuple[Array, tuple[Array, float]]:
    """Set elements of x to the value to which SELU tends on the left, then scale and shift all.

    The mask is that of :func:`dropout_forward`; p is between 0 and 1.
    """
    kept = rng.uniform(key, mask_shape) >= p
    scale, added, instead = alpha_numbers(p)
    device = _xp.device_of(x)
    shift = xp.asarray(np.where(kept, added, instead), dtype=x.dtype, device=device)
    kept = xp.asarray(kept, device=device)
    return x * (xp.astype(kept, x.dtype) * scale) + shift, (kept, scale)


def alpha_numbers(p: float) -> tuple[float, float, float]:
    """Return the scale, what is added to what was kept, and what is in the place of the others.

    Of elements of mean 0 and variance 1, of which the share p becomes `left`, the variance is
    (1 - p) (1 + p left^2) and the mean p left.
    """
    left = -SELU_LIMIT
    scale = ((1.0 - p) * (1.0 + p * left * left)) ** -0.5
    return scale, -p * left * scale, (1.0 - p) * left * scale


DROPOUT = Op("dropout", dropout_forward, dropout_backward, check=check_floats)
ALPHA_DROPOUT = Op("alpha_dropout", alpha_dropout_forward, dropout_backward, check=check_floats)
