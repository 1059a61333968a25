"""Resizing of any axes by interpolation, as ONNX defines it (operator Resize, version 19)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Steered
from xpcnn.operations.numbers import as_ints, chosen, normal_dims
from xpcnn.ops.resize import RESIZE, Taps
from xpcnn.ops.tables import along, pick
from xpcnn.ops.taps import (
    ROUNDINGS,
    TRANSFORMS,
    filter_taps,
    nearest_taps,
    source_coordinates,
)

MODES = ("nearest", "linear", "cubic")
COORDINATES = (*TRANSFORMS, "tf_half_pixel_for_nn")
POLICIES = ("stretch", "not_larger", "not_smaller")


class _Axis(NamedTuple):
    """How one axis is resized."""

    dim: int
    n: int
    size: int
    scale: float
    region: tuple[float, float]


class Resizing(Steered):
    """An array made larger or smaller along its axes, by interpolation.

    Parameters
    ----------
    scales : sequence of float, optional
        One factor for each axis in `dims`.
    sizes : sequence of int, optional
        In place of scales: the new lengths. What is left out of both is taken from the inputs
        behind the first: region, scales, sizes.
    mode : {"nearest", "linear", "cubic"}
    coordinates : str
        Which place of the input an element of the output looks at, as ONNX names it:
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_half_pixel_for_nn" or "tf_crop_and_resize".
    nearest : {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}
        How "nearest" rounds that place.
    cubic_coeff : float
        The coefficient of the cubic kernel (Keys, 1981).
    exclude_outside : bool
        Leave out what lies outside of the input, in place of repeating the edge.
    extrapolation_value : float
        What stands outside of the region of "tf_crop_and_resize".
    antialias : bool
        Widen the kernel where the array becomes smaller.
    policy : {"stretch", "not_larger", "not_smaller"}
        Whether sizes are met exactly, or bounds that keep the proportions.
    dims : sequence of int, optional
        The axes; all if left out.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Resizing
    >>> Resizing(sizes=[6])(np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    >>> Resizing(sizes=[5], mode="linear", coordinates="align_corners")(
    ...     np.array([1.0, 2.0, 3.0])
    ... ).tolist()
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """

    def __init__(
        self,
        scales: Sequence[float] | None = None,
        sizes: Sequence[int] | None = None,
        mode: str = "nearest",
        coordinates: str = "half_pixel",
        nearest: str = "round_prefer_floor",
        cubic_coeff: float = -0.75,
        exclude_outside: bool = False,
        extrapolation_value: float = 0.0,
        antialias: bool = False,
        policy: str = "stretch",
        dims: Sequence[int] | None = None,
    ) -> None:
        for name, value, choices in (
            ("mode", mode, MODES),
            ("coordinates", coordinates, COORDINATES),
            ("nearest", nearest, ROUNDINGS),
            ("policy", policy, POLICIES),
        ):
            if value not in choices:
                raise choice_error("Resizing", name, value, choices)
        self.scales = None if scales is None else tuple(float(scale) for scale in scales)
        self.sizes = as_ints(sizes)
        self.mode = mode
        self.coordinates = coordinates
        self.nearest = nearest
        self.cubic_coeff = float(cubic_coeff)
        self.exclude_outside = bool(exclude_outside)
        self.extrapolation_value = float(extrapolation_value)
        self.antialias = bool(antialias)
        self.policy = policy
        self.dims = as_ints(dims)

    # -- Geometry ------------------------------------------------------------------------------

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        new = list(shape)
        for axis in self._axes(shape, inputs):
            new[axis.dim] = axis.size
        return tuple(new)

    def _axes(self, shape: Shape, inputs: tuple[Any, ...]) -> list[_Axis]:
        given = range(len(shape)) if self.dims is None else self.dims
        dims = normal_dims(given, len(shape), self.who)
        lengths = [shape[dim] for dim in dims]
        region = _numbers(inputs, 1) or (0.0,) * len(dims) + (1.0,) * len(dims)
        scales = self.scales or (None if self.sizes else _numbers(inputs, 2))
        sizes = self.sizes or (None if scales else chosen(None, inputs, 3))
        starts, ends = region[: len(dims)], region[len(dims) :]
        count = len(scales or sizes or ())
        if count != len(dims) or len(ends) != len(dims):
            raise ValueError(
                f"{self.who}: expected one scale or size for each of the axes {dims}, got "
                f"scales {scales} and sizes {sizes}"
            )
        if scales:
            sizes = tuple(
                int(np.float32(scale) * np.float32(n))
                for n, scale in zip(lengths, scales, strict=True)
            )
        else:
            scales, sizes = self._to_sizes(lengths, sizes or ())
        if any(size < 1 for size in sizes) or 0 in lengths:
            raise ValueError(f"{self.who}: cannot resize the shape {shape} to the sizes {sizes}")
        regions = zip(starts, ends, strict=True)
        return [_Axis(*axis) for axis in zip(dims, lengths, sizes, scales, regions, strict=True)]

    def resized_axes(self, shape: Shape, inputs: tuple[Any, ...]) -> list[_Axis]:
        """Return the axes along which something happens."""
        axes = self._axes(shape, inputs)
        if self.coordinates == "tf_crop_and_resize":
            return axes
        if all(axis.size == axis.n for axis in axes):
            return []  # whatever the scales, as PyTorch and onnxruntime do
        still = self.antialias  # with that, even single axes that keep their length
        return [axis for axis in axes if axis.size != axis.n or (axis.scale != 1.0 and not still)]

    def _to_sizes(
        self, lengths: Sequence[int], sizes: Sequence[int]
    ) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return scales and sizes where sizes are asked for."""
        if self.policy == "stretch":
            return tuple(size / n for size, n in zip(sizes, lengths, strict=True)), tuple(sizes)
        scales = [np.float32(size) / np.float32(n) for size, n in zip(sizes, lengths, strict=True)]
        one = min(scales) if self.policy == "not_larger" else max(scales)
        # of two whole numbers that are as near, the larger
        sizes = [int(np.floor(float(one * np.float32(n)) + 0.5)) for n in lengths]
        return (float(one),) * len(scales), tuple(sizes)

    def _coordinates(self, axis: _Axis, dtype: str = "float64") -> np.ndarray:
        """Say which place of the input each element of the output looks at."""
        name = self.coordinates
        if name == "tf_half_pixel_for_nn":
            place = source_coordinates(axis.size, axis.n, axis.scale, "half_pixel", dtype=dtype)
            return place + place.dtype.type(0.5)
        return source_coordinates(axis.size, axis.n, axis.scale, name, axis.region, dtype=dtype)

    def taps(self, axis: _Axis) -> Taps:
        """Return what each position of a resized axis is made of."""
        if self.mode == "nearest":
            # Rounding decides about whole elements here; onnxruntime works in float32, where
            # 3 / 0.6 is 5 and not a little less, and takes for a half what is almost one.
            places = self._coordinates(axis, "float32").astype(np.float64)
            if self.nearest.startswith("round"):
                halves = np.floor(places) + 0.5
                places = np.where(np.abs(places - halves) <= 1e-6, halves, places)
            return nearest_taps(places, axis.n, self.nearest)
        return filter_taps(
            self._coordinates(axis),
            axis.n,
            self.mode,
            a=self.cubic_coeff,
            stretch=max(1.0 / axis.scale, 1.0) if self.antialias else 1.0,
            exclude_outside=self.exclude_outside,
        )

    # -- Running -------------------------------------------------------------------------------

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        crops = self.coordinates == "tf_crop_and_resize"
        tables, outside = [], []
        for axis in self.resized_axes(tuple(x.shape), inputs):
            tables.append((axis.dim, self.taps(axis)))
            if crops:
                places = self._coordinates(axis, "float32")
                beyond = (places < 0) | (places > axis.n - 1)
                if beyond.any():
                    outside.append(along(xp, x, axis.dim, beyond))
        if self.mode == "nearest" and not _xp.is_floating(x):
            for dim, taps in tables:
                x = pick(xp, x, dim, taps.indices[:, 0])
            return (x,), (None, outside)
        y, saved = RESIZE(x, tuple(tables), who=self.who) if tables else (x, None)
        for mask in outside:
            y = xp.where(mask, xp.full_like(y, self.extrapolation_value), y)
        return (y,), (saved, outside)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        saved, outside = saved
        dx = dys[0]
        for mask in outside:
            dx = xp.where(mask, xp.zeros_like(dx), dx)
        if saved is not None:
            dx = saved(dx)
        return (dx,)


def _numbers(inputs: tuple[Any, ...], position: int) -> tuple[float, ...] | None:
    """Return the numbers that an input holds; ``None`` if there are none."""
    if position >= len(inputs) or inputs[position] is None:
        return None
    values = tuple(float(v) for v in _xp.to_numpy(inputs[position]).reshape(-1))
    return values or None
