"""Pooling to a given size, on plain arrays."""

from __future__ import annotations

from math import prod
from typing import Any

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.functional._check import LAYOUTS, check_float
from xpcnn.functional.pool import pool_backward
from xpcnn.functional.simple import run, run_backward
from xpcnn.window import Ints, Window, as_int

OutputSize = tuple[int | None, ...]
AdaptiveSaved = tuple[kernels.Saved, str, Window | None]


def as_output_size(value: Any, ndim: int, who: str) -> OutputSize:
    """Turn one output size, or one per dimension, into a tuple; ``None`` keeps an axis as it is."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{who}: output_size must be integers or None, got {value!r}")
    values = tuple(value) if hasattr(value, "__iter__") else (value,)
    if len(values) == 1:
        values *= ndim
    if len(values) != ndim:
        raise ValueError(
            f"{who}: output_size must be one integer or {ndim}, one per spatial dimension; "
            f"got {value!r}"
        )
    return tuple(None if v is None else as_int(v, who, "output_size", 1) for v in values)


def adaptive_size(spatial: Ints, output_size: OutputSize) -> Ints:
    """Return the output size for one input size."""
    return tuple(n if m is None else m for n, m in zip(spatial, output_size, strict=True))


def adaptive_pool_forward(
    kind: str, x: Array, output_size: OutputSize, *, who: str = "adaptive_pool"
) -> tuple[Array, AdaptiveSaved]:
    """Pool to a size and keep what the backward pass needs; `kind` is "avg" or "max".

    One output is global pooling, and where every size divides, all windows are alike: other
    operations do that faster.
    """
    _xp.namespace(x, who=who)
    if x.ndim != len(output_size) + 2:
        raise rank_error(who, len(output_size) + 2, LAYOUTS[len(output_size)], x.shape)
    check_float(x, who)
    spatial = tuple(x.shape[2:])
    size = adaptive_size(spatial, output_size)
    if prod(size) == 1:
        y, saved = run(f"global_{kind}_pool", x, who=who)
        return _xp.namespace(y).reshape(y, (*y.shape, *size)), (saved, "global", None)
    if all(n % m == 0 for n, m in zip(spatial, size, strict=True)):
        kernel = tuple(n // m for n, m in zip(spatial, size, strict=True))
        window = Window.resolve(spatial, kernel, kernel, "valid", (1,) * len(kernel))
        divisor = (float(window.taps),) if kind == "avg" else ()
        y, saved = run(f"{kind}_pool", x, window, *divisor, who=who)
        return y, (saved, "window", window)
    y, saved = run(f"adaptive_{kind}_pool", x, size, who=who)
    return y, (saved, "adaptive", None)


def adaptive_pool_backward(dy: Array, saved: AdaptiveSaved) -> Array:
    """Return the gradient dx of an adaptive pooling."""
    inner, way, window = saved
    if window is not None:
        return pool_backward(dy, inner, window)
    if way == "global":
        dy = _xp.namespace(dy).reshape(dy, dy.shape[:2])
    return run_backward(dy, inner)


def adaptive_avg_pool(x: Array, output_size: Any) -> Array:
    """Average to a size: (N, C, *spatial) to (N, C, *output_size).

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    output_size : int or None, or a tuple of them
        As in :class:`xpcnn.AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.adaptive_avg_pool(np.array([[[1.0, 3.0, 2.0, 6.0, 4.0]]]), 2)
    array([[[2., 4.]]])
    """
    return _adaptive("avg", x, output_size, "adaptive_avg_pool")


def adaptive_max_pool(x: Array, output_size: Any) -> Array:
    """Take the largest elements: (N, C, *spatial) to (N, C, *output_size).

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    output_size : int or None, or a tuple of them
        As in :class:`xpcnn.AdaptiveMaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.adaptive_max_pool(np.array([[[1.0, 3.0, 2.0, 6.0, 4.0]]]), 2)
    array([[[3., 6.]]])
    """
    return _adaptive("max", x, output_size, "adaptive_max_pool")


def _adaptive(kind: str, x: Array, output_size: Any, who: str) -> Array:
    _xp.namespace(x, who=who)
    if x.ndim < 3:
        raise rank_error(who, 4, LAYOUTS[2], x.shape)
    return adaptive_pool_forward(kind, x, as_output_size(output_size, x.ndim - 2, who), who=who)[0]
