"""Where a window lies, as lists of places: what a learner's loops would go through.

One dimension is an image of one line here, so that everything below is written once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn.explaining.animation.running import Run
from xpcnn.window import Ints, Window

CORNER = 12
CORNER_1D = 24
"""Lines and columns of an image that are shown at most; numbers of a signal."""

PAD_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}

Place = tuple[int, int]


@dataclass(frozen=True)
class Slide:
    """A window that slides over a padded image.

    Attributes
    ----------
    flat : bool
        Whether the image is a signal.
    window : Window
        Of two dimensions.
    size : (int, int)
        Of the image without padding.
    out : (int, int)
        Number of positions.
    corner : (int, int)
        Size of the part of the padded image that is shown.
    """

    flat: bool
    window: Window
    size: Place
    out: Place
    corner: Place

    @property
    def padded(self) -> Place:
        """Size of the image with its padding."""
        rows, columns = self.window.padded_shape(self.size)
        return rows, columns

    def taps(self) -> list[Place]:
        """List where in the window its taps are, row by row."""
        return [(i, j) for i, j in self.window.offsets()]

    def under(self, position: Place) -> list[Place]:
        """List the places of the padded image that the window sees, in the order of its taps."""
        (s, t), (d, e) = self.window.stride, self.window.dilation
        p, q = position
        return [(p * s + i * d, q * t + j * e) for i, j in self.taps()]

    def positions(self, *, inside: bool) -> list[Place]:
        """List the positions whose window lies in the corner that is shown, or reaches into it."""
        rows, columns = map(range, self.out)
        every = itertools.product(rows, columns)
        return [position for position in every if self._reaches(position, inside)]

    def _reaches(self, position: Place, inside: bool) -> bool:
        ends = zip(position, self.window.stride, self.window.extent, self.corner, strict=True)
        return all(p * s + (e if inside else 1) <= n for p, s, e, n in ends)

    def is_padding(self, row: int, column: int) -> bool:
        """Whether a place of the padded image is not one of the image."""
        (top, _), (left, _) = self.window.padding
        inside = 0 <= row - top < self.size[0] and 0 <= column - left < self.size[1]
        return not inside

    def place(self, *place: int) -> Ints:
        """Return a place as it is counted: by one number in a signal."""
        return place[1:] if self.flat else place


def slide(run: Run) -> Slide:
    """Return how the window of a run slides: over `x`, or over `y` in a transposed convolution."""
    over, other = (run.y, run.x) if run.kind == "conv_transpose" else (run.x, run.y)
    window, flat = run.window, run.window.ndim == 1
    if flat:
        kernel, stride, padding, dilation = window
        window = Window((1, *kernel), (1, *stride), ((0, 0), *padding), (1, *dilation))
    size, out = as_image(over).shape[2:], as_image(other).shape[2:]
    most = (1, CORNER_1D) if flat else (CORNER, CORNER)
    rows, columns = map(min, window.padded_shape(size), most)
    return Slide(flat, window, size, out, (rows, columns))


def as_image(x: np.ndarray) -> np.ndarray:
    """Return (N, C, *spatial) as (N, C, H, W)."""
    return x[:, :, None, :] if x.ndim == 3 else x


def padded(x: np.ndarray, window: Window, mode: str, fill: float) -> np.ndarray:
    """Return an image (C, H, W) with its padding."""
    pairs = ((0, 0), *window.padding)
    if mode == "zeros":
        return np.pad(x, pairs, constant_values=fill)
    return np.pad(x, pairs, mode=PAD_MODES[mode])
