"""Images whose pixels come from other places, which differ from image to image of a batch.

Images are seen as a table with a column for each pixel, and the new ones look columns up. The
backward adds up, for each column, what came of it, as that of an embedding does.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.kernels.half import in_float32
from xpcnn.kernels.workspace import batch_chunks, joined
from xpcnn.ops.checks import check_floats
from xpcnn.ops.embedding import EMBEDDING

OUTSIDE = -1
"""Position of what lies outside of an image."""

PIXEL_BYTES = 64
"""What the coordinates and weights of a pixel take while it is worked on."""


# -- Whole pixels ----------------------------------------------------------------------------------


def move_forward(
    xp: ModuleType, x: Array, rows: np.ndarray, columns: np.ndarray, fill: np.ndarray
) -> tuple[Array, Any]:
    """Take from each image of x (N, C, H, W) the rows and columns at positions of its own.

    Parameters
    ----------
    rows : numpy.ndarray of int64, shape (N, new H)
    columns : numpy.ndarray of int64, shape (N, new W)
        A position may be :data:`OUTSIDE`.
    fill : numpy.ndarray, shape (C,) or (1,)
        What stands outside of an image.
    """
    down, across = (
        xp.asarray(part, device=_xp.device_of(x)) for part in _positions(rows, columns, x.shape)
    )
    y = xp.take(_as_table(xp, x), xp.reshape(down + across, (-1,)), axis=1)
    y = _as_images(xp, y, (len(rows), rows.shape[1], columns.shape[1]))
    inside = _inside(rows, columns)
    if inside is not None:
        kept = xp.asarray(inside, device=_xp.device_of(x))
        y = xp.where(kept, y, _per_channel(xp, fill, x))
    return y, (rows, columns, inside, tuple(x.shape))


def move_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    """Give every pixel the gradients of those that were taken from it."""
    rows, columns, inside, shape = saved
    if inside is not None:
        kept = xp.asarray(inside, device=_xp.device_of(dy))
        dy = xp.where(kept, dy, xp.zeros_like(dy))
    down, across = _positions(rows, columns, shape)
    return _add_up(xp, _as_table(xp, dy), (down + across).reshape(-1), shape)


def _positions(
    rows: np.ndarray, columns: np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of the table that are looked up, as (N, new H, 1) plus (N, 1, new W)."""
    n, _, height, width = shape
    first = np.arange(n)[:, None] * height + np.maximum(rows, 0)
    return first[:, :, None] * width, np.maximum(columns, 0)[:, None, :]


def _inside(rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """Return where there are pixels of the image; ``None`` if everywhere."""
    if rows.min() > OUTSIDE and columns.min() > OUTSIDE:
        return None
    return np.asarray(((rows > OUTSIDE)[:, :, None] & (columns > OUTSIDE)[:, None, :])[:, None])


MOVE = Op("move_pixels", move_forward, move_backward, check=check_floats)


# -- Mixtures along one axis after the other -------------------------------------------------------


def resample_forward(
    xp: ModuleType, x: Array, axes: Sequence[tuple[int, np.ndarray, np.ndarray | None]]
) -> tuple[Array, Any]:
    """Make each position of an axis of x (N, C, H, W) of a few old ones, for each image others.

    Parameters
    ----------
    axes : sequence of (axis, positions, weights)
        Both of shape (N, new length, K): the old positions, and how much each counts; ``None`` as
        weights takes the one old position (K = 1) as it is.
    """
    lengths = [int(x.shape[axis]) for axis, *_ in axes]
    for axis, positions, weights in axes:
        order = (0, axis, *(a for a in range(1, x.ndim) if a != axis))
        x = xp.permute_dims(x, order)
        n, old, rest = x.shape[0], x.shape[1], tuple(x.shape[2:])
        table = xp.reshape(x, (n * old, -1))
        total = None
        for k in range(positions.shape[2]):
            where = (np.arange(n)[:, None] * old + positions[:, :, k]).reshape(-1)
            part = xp.take(table, xp.asarray(where, device=_xp.device_of(x)), axis=0)
            if weights is not None:
                part = part * _column(xp, x, weights[:, :, k])
            total = part if total is None else total + part
        x = xp.reshape(total, (n, positions.shape[1], *rest))
        x = xp.permute_dims(x, tuple(order.index(a) for a in range(x.ndim)))
    return x, (axes, lengths)


def resample_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    """Give every old position its share of the gradients of the new ones."""
    axes, lengths = saved
    for (axis, positions, weights), old in reversed(list(zip(axes, lengths, strict=True))):
        order = (0, axis, *(a for a in range(1, dy.ndim) if a != axis))
        dy = xp.permute_dims(dy, order)
        n, rest = dy.shape[0], tuple(dy.shape[2:])
        given = xp.reshape(dy, (n * dy.shape[1], -1))
        parts, places = [], []
        for k in range(positions.shape[2]):
            where = (np.arange(n)[:, None] * old + positions[:, :, k]).reshape(-1)
            parts.append(given if weights is None else given * _column(xp, dy, weights[:, :, k]))
            places.append(where)
        found = _sum_rows(xp, xp.concat(parts, axis=0), np.concatenate(places), n * old)
        dy = xp.reshape(found, (n, old, *rest))
        dy = xp.permute_dims(dy, tuple(order.index(a) for a in range(dy.ndim)))
    return dy


def _column(xp: ModuleType, x: Array, weights: np.ndarray) -> Array:
    flat = np.ascontiguousarray(weights).reshape(-1, 1)
    return xp.asarray(flat, dtype=x.dtype, device=_xp.device_of(x))


RESAMPLE = Op("resample", *in_float32(resample_forward, resample_backward), check=check_floats)


# -- Any affine map --------------------------------------------------------------------------------


def warp_forward(
    xp: ModuleType, x: Array, matrices: np.ndarray, interpolation: str, fill: np.ndarray
) -> tuple[Array, Any]:
    """Move the pixels of each image of x (N, C, H, W) by an affine map of its own.

    Parameters
    ----------
    matrices : numpy.ndarray, shape (N, 2, 3)
        ``(old x, old y) = matrix @ (new x, new y, 1)``, in pixels from the middle of an image.
    interpolation : {"nearest", "bilinear"}
    fill : numpy.ndarray, shape (C,) or (1,)
        What stands outside of an image. With "bilinear" a pixel at the edge, a share m of which
        lies inside, becomes ``m * mixture + (1 - m) * fill``, where what lies outside counts 0 in
        the mixture, as in torchvision.
    """
    scratch = PIXEL_BYTES * int(x.shape[2] * x.shape[3])
    pieces = [
        _warped(xp, x[chunk, ...], matrices[chunk], interpolation, fill)
        for chunk in batch_chunks(x, scratch)
    ]
    return joined(xp, pieces, axis=0), (matrices, interpolation, tuple(x.shape))


def _warped(
    xp: ModuleType, x: Array, matrices: np.ndarray, interpolation: str, fill: np.ndarray
) -> Array:
    table, shape = _as_table(xp, x), (x.shape[0], *x.shape[2:])
    total: Any = None
    share: Any = None
    for where, weight in _corners(xp, x, matrices, interpolation):
        part = xp.take(table, where, axis=1)
        # zero times infinity would be NaN
        part = xp.where(weight > 0, part, xp.zeros_like(part)) * weight
        total = part if total is None else total + part
        share = weight if share is None else share + weight
    filled = xp.reshape(xp.asarray(fill, dtype=x.dtype, device=_xp.device_of(x)), (-1, 1))
    y = share * total + (1.0 - share) * filled
    return _as_images(xp, y, shape)


def warp_backward(xp: ModuleType, dy: Array, saved: Any) -> Array:
    """Give every pixel its share of the gradients of those that it went into.

    The host waits for a device here: it sorts the positions, which must be those of the forward to
    the last bit, so that they are not worked out anew on the host.
    """
    matrices, interpolation, shape = saved
    corners = list(_corners(xp, dy, matrices, interpolation))
    share = sum(weight for _, weight in corners)
    given = _as_table(xp, dy) * share
    parts = xp.concat([given * weight for _, weight in corners], axis=1)
    places = np.concatenate([_xp.to_numpy(where) for where, _ in corners])
    return _add_up(xp, parts, places, shape)


def _corners(xp: ModuleType, x: Array, matrices: np.ndarray, interpolation: str) -> Any:
    """Yield, for all P new pixels, an old one and how much it counts, (1, P); 0 outside."""
    n, _, height, width = x.shape
    device = _xp.device_of(x)
    across, down = (
        xp.asarray(np.arange(length) - (length - 1) / 2, dtype=x.dtype, device=device)
        for length in (width, height)
    )
    m = xp.asarray(matrices, dtype=x.dtype, device=device)[:, :, :, None, None]
    across, down = across[None, None, :], down[None, :, None]
    old_x = m[:, 0, 0, ...] * across + m[:, 0, 1, ...] * down + (m[:, 0, 2, ...] + (width - 1) / 2)
    old_y = m[:, 1, 0, ...] * across + m[:, 1, 1, ...] * down + (m[:, 1, 2, ...] + (height - 1) / 2)
    first = xp.asarray(np.arange(n).reshape(-1, 1, 1) * (height * width), device=device)
    if interpolation == "nearest":
        steps = [(xp.round(old_x), xp.round(old_y), None)]
    else:
        left, top = xp.floor(old_x), xp.floor(old_y)
        right, low = old_x - left, old_y - top
        steps = [
            (left, top, (1 - right) * (1 - low)),
            (left + 1, top, right * (1 - low)),
            (left, top + 1, (1 - right) * low),
            (left + 1, top + 1, right * low),
        ]
    for column, row, weight in steps:
        inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
        counts = (
            xp.astype(inside, x.dtype)
            if weight is None
            else xp.where(inside, weight, xp.zeros_like(weight))
        )
        # limited before it is an integer, as far away there may be no such number
        column = xp.astype(_xp.clip(column, 0.0, width - 1.0), first.dtype)
        row = xp.astype(_xp.clip(row, 0.0, height - 1.0), first.dtype)
        where = first + row * width + column
        yield xp.reshape(where, (-1,)), xp.reshape(counts, (1, -1))


WARP = Op("warp", *in_float32(warp_forward, warp_backward), check=check_floats)


# -- Images as tables ------------------------------------------------------------------------------


def _as_table(xp: ModuleType, x: Array) -> Array:
    """Lay images (N, C, H, W) out as a table of pixels (C, N * H * W)."""
    return xp.reshape(xp.permute_dims(x, (1, 0, 2, 3)), (x.shape[1], -1))


def _as_images(xp: ModuleType, table: Array, shape: tuple[int, int, int]) -> Array:
    """View a table of pixels as images (N, C, H, W); `shape` is (N, H, W)."""
    return xp.permute_dims(xp.reshape(table, (table.shape[0], *shape)), (1, 0, 2, 3))


def _sum_rows(xp: ModuleType, rows: Array, where: np.ndarray, count: int) -> Array:
    """Add each row to one of `count`, which start as zeros."""
    like = xp.zeros((count, 1), dtype=rows.dtype, device=_xp.device_of(rows))
    _, saved = EMBEDDING.run(xp, like, where)
    return saved(rows, None)


def _add_up(xp: ModuleType, table: Array, where: np.ndarray, shape: Any) -> Array:
    """Add the columns of a table to the pixels of images of a shape."""
    n, _, height, width = shape
    rows = _sum_rows(xp, xp.permute_dims(table, (1, 0)), where, n * height * width)
    return _as_images(xp, xp.permute_dims(rows, (1, 0)), (n, height, width))


def _per_channel(xp: ModuleType, fill: np.ndarray, x: Array) -> Array:
    return xp.asarray(fill.reshape(1, -1, 1, 1), dtype=x.dtype, device=_xp.device_of(x))
