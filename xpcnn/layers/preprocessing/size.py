"""Layers that bring images to one size."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpcnn._xp import Array, dtype_name
from xpcnn.errors import check_choice
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.base import Preprocessing
from xpcnn.ops.checks import check_rank
from xpcnn.ops.pad import PAD
from xpcnn.ops.resize import RESIZE, Taps
from xpcnn.ops.taps import LARGE_IMAGE, antialias_taps, upsample_taps
from xpcnn.window import Ints, Pairs, as_flag, as_int, as_ints, is_sequence

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")


def image_taps(
    n: int, out: int, interpolation: str, antialias: bool, dtype: str, sum_: int
) -> Taps:
    """Return what each position of one axis of a resized image is made of, as in torchvision.

    Parameters
    ----------
    n, out : int
        Old and new length.
    sum_ : int
        New height and width together.
    """
    if antialias and not interpolation.startswith("nearest"):
        return antialias_taps(n, out, "linear" if interpolation == "bilinear" else "cubic")
    return upsample_taps(n, out, None, interpolation, False, dtype, 2, sum_ > LARGE_IMAGE)


def check_interpolation(who: str, interpolation: Any, choices: Sequence[str]) -> str:
    """Return the name of an interpolation that there is."""
    check_choice(who, "interpolation", interpolation, choices)
    return str(interpolation)


class Resize(Preprocessing, ndim=2):
    """Resize images by interpolation.

    Parameters
    ----------
    size : int or (int, int)
        New height and width. One number is the length of the shorter side, and the other one
        keeps the proportions (rounded down); images of different proportions then still differ in
        size.
    interpolation : {"bilinear", "nearest", "nearest-exact", "bicubic"}
    max_size : int, optional
        The most that the longer side may have where `size` is one number; both sides are then
        made smaller.
    antialias : bool
        Whether each new pixel is a mean over all old ones that it covers where images become
        smaller, rather than of the nearest alone. Not for the "nearest" ones.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, H, W), output (N, C, new H, new W). ``torchvision.transforms.v2.Resize`` does the
    same with tensors. "bicubic" may give numbers outside of the range of the input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> image = np.array([[[[0.0, 1.0, 2.0, 3.0]] * 4]])
    >>> xpcnn.Resize(2)(image)
    array([[[[0.71428571, 2.28571429],
             [0.71428571, 2.28571429]]]])
    """

    def __init__(
        self,
        size: Any,
        interpolation: str = "bilinear",
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        several = is_sequence(size)
        self.size = as_size(size, "Resize") if several else as_int(size, "Resize", "size", 1)
        self.interpolation = check_interpolation("Resize", interpolation, INTERPOLATIONS)
        self.max_size = None if max_size is None else as_int(max_size, "Resize", "max_size", 1)
        self.antialias = as_flag(antialias, "Resize", "antialias")
        if max_size is not None and not isinstance(self.size, int):
            raise ValueError(
                f"Resize: max_size is for one number as size, the shorter side; leave it out with "
                f"size={self.size}"
            )
        if isinstance(self.size, int) and self.max_size is not None and self.max_size <= self.size:
            raise ValueError(
                f"Resize: max_size must be larger than size, {self.size}, which the shorter side "
                f"gets; got {max_size}"
            )

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the new height and width of an image."""
        if not isinstance(self.size, int):
            return self.size[0], self.size[1]
        shorter, longer = min(height, width), max(height, width)
        new_shorter, new_longer = self.size, self.size * longer // shorter
        if self.max_size is not None and new_longer > self.max_size:
            # in the order in which torchvision computes, since the result is rounded
            new_shorter, new_longer = int(self.max_size * new_shorter / new_longer), self.max_size
            if new_shorter < 1:
                raise ValueError(
                    f"{self.who}: max_size={self.max_size} leaves nothing of the shorter side of "
                    f"an image of {height} x {width} pixels; expected a larger max_size, or crop"
                )
        return (new_shorter, new_longer) if height <= width else (new_longer, new_shorter)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, new H, new W)."""
        check_rank(input_shape, 2, self.who)
        return (*input_shape[:2], *self.new_size(*input_shape[2:]))

    def taps(self, shape: Sequence[int], dtype: str) -> list[tuple[int, Taps]]:
        """Return each axis that changes, with what its new positions are made of."""
        new = self.output_shape(shape)
        if new == tuple(shape):
            return []
        return [
            (
                axis,
                image_taps(
                    shape[axis], new[axis], self.interpolation, self.antialias, dtype, sum(new[2:])
                ),
            )
            for axis in (2, 3)
            if self.interpolation == "bicubic" or new[axis] != shape[axis]
        ]

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        taps = tuple(self.taps(x.shape, dtype_name(x)))
        return RESIZE.run(xp, x, taps) if taps else (x, None)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return (dy if saved is None else saved(dy)) if need_dx else None


class CenterCrop(Preprocessing, ndim=2):
    """Cut out the middle of images; where they are smaller, pad them with zeros.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of what is cut out; one number for both.

    Raises
    ------
    ValueError
        If an input has the wrong rank.

    Notes
    -----
    Input (N, C, H, W), output (N, C, *size). ``torchvision.transforms.v2.CenterCrop`` is the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.CenterCrop((1, 2))(np.arange(12.0).reshape(1, 1, 3, 4))
    array([[[[5., 6.]]]])
    """

    def __init__(self, size: Any) -> None:
        self.size = as_size(size, "CenterCrop")

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *size)."""
        check_rank(input_shape, 2, self.who)
        return (*input_shape[:2], *self.size)

    def pairs(self, shape: Sequence[int]) -> Pairs:
        """Return how much to add before and after each axis of an image; less than 0 crops."""
        self.output_shape(shape)
        return tuple(_centered(n, out) for n, out in zip(shape[2:], self.size, strict=True))

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        pairs = self.pairs(x.shape)
        # what is only cut out needs no kernel and no memory of its own
        parts = (
            slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape[2:], strict=True)
        )
        x = x[:, :, *parts]
        added = tuple((max(b, 0), max(a, 0)) for b, a in pairs)
        if any(map(any, added)):
            x = PAD.run(xp, x, added, "constant", 0.0)[0]
        return x, pairs

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        back = tuple((-before, -after) for before, after in saved)
        return PAD.run(xp, dy, back, "constant", 0.0)[0]


def _centered(n: int, out: int) -> tuple[int, int]:
    """Return what to add before and after an axis; an odd pixel goes where torchvision has it."""
    if out >= n:
        return (out - n) // 2, (out - n + 1) // 2
    before = round((n - out) / 2)
    return -before, before - (n - out)


def as_size(size: Any, who: str) -> Ints:
    """Return a height and a width, of one number or of two."""
    return as_ints(size, 2, who, "size")
