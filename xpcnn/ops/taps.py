"""Resizing images: where each new element lies on the old axis, and what it is made of.

An axis is resized by a table (:class:`~xpcnn.ops.resize.Taps`) that is worked out here,
on the host and in float64, in two steps: :func:`source_coordinates` says where each new position
lies on the old axis, and :func:`nearest_taps` or :func:`filter_taps` which old elements it takes.
The names of the choices are those of ONNX's operator Resize; :func:`upsample_taps` makes the
tables of PyTorch's ``interpolate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from xpcnn.errors import choice_error
from xpcnn.ops.resize import Taps

TRANSFORMS = (
    "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric",
    "tf_crop_and_resize",
)  # fmt: skip
_ROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
ROUNDINGS = tuple(_ROUND)
FILTERS = ("linear", "cubic")
LARGE_IMAGE = 128
"""Height and width together above which PyTorch resizes an image in another way."""
UPSAMPLE_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic")
"""How numbers between pixels may be found, as in PyTorch."""


def source_coordinates(
    out: int,
    n: int,
    scale: float,
    transform: str = "half_pixel",
    roi: tuple[float, float] = (0.0, 1.0),
    *,
    dtype: str = "float64",
) -> np.ndarray:
    """Say where each of `out` new positions lies on an old axis of length `n`.

    Parameters
    ----------
    scale : float
        New length over old length; ``out / n`` may differ from it by rounding.
    transform : str
        As ``coordinate_transformation_mode`` of ONNX's Resize.
    roi : (start, end)
        The part of the axis, as shares of its length, that "tf_crop_and_resize" takes.
    dtype : {"float64", "float32"}
        What to compute in: each step is rounded to it.

    Returns
    -------
    numpy.ndarray of that dtype, shape (out,)
        Some may lie outside of the axis.

    Raises
    ------
    ValueError
        If `transform` is unknown.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> F.source_coordinates(4, 2, 2.0).tolist()
    [-0.25, 0.25, 0.75, 1.25]
    >>> F.source_coordinates(3, 5, 0.6, "align_corners").tolist()
    [0.0, 2.0, 4.0]
    """
    if transform not in TRANSFORMS:
        raise choice_error("source_coordinates", "transform", transform, TRANSFORMS)
    i = np.arange(out, dtype=dtype)
    real = i.dtype.type
    if transform == "asymmetric":
        return i / real(scale)
    if transform == "align_corners":
        return i * real(n - 1) / real(max(out - 1, 1))
    if transform == "tf_crop_and_resize":
        start, end = map(real, roi)
        if out == 1:
            return np.array([0.5 * (roi[0] + roi[1]) * (n - 1)], dtype)
        return start * real(n - 1) + i * (end - start) * real(n - 1) / real(out - 1)
    if transform == "pytorch_half_pixel" and out == 1:
        return np.zeros(1, dtype)
    if transform == "half_pixel_symmetric":
        # the middle of the old axis stays in the middle, where out is not exactly scale * n
        offset = real(n) / real(2) * (real(1) - real(out) / (real(scale) * real(n)))
        centers = float(offset) + (i.astype(np.float64) + 0.5) / float(real(scale)) - 0.5
        return centers.astype(dtype)
    return (i + real(0.5)) / real(scale) - real(0.5)


def nearest_taps(coordinates: np.ndarray, n: int, rounding: str = "round_prefer_floor") -> Taps:
    """Take the nearest old element; coordinates outside of the axis take the one at its end.

    Raises
    ------
    ValueError
        If `rounding` is none of ONNX's ``nearest_mode``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.nearest_taps(np.array([-0.25, 0.25, 0.75, 1.25]), 2).indices.tolist()
    [[0], [0], [1], [1]]
    """
    if rounding not in ROUNDINGS:
        raise choice_error("nearest_taps", "rounding", rounding, ROUNDINGS)
    whole = _ROUND[rounding](coordinates)
    return Taps(np.clip(whole, 0, n - 1).astype(np.int64)[:, None], None)


def filter_taps(
    coordinates: np.ndarray,
    n: int,
    kind: str = "linear",
    *,
    a: float = -0.75,
    stretch: float = 1.0,
    exclude_outside: bool = False,
) -> Taps:
    """Weigh the old elements around each coordinate by a filter.

    Parameters
    ----------
    kind : "linear" or "cubic"
        The triangle of half-width 1, or the cubic convolution of half-width 2 (Keys, 1981).
    a : float
        Free coefficient of the cubic convolution.
    stretch : float
        How much wider the filter is made; ``max(1, n / out)`` prevents aliasing.
    exclude_outside : bool
        Whether positions outside of the axis count nothing; otherwise they hold the element at
        its end.

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> taps = F.filter_taps(np.array([0.25, 1.0]), 3)
    >>> taps.indices.tolist(), taps.weights.tolist()
    ([[0, 1], [1, 2]], [[0.75, 0.25], [1.0, 0.0]])
    """
    if kind not in FILTERS:
        raise choice_error("filter_taps", "kind", kind, FILTERS)
    reach = math.ceil((1 if kind == "linear" else 2) * stretch)
    places = np.floor(coordinates)[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(places - coordinates[:, None]) / stretch
    weights = np.maximum(1.0 - distance, 0.0) if kind == "linear" else _cubic(distance, a)
    if exclude_outside:
        weights = np.where((places < 0) | (places > n - 1), 0.0, weights)
    if exclude_outside or stretch != 1.0:
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0.0, 1.0, total)  # 0 where all of them are outside
    return Taps(np.clip(places, 0, n - 1).astype(np.int64), weights)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    return np.where(d <= 1.0, near, np.where(d < 2.0, far, 0.0))


@lru_cache(maxsize=128)
def upsample_taps(
    n: int,
    out: int,
    factor: float | None,
    mode: str,
    align_corners: bool,
    dtype: str,
    ndim: int = 2,
    large: bool = False,
) -> Taps:
    """Make the table with which PyTorch's ``interpolate`` resizes an axis.

    Parameters
    ----------
    n, out : int
        Old and new length.
    factor : float or None
        The ``scale_factor`` that was given and is to be used as it is; ``None`` takes out / n.
    mode : str
        One of ``UPSAMPLE_MODES``.
    dtype : str
        Dtype of the image. It says in which precision nearest positions are computed, since
        rounding decides about whole elements there.
    ndim : int
        How many spatial axes the image has.
    large : bool
        Whether the new image is larger than :data:`LARGE_IMAGE`. For small ones in two dimensions
        PyTorch has a rule of its own: nearest positions are computed in float32, whatever the
        dtype, and "nearest" repeats elements evenly where the new length is that of the old or
        twice that, whatever `factor` is.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> F.upsample_taps(2, 4, None, "nearest", False, "float32").indices.tolist()
    [[0], [0], [1], [1]]
    >>> F.upsample_taps(2, 3, None, "bilinear", True, "float32").weights.tolist()
    [[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]]
    """
    step = n / out if factor is None else 1.0 / factor
    if mode.startswith("nearest") and ndim == 2 and not large:
        if mode == "nearest" and out in (n, 2 * n):
            return Taps(np.arange(out)[:, None] // (out // n), None)
        i = np.arange(out) + (0.5 if mode == "nearest-exact" else 0.0)
        return nearest_taps(i.astype(np.float32) * np.float32(step), n, "floor")
    if mode.startswith("nearest"):
        real: Any = np.float64 if dtype == "float64" else np.float32
        i, rounded = np.arange(out, dtype=np.float64), np.float64(real(step))
        if mode == "nearest":
            coordinates = (i * rounded).astype(real)
        else:
            # multiplied and subtracted without rounding between the two
            centers = ((i + 0.5) * rounded - 0.5).astype(real)
            coordinates = np.maximum(centers, real(0.0)) + real(0.5)
        # PyTorch rounds down in float32 in any case
        return nearest_taps(coordinates.astype(np.float32), n, "floor")
    if mode == "bicubic":
        return filter_taps(_torch_coordinates(n, out, step, align_corners), n, "cubic")
    if n == out:
        # whatever the factor; the second element counts nothing, but infinity times that is NaN
        return Taps(np.repeat(np.arange(n)[:, None], 2, axis=1), np.tile([1.0, 0.0], (n, 1)))
    coordinates = _torch_coordinates(n, out, step, align_corners)
    return filter_taps(np.maximum(coordinates, 0.0), n, "linear")


@lru_cache(maxsize=512)
def antialias_taps(n: int, out: int, kind: str) -> Taps:
    """Make the table with which PyTorch's ``interpolate(antialias=True)`` resizes an axis.

    Parameters
    ----------
    n, out : int
        Old and new length.
    kind : "linear" or "cubic"
        The cubic one has the coefficient -0.5, as Pillow's.
    """
    coordinates = source_coordinates(out, n, out / n)
    return filter_taps(
        coordinates, n, kind, a=-0.5, stretch=max(n / out, 1.0), exclude_outside=True
    )


def _torch_coordinates(n: int, out: int, step: float, align_corners: bool) -> np.ndarray:
    transform = "align_corners" if align_corners else "half_pixel"
    return source_coordinates(out, n, 1.0 / step, transform)
