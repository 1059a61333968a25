"""Looking up rows of a table by their numbers."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_integers
from xpcnn.ops.tables import pick

EmbeddingState = tuple[np.ndarray, int]


def host_indices(w: Array, indices: Array, who: str) -> np.ndarray:
    """Return the indices as NumPy's.

    Raises
    ------
    ValueError
        If an index is not from 0 to V - 1.
    """
    _xp.namespace(w, indices, who=who)
    check_integers(indices, who)
    host = _xp.to_numpy(indices)
    if host.min() < 0 or host.max() >= w.shape[0]:
        raise ValueError(
            f"{who}: expected indices from 0 to {w.shape[0] - 1}, got some from {host.min()} to "
            f"{host.max()}"
        )
    return host.astype("int64")


def embedding_forward(
    xp: ModuleType, w: Array, indices: np.ndarray
) -> tuple[Array, EmbeddingState]:
    """Return the rows of w (V, D) that indices (...) name: (..., D). The indices are NumPy's."""
    flat = indices.reshape(-1)
    rows = pick(xp, w, 0, flat)
    return xp.reshape(rows, (*indices.shape, w.shape[1])), (flat, w.shape[0])


def embedding_backward(
    xp: ModuleType, dy: Array, saved: EmbeddingState, padding_idx: int | None
) -> Array:
    """Return dw: each row's gradient is the sum over all places that named it.

    The sums are made by adding the gradients of a row in pairs, then the sums in pairs, and so on:
    that takes ``log2(places)`` rounds for all rows together, and no indexed addition, which the
    Array API lacks. `padding_idx` gets no gradient.
    """
    flat, n_rows = saved
    order = np.argsort(flat, kind="stable")
    owners = flat[order]
    if padding_idx is not None:
        order, owners = order[owners != padding_idx], owners[owners != padding_idx]
    parts = xp.reshape(dy, (-1, dy.shape[-1]))
    parts = pick(xp, parts, 0, order)
    while len(owners) and (owners[1:] == owners[:-1]).any():
        is_first = np.append(True, owners[1:] != owners[:-1])
        rank = np.arange(len(owners)) - np.maximum.accumulate(
            np.where(is_first, np.arange(len(owners)), 0)
        )
        left = np.flatnonzero(rank % 2 == 0)
        has_right = np.append(owners[1:] == owners[:-1], False)[left]
        # one without a partner adds the row of zeros behind the last
        right = np.where(has_right, left + 1, len(owners))
        parts = pick(xp, parts, 0, left) + pick(xp, _with_zeros(xp, parts), 0, right)
        owners = owners[left]
    where = np.full(n_rows, len(owners))
    where[owners] = np.arange(len(owners))
    return pick(xp, _with_zeros(xp, parts), 0, where)


def _with_zeros(xp: ModuleType, rows: Array) -> Array:
    """Return the rows with one of zeros behind the last."""
    zeros = xp.zeros((1, rows.shape[1]), dtype=rows.dtype, device=_xp.device_of(rows))
    return xp.concat([rows, zeros], axis=0)


EMBEDDING = Op("embedding", embedding_forward, embedding_backward)
