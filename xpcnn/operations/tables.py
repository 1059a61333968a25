"""The gradient of elements taken along one axis, by a table of positions that the host knows."""

from __future__ import annotations

from math import prod
from types import ModuleType

import numpy as np

from xpcnn._xp import Array
from xpcnn.ops.embedding import embedding_backward


def add_back(xp: ModuleType, dy: Array, axis: int, positions: np.ndarray, n: int) -> Array:
    """Add the elements of dy to those of an axis of length n that they were picked from.

    A position of -1 belongs to nobody: what stands there is dropped.
    """
    order = (axis, *(a for a in range(dy.ndim) if a != axis))
    rest = tuple(dy.shape[a] for a in order[1:])
    rows = xp.reshape(xp.permute_dims(dy, order), (dy.shape[axis], prod(rest)))
    # elements of an axis are rows of a table, and nobody is one row more
    owners = np.where(positions < 0, n, positions).astype(np.int64)
    dx = embedding_backward(xp, rows, (owners, n + 1), n)[:n, :]
    return xp.permute_dims(xp.reshape(dx, (n, *rest)), tuple(np.argsort(order).tolist()))
