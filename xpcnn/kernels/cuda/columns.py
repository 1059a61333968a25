"""im2col and col2im for channels-last images of one to three dimensions."""

from __future__ import annotations

from math import prod
from types import ModuleType

from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.window import Ints, Window


def im2col(xp: ModuleType, x: Array, window: Window) -> Array:
    """Gather what the window sees at each position; padding is zeros.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
        Best channels-last, else it is copied.

    Returns
    -------
    array of shape (N * positions, taps * C)
        All channels of a tap side by side.
    """
    x = source.laid_out(xp, x, True)
    spatial = tuple(x.shape[2:])
    rows = x.shape[0] * prod(window.output_shape(spatial))
    columns = source.empty(xp, (rows, window.taps * x.shape[1]), x, False)
    source.launch(
        "columns.cu", "im2col", x, source.blocks_for(columns.size), x, columns,
        source.geometry(window, spatial), x.shape[1], columns.size,
    )  # fmt: skip
    return columns


def col2im(xp: ModuleType, columns: Array, shape: Ints, window: Window) -> Array:
    """Add every column back to where :func:`im2col` took it from (its transpose).

    Returns
    -------
    array of that shape (N, C, *spatial), channels-last
        Elements seen by several windows hold the sum.
    """
    columns = source.laid_out(xp, columns, False)
    x = source.empty(xp, tuple(shape), columns, True)
    source.launch(
        "columns.cu", "col2im", columns, source.blocks_for(x.size), columns, x,
        source.geometry(window, tuple(shape[2:])), shape[1], x.size,
    )  # fmt: skip
    return x
