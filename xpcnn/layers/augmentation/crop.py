"""Parts of images at random places."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn._xp import Array, dtype_name
from xpcnn.layers.augmentation.base import (
    Augmentation,
    as_outside,
    as_range,
    check_fill,
    uniform,
    whole,
)
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.base import Preprocessing
from xpcnn.layers.preprocessing.size import (
    INTERPOLATIONS,
    CenterCrop,
    Resize,
    as_size,
    check_interpolation,
    image_taps,
)
from xpcnn.ops.checks import check_rank
from xpcnn.ops.warp import MOVE, OUTSIDE, RESAMPLE
from xpcnn.window import Ints, as_flag, as_int, is_sequence

MODES = ("constant", "edge", "reflect", "symmetric")
ATTEMPTS = 10
"""How often a rectangle is drawn until it fits into an image."""


class RandomCrop(Augmentation, ndim=2):
    """Cut a part of one size out of each image, at a random place in training.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the part; one number for both.
    padding : int or tuple of int, optional
        Pixels to add around an image first: one number for all sides, two for left and right, and
        for top and bottom, or four for left, top, right, bottom.
    pad_if_needed : bool
        Whether a side that is shorter than the part is made longer on both ends, by what is
        missing each.
    fill : float or tuple of float
        What added pixels hold, with `padding_mode` "constant"; one number, or one for each channel.
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        What added pixels are: `fill`, the pixel at the edge, or a mirror image, without the edge
        repeated or with it.

    Raises
    ------
    ValueError
        If an argument is out of range, the part does not fit into an image, or an input has the
        wrong rank.

    Notes
    -----
    Input (N, C, H, W), output (N, C, *size). Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. Outside of training the part in the middle is
    taken, as :class:`~xpcnn.CenterCrop` does. ``RandomCrop`` of ``torchvision.transforms.v2`` is
    the same in training.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.RandomCrop(4, padding=1)
    >>> layer(np.ones((2, 3, 4, 4)), training=True).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0.0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = as_size(size, "RandomCrop")
        self.padding = None if padding is None else _as_sides(padding)
        self.pad_if_needed = as_flag(pad_if_needed, "RandomCrop", "pad_if_needed")
        self.padding_mode, self.fill = as_outside(padding_mode, MODES, fill, "RandomCrop")

    def at_inference(self) -> Preprocessing:
        """Return the layer that takes the part in the middle."""
        return CenterCrop(self.size)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *size)."""
        check_rank(input_shape, 2, self.who)
        check_fill(self.fill, input_shape, self.who)
        sides = self._sides(input_shape)
        for n, (before, after), out in zip(input_shape[2:], sides, self.size, strict=True):
            if n + before + after < out:
                raise ValueError(
                    f"{self.who}: expected images of at least {self.size} pixels with their "
                    f"padding, got an input of shape {tuple(input_shape)}; use a smaller size, "
                    "padding, or pad_if_needed=True"
                )
            limit = {"reflect": n - 1, "symmetric": n}.get(self.padding_mode)
            if limit is not None and max(before, after) > limit:
                raise ValueError(
                    f"{self.who}: padding_mode {self.padding_mode!r} can add at most {limit} "
                    f"pixels to a side of {n}, asked for {max(before, after)}; expected less "
                    "padding, or padding_mode='edge'"
                )
        return (*input_shape[:2], *self.size)

    def _sides(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Return what is added before and after each axis."""
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        sides = [(top, bottom), (left, right)]
        if self.pad_if_needed:
            missing = [
                max(out - n - sum(side), 0)
                for n, side, out in zip(shape[2:], sides, self.size, strict=True)
            ]
            sides = [(b + more, a + more) for (b, a), more in zip(sides, missing, strict=True)]
        return sides

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return the first row and column of each part, of the padded image: (2, N)."""
        sides = self._sides(shape)
        most = [n + sum(s) - out for n, s, out in zip(shape[2:], sides, self.size, strict=True)]
        return np.stack([whole(generator, np.full(shape[0], m + 1)) for m in most])

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        places = [
            _inside(first[:, None] + np.arange(out) - before, n, self.padding_mode)
            for first, out, (before, _), n in zip(
                drawn, self.size, self._sides(x.shape), x.shape[2:], strict=True
            )
        ]
        return MOVE.run(xp, x, *places, np.atleast_1d(self.fill))


def _inside(places: np.ndarray, n: int, mode: str) -> np.ndarray:
    """Return the positions on an axis of length n that stand for those on the padded axis."""
    if mode == "edge":
        return np.clip(places, 0, n - 1)
    if mode == "constant":
        return np.where((places < 0) | (places >= n), OUTSIDE, places)
    repeats = int(mode == "symmetric")  # whether the edge is there twice
    places = np.where(places < 0, -places - repeats, places)
    return np.where(places >= n, 2 * n - 2 + repeats - places, places)


def _as_sides(padding: Any) -> Ints:
    """Return what to add left, at the top, right and at the bottom."""
    if not is_sequence(padding):
        return (as_int(padding, "RandomCrop", "padding", 0),) * 4
    values = tuple(as_int(n, "RandomCrop", "padding", 0) for n in padding)
    if len(values) not in (1, 2, 4):
        raise ValueError(
            "RandomCrop: padding must be one number, two (left and right, top and bottom), or four "
            f"(left, top, right, bottom); got {padding!r}"
        )
    return values * (4 // len(values))


class RandomResizedCrop(Augmentation, ndim=2):
    """Cut a part of random size and proportions out of each image in training, and resize it.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the output; one number for both.
    scale : (float, float)
        Lowest and highest share of the image's area that a part has.
    ratio : (float, float)
        Lowest and highest width over height of a part; its logarithm is evenly spread.
    interpolation : {"bilinear", "nearest", "nearest-exact", "bicubic"}
    antialias : bool
        As in :class:`~xpcnn.Resize`.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, H, W), output (N, C, *size). Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. A part that does not fit into the image is
    drawn again, ten times at most; then the largest one in the middle with allowed proportions is
    taken. Outside of training the whole image is resized. ``RandomResizedCrop`` of
    ``torchvision.transforms.v2`` is the same in training (Szegedy et al., 2015).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.RandomResizedCrop(4)(np.ones((2, 3, 9, 8)), training=True).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        size: Any,
        scale: Any = (0.08, 1.0),
        ratio: Any = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool = True,
    ) -> None:
        who = "RandomResizedCrop"
        self.size = as_size(size, who)
        self.scale = as_range(scale, who, "scale", 0.0, 1.0)
        self.ratio = as_ratio(ratio, who)
        self.interpolation = check_interpolation(who, interpolation, INTERPOLATIONS)
        self.antialias = as_flag(antialias, who, "antialias")
        if self.scale[1] == 0.0:
            raise ValueError(f"{who}: scale must not end at 0, which is no part at all")

    def at_inference(self) -> Preprocessing:
        """Return the layer that resizes the whole image."""
        return Resize(self.size, self.interpolation, antialias=self.antialias)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *size)."""
        check_rank(input_shape, 2, self.who)
        return (*input_shape[:2], *self.size)

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return top, left, height and width of each part: (4, N)."""
        count, _, height, width = shape
        areas = height * width * uniform(generator, self.scale, (count, ATTEMPTS))
        ratios = draw_ratio(generator, self.ratio, (count, ATTEMPTS))
        w, h = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first = np.argmax(fits, axis=1)[:, None]
        h, w = (np.take_along_axis(side, first, 1)[:, 0].astype(np.int64) for side in (h, w))
        none = ~fits.any(axis=1)
        least = self._largest(height, width)
        h, w = np.where(none, least[0], h), np.where(none, least[1], w)
        top, left = whole(generator, height - h + 1), whole(generator, width - w + 1)
        top = np.where(none, (height - h) // 2, top)
        left = np.where(none, (width - w) // 2, left)
        return np.stack([top, left, h, w])

    def _largest(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the largest part of allowed proportions."""
        if width / height < self.ratio[0]:
            return max(min(round(width / self.ratio[0]), height), 1), width
        if width / height > self.ratio[1]:
            return height, max(min(round(height * self.ratio[1]), width), 1)
        return height, width

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        top, left, heights, widths = drawn
        axes = [
            (axis, *self._tables(first, lengths, out, dtype_name(x)))
            for axis, first, lengths, out in (
                (2, top, heights, self.size[0]),
                (3, left, widths, self.size[1]),
            )
        ]
        return RESAMPLE.run(xp, x, axes)

    def _tables(
        self, first: np.ndarray, lengths: np.ndarray, out: int, dtype: str
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what the new positions of an axis are made of in each image: (N, out, K)."""
        tables = [
            image_taps(int(n), out, self.interpolation, self.antialias, dtype, sum(self.size))
            for n in lengths
        ]
        most = max(taps.indices.shape[1] for taps in tables)
        positions = np.zeros((len(tables), out, most), np.int64)
        weights = np.zeros(positions.shape)
        for number, taps in enumerate(tables):
            used = taps.indices.shape[1]
            positions[number, :, :used] = taps.indices
            weights[number, :, :used] = 1.0 if taps.weights is None else taps.weights
        positions += first[:, None, None]
        return positions, None if tables[0].weights is None else weights


def as_ratio(ratio: Any, who: str) -> tuple[float, float]:
    """Return the lowest and the highest proportions of a rectangle."""
    low, high = as_range(ratio, who, "ratio", 0.0)
    if low == 0.0:
        raise ValueError(f"{who}: ratio must be positive, got {ratio!r}")
    return low, high


def draw_ratio(generator: np.random.Generator, ratio: Sequence[float], shape: Any) -> np.ndarray:
    """Draw proportions whose logarithm is evenly spread."""
    logs = float(np.log(ratio[0])), float(np.log(ratio[1]))
    return np.asarray(np.exp(uniform(generator, logs, shape)))
