"""Image to columns and back: the rearrangement that turns a convolution into a matrix product.

Arrays here are channel-major, ``(C, N, *spatial)``. Every column of the result is what the window
sees at one position of one image, so that ``weights @ columns`` is the convolution:

    columns[c * taps + tap, n * positions + position]

``xp`` is the array library, with NumPy's names, and an ``Array`` one of its arrays; ``Ints`` are a
tuple of int, ``Pairs`` one of (before, after). A ``Window`` is the geometry: `taps` is the number
of elements in it, and ``views(out)`` lists, for each of them, the index of what it sees at all
positions of the output. ``_xp.set_at(x, index, y)`` is ``x[index] = y`` and ``_xp.add_at`` is
``x[index] += y``, also for libraries whose arrays cannot be changed; ``_xp.device_of`` is where an
array lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from types import ModuleType

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.window import Ints, Pairs, Window


def channel_major(xp: ModuleType, x: Array) -> Array:
    """Swap the batch and the channel axis: (N, C, ...) to (C, N, ...) and back."""
    return xp.permute_dims(x, (1, 0, *range(2, x.ndim)))


def pad_spatial(xp: ModuleType, x: Array, window: Window, value: float = 0.0) -> Array:
    """Surround the spatial axes by the window's padding, filled with `value`."""
    if not window.is_padded:
        return x
    shape = x.shape[:2] + window.padded_shape(x.shape[2:])
    like = {"dtype": x.dtype, "device": _xp.device_of(x)}
    padded = xp.full(shape, value, **like) if value else xp.zeros(shape, **like)
    return _xp.set_at(padded, _core_of(window.padding, tuple(x.shape[2:])), x)


def crop_spatial(x: Array, window: Window, spatial: Sequence[int]) -> Array:
    """Cut the padding off again."""
    return x[_core_of(window.padding, tuple(spatial))] if window.is_padded else x


@lru_cache(maxsize=256)
def _core_of(padding: Pairs, spatial: Ints) -> tuple[slice, ...]:
    inner = (slice(before, before + n) for n, (before, _) in zip(spatial, padding, strict=True))
    return (slice(None), slice(None), *inner)


def im2col(
    xp: ModuleType,
    x: Array,
    window: Window,
    out: Ints,
    groups: int | None = None,
) -> Array:
    """Gather the columns of a padded, channel-major image.

    Parameters
    ----------
    x : array of shape (C, N, *padded spatial)
    window : Window
        Its padding is not looked at: `x` is padded already.
    out : tuple of int
        Number of window positions per dimension.
    groups : int, optional
        Into so many blocks of channels the rows are cut.

    Returns
    -------
    array of shape (C * taps, N * prod(out))
        With `groups`, (groups, C / groups * taps, N * prod(out)).
    """
    with_taps = x[:, None, ...]
    seen = [with_taps[(slice(None), *view)] for view in window.views(out)]
    columns = xp.concat(seen, axis=1)  # (C, taps, N, *out)
    rows, positions = x.shape[0] * window.taps, x.shape[1] * prod(out)
    shape = (rows, positions) if groups is None else (groups, rows // groups, positions)
    return xp.reshape(columns, shape)


def col2im(
    xp: ModuleType, columns: Array, shape: Sequence[int], window: Window, out: Ints
) -> Array:
    """Add every column back to where :func:`im2col` took it from (its transpose).

    Parameters
    ----------
    columns : array of shape (C * taps, N * prod(out))
    shape : (C, N, *padded spatial)

    Returns
    -------
    array of that shape; elements seen by several windows hold the sum.
    """
    columns = xp.reshape(columns, (shape[0], window.taps, shape[1], *out))
    x = xp.zeros(tuple(shape), dtype=columns.dtype, device=_xp.device_of(columns))
    for number, view in enumerate(window.views(out)):
        x = _xp.add_at(x, view, columns[:, number, ...])
    return x
