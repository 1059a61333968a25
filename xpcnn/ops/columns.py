"""im2col and col2im as public functions, in the layout of PyTorch's unfold and fold."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import run, select
from xpcnn.ops import im2col as gather
from xpcnn.ops.checks import check_spatial
from xpcnn.window import as_window


def im2col(
    x: Array, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Array:
    """Lay out what a sliding window sees, one column per position.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
        Any spatial rank, any dtype.
    kernel_size, stride, padding, dilation
        As in :class:`xpcnn.Conv2d`.

    Returns
    -------
    array of shape (N, C * taps, positions)
        Row ``c * taps + t`` holds tap t of channel c.

    Raises
    ------
    ValueError
        If the window does not fit into the padded input.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.im2col(np.array([[[1, 2, 3, 4]]]), 3)
    array([[[1, 2],
            [2, 3],
            [3, 4]]])
    """
    who = "im2col"
    xp = _xp.namespace(x, who=who)
    check_spatial(x.shape, who)
    window = as_window(tuple(x.shape[2:]), kernel_size, stride, padding, dilation, who)
    out = window.output_shape(x.shape[2:], who)
    padded = gather.pad_spatial(xp, gather.channel_major(xp, x), window)
    columns = gather.im2col(xp, padded, window, out)
    columns = xp.reshape(columns, (columns.shape[0], x.shape[0], prod(out)))
    return xp.permute_dims(columns, (1, 0, 2))


def col2im(
    columns: Array,
    output_size: Sequence[int],
    kernel_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """Add columns back into images: the transpose of :func:`im2col`.

    Parameters
    ----------
    columns : array of shape (N, C * taps, positions)
    output_size : sequence of int
        Spatial size of the images.

    Returns
    -------
    array of shape (N, C, *output_size)
        Elements that several windows cover hold the sum.

    Raises
    ------
    ValueError
        If the shape of `columns` does not follow from the other arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.col2im(np.array([[[1, 2], [2, 3], [3, 4]]]), (4,), 3)
    array([[[1, 4, 6, 4]]])
    """
    who = "col2im"
    xp = _xp.namespace(columns, who=who)
    spatial = tuple(output_size)
    window = as_window(spatial, kernel_size, stride, padding, dilation, who)
    out = window.output_shape(spatial, who)
    if columns.ndim != 3 or columns.shape[1] % window.taps or columns.shape[2] != prod(out):
        raise ValueError(
            f"{who}: expected columns of shape (N, C * {window.taps}, {prod(out)}) for an output "
            f"of size {spatial}, got {tuple(columns.shape)}"
        )
    found = run(xp, "col2im", columns, spatial, window, out) if select(xp, "col2im") else None
    if found is not None:
        return found[0]
    n, channels = columns.shape[0], columns.shape[1] // window.taps
    shape = (channels, n, *window.padded_shape(spatial))
    rows = xp.permute_dims(columns, (1, 0, 2))
    x = gather.col2im(xp, rows, shape, window, out)
    return gather.channel_major(xp, gather.crop_spatial(x, window, spatial))
