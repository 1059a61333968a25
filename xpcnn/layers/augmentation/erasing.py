"""Parts of images that are left out."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.augmentation.base import (
    Augmentation,
    as_fill,
    as_range,
    check_fill,
    uniform,
    whole,
)
from xpcnn.layers.augmentation.crop import ATTEMPTS, as_ratio, draw_ratio
from xpcnn.layers.layer import Shape
from xpcnn.window import as_number


class RandomErasing(Augmentation, ndim=2):
    """Replace a random rectangle of each image in training (Zhong et al., 2017).

    Parameters
    ----------
    p : float
        Probability of an image to lose a rectangle.
    scale : (float, float)
        Lowest and highest share of the image's area that is erased.
    ratio : (float, float)
        Lowest and highest height over width of a rectangle; its logarithm is evenly spread.
    value : float, tuple of float, or "random"
        What stands there then: one number, one for each channel, or numbers from a normal
        distribution of mean 0 and deviation 1.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or channels.

    Notes
    -----
    Input (N, C, H, W), output of the same shape. Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. A rectangle that is not smaller than the
    image in both directions is drawn again, ten times at most; then the image stays as it is.
    ``RandomErasing`` of ``torchvision.transforms.v2`` is the same. As there, it stands behind
    :class:`~xpcnn.Normalize` as a rule, where 0 is the mean.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.RandomErasing(p=1, scale=(0.25, 0.25), ratio=(1, 1))
    >>> float(layer(np.ones((1, 1, 8, 8)), training=True).sum())
    48.0
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Any = (0.02, 0.33),
        ratio: Any = (0.3, 3.3),
        value: Any = 0.0,
    ) -> None:
        who = "RandomErasing"
        self.p = as_number(p, who, "p", 0.0, 1.0)
        self.scale = as_range(scale, who, "scale", 0.0, 1.0)
        self.ratio = as_ratio(ratio, who)
        if isinstance(value, str) and value != "random":
            raise ValueError(
                f"{who}: value must be a number, one for each channel, or 'random'; got {value!r}"
            )
        self.value = value if isinstance(value, str) else as_fill(value, who, "value")

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = super().output_shape(input_shape)
        check_fill(self.value, shape, self.who, "value")
        return shape

    def _draw(self, generator: np.random.Generator, shape: Shape) -> Any:
        """Return top, left, height and width of each rectangle, (4, N), and what stands there.

        Height and width are 0 where nothing is erased.
        """
        count, _, height, width = shape
        chosen = generator.random(count) < self.p
        areas = height * width * uniform(generator, self.scale, (count, ATTEMPTS))
        ratios = draw_ratio(generator, self.ratio, (count, ATTEMPTS))
        h, w = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
        fits = (h < height) & (w < width)
        first = np.argmax(fits, axis=1)[:, None]
        kept = chosen & fits.any(axis=1)
        h, w = (
            np.where(kept, np.take_along_axis(side, first, 1)[:, 0], 0).astype(np.int64)
            for side in (h, w)
        )
        places = np.stack([whole(generator, height - h + 1), whole(generator, width - w + 1), h, w])
        if self.value == "random":
            return places, generator.standard_normal(shape, np.float32)
        return places, np.reshape(self.value, (1, -1, 1, 1))

    def _change(self, xp: ModuleType, x: Array, drawn: Any) -> tuple[Array, Any]:
        (top, left, h, w), value = drawn
        rows = between(top, h, x.shape[2])[:, None, :, None]
        columns = between(left, w, x.shape[3])[:, None, None, :]
        erased = xp.asarray(rows & columns, device=_xp.device_of(x))
        instead = xp.asarray(value, dtype=x.dtype, device=_xp.device_of(x))
        return xp.where(erased, instead, x), erased

    def _change_back(self, xp: ModuleType, dy: Array, saved: Array) -> Array:
        return xp.where(saved, xp.zeros_like(dy), dy)


def between(first: np.ndarray, count: np.ndarray, n: int) -> np.ndarray:
    """Say which positions of an axis of length n are among `count` from the first on: (N, n)."""
    places = np.arange(n)
    inside = (places >= first[:, None]) & (places < (first + count)[:, None])
    return np.asarray(inside)
