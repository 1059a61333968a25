"""Dropout: elements are set to zero at random, and the others scaled."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from xpcnn import _xp, rng
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_floats
from xpcnn.window import Ints


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


DROPOUT = Op("dropout", dropout_forward, dropout_backward, check=check_floats)
