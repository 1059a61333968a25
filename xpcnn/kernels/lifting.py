"""Signals (N, C, length) as images of one line, for kernels that know two dimensions and more."""

from __future__ import annotations

from functools import lru_cache

from xpcnn._xp import Array
from xpcnn.window import Window


def lift(x: Array) -> Array:
    """View (N, C, length) as (N, C, 1, length); what has more axes stays as it is."""
    return x[:, :, None, :] if x.ndim == 3 else x


def lower(x: Array, ndim: int) -> Array:
    """Undo :func:`lift` if what was lifted had three axes."""
    return x[:, :, 0, :] if ndim == 3 else x


@lru_cache(maxsize=512)
def lift_window(window: Window) -> Window:
    """Return the window for what :func:`lift` returns."""
    if window.ndim > 1:
        return window
    return Window(
        (1, *window.kernel), (1, *window.stride), ((0, 0), *window.padding), (1, *window.dilation)
    )
