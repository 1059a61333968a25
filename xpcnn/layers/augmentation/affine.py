"""Images that are rotated, moved, scaled and sheared at random."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.layers.augmentation.base import (
    Augmentation,
    as_fill,
    as_range,
    check_fill,
    uniform,
)
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.size import check_interpolation
from xpcnn.ops.warp import WARP
from xpcnn.window import as_number, is_sequence

WAYS = ("nearest", "bilinear")


class _Warp(Augmentation):
    """What rotation and other affine maps have in common."""

    interpolation: str
    fill: float | tuple[float, ...]
    center: tuple[float, float] | None

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = super().output_shape(input_shape)
        check_fill(self.fill, shape, self.who)
        return shape

    def _matrices(self, drawn: Any, center: tuple[float, float]) -> np.ndarray:
        """Return the map from new pixels to old ones of each image."""
        raise NotImplementedError

    def _change(self, xp: ModuleType, x: Array, drawn: Any) -> tuple[Array, Any]:
        height, width = x.shape[2:]
        center = (0.0, 0.0)  # of the image
        if self.center is not None:
            center = self.center[0] - width / 2, self.center[1] - height / 2
        matrices = self._matrices(drawn, center)
        return WARP.run(xp, x, matrices, self.interpolation, np.atleast_1d(self.fill))


class RandomRotation(_Warp, ndim=2):
    """Rotate images around a point by a random angle in training.

    Parameters
    ----------
    degrees : float or (float, float)
        Lowest and highest angle, counter-clockwise; one number stands for -degrees to degrees.
    interpolation : {"nearest", "bilinear"}
        Whether a pixel is the old one that is nearest, or a mixture of four.
    expand : bool
        Only ``False``: all images of a batch keep one size.
    center : (float, float), optional
        The point (x, y) that stays, in pixels from the upper left corner; the middle if left out.
    fill : float or tuple of float
        What stands outside of an image; one number, or one for each channel.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or channels.

    Notes
    -----
    Input (N, C, H, W), output of the same shape. Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. ``RandomRotation`` of
    ``torchvision.transforms.v2`` is the same, also in that pixels at the edge are darkened twice
    by "bilinear": once as mixtures with 0, and once with `fill`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.RandomRotation((90, 90))
    >>> layer(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), training=True)
    array([[[[2., 4.],
             [1., 3.]]]])
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: str = "nearest",
        expand: bool = False,
        center: Any = None,
        fill: Any = 0.0,
    ) -> None:
        who = "RandomRotation"
        self.degrees = _angles(degrees, who, "degrees")
        self.interpolation = check_interpolation(who, interpolation, WAYS)
        if expand is not False:
            raise ValueError(
                f"{who}: expand must be False, since the images of a batch have one size; pad them "
                f"before, as by xpcnn.ZeroPad2d; got {expand!r}"
            )
        self.expand = expand
        self.center = _point(center, who)
        self.fill = as_fill(fill, who)

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return the angle of each image, in degrees."""
        return uniform(generator, self.degrees, shape[0])

    def _matrices(self, drawn: np.ndarray, center: tuple[float, float]) -> np.ndarray:
        none = np.zeros_like(drawn)
        # the other way round than RandomAffine, as in torchvision
        return inverse_maps(-drawn, np.zeros((2, len(drawn))), none + 1.0, (none, none), center)


class RandomAffine(_Warp, ndim=2):
    """Rotate, move, scale and shear images at random in training.

    Parameters
    ----------
    degrees : float or (float, float)
        Lowest and highest angle, clockwise; one number stands for -degrees to degrees, and 0 does
        not rotate.
    translate : (float, float), optional
        By how much images are moved at most to either side, as shares of width and height; by
        whole pixels.
    scale : (float, float), optional
        Lowest and highest factor by which images become larger.
    shear : float or tuple of float, optional
        One number stands for -shear to shear degrees along x, two are lowest and highest angle
        along x, four those along x and those along y.
    interpolation : {"nearest", "bilinear"}
        Whether a pixel is the old one that is nearest, or a mixture of four.
    fill : float or tuple of float
        What stands outside of an image; one number, or one for each channel.
    center : (float, float), optional
        The point (x, y) that rotation, scale and shear leave in place, in pixels from the upper
        left corner; the middle if left out.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or channels.

    Notes
    -----
    Input (N, C, H, W), output of the same shape. Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. ``RandomAffine`` of
    ``torchvision.transforms.v2`` is the same, also in that pixels at the edge are darkened twice
    by "bilinear": once as mixtures with 0, and once with `fill`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1))
    >>> layer(np.ones((2, 3, 8, 8)), training=True).shape
    (2, 3, 8, 8)
    """

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        interpolation: str = "nearest",
        fill: Any = 0.0,
        center: Any = None,
    ) -> None:
        who = "RandomAffine"
        self.degrees = _angles(degrees, who, "degrees")
        self.translate = None if translate is None else _shares(translate, who)
        self.scale = None if scale is None else as_range(scale, who, "scale", 0.0)
        if self.scale is not None and self.scale[0] == 0.0:
            raise ValueError(f"{who}: scale must be positive, got {scale!r}")
        self.shear = None if shear is None else _angles(shear, who, "shear", (2, 4))
        if self.shear is not None and max(map(abs, self.shear)) >= 90.0:
            raise ValueError(f"{who}: shear must be between -90 and 90 degrees, got {shear!r}")
        self.interpolation = check_interpolation(who, interpolation, WAYS)
        self.fill = as_fill(fill, who)
        self.center = _point(center, who)

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return angle, moves along x and y, scale, and shears along x and y: (6, N)."""
        count, _, height, width = shape
        found = np.zeros((6, count))
        found[0] = uniform(generator, self.degrees, count)
        most_x, most_y = self.translate or (0.0, 0.0)
        for row, most in ((1, most_x * width), (2, most_y * height)):
            found[row] = np.rint(uniform(generator, (-most, most), count))
        found[3] = uniform(generator, self.scale or (1.0, 1.0), count)
        limits = (*(self.shear or ()), 0.0, 0.0, 0.0, 0.0)
        found[4] = uniform(generator, limits[:2], count)
        found[5] = uniform(generator, limits[2:4], count)
        return found

    def _matrices(self, drawn: np.ndarray, center: tuple[float, float]) -> np.ndarray:
        return inverse_maps(drawn[0], drawn[1:3], drawn[3], drawn[4:6], center)


def inverse_maps(
    degrees: np.ndarray,
    moves: np.ndarray,
    scales: np.ndarray,
    shears: Any,
    center: tuple[float, float],
) -> np.ndarray:
    """Return for each image the map that leads from its new pixels to the old ones.

    An image is sheared along x, then along y, scaled, rotated clockwise, all that around a point,
    and then moved: ``new = move + center + rotation @ scale @ shear (old - center)``.

    Parameters
    ----------
    degrees, scales : numpy.ndarray, shape (N,)
    moves, shears : pair of numpy.ndarray, shape (N,)
        In pixels, and in degrees, along x and y.
    center : (float, float)
        x and y, in pixels from the middle.

    Returns
    -------
    numpy.ndarray, shape (N, 2, 3)
    """
    angle, (shear_x, shear_y) = np.radians(degrees), np.radians(shears)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), -1, 0)
    one, zero = np.ones_like(angle), np.zeros_like(angle)
    along_x = np.moveaxis(np.array([[one, -np.tan(shear_x)], [zero, one]]), -1, 0)
    along_y = np.moveaxis(np.array([[one, zero], [-np.tan(shear_y), one]]), -1, 0)
    back = np.linalg.inv(rotation @ along_y @ along_x) / scales[:, None, None]
    fixed = np.asarray(center)
    shift = fixed - np.einsum("nij,nj->ni", back, fixed + np.stack(tuple(moves), axis=1))
    return np.concatenate([back, shift[:, :, None]], axis=2)


def _angles(value: Any, who: str, argument: str, counts: Sequence[int] = (2,)) -> tuple[float, ...]:
    """Return lowest and highest angles; one number stands for both sides."""
    if not is_sequence(value):
        most = as_number(value, who, argument, 0.0)
        return -most, most
    found = tuple(value)
    if len(found) not in counts:
        wanted = "a number, or a pair (lowest, highest)" + (", or two of them" * (len(counts) > 1))
        raise ValueError(f"{who}: {argument} must be {wanted}, got {value!r}")
    pairs = [as_range(found[at : at + 2], who, argument) for at in range(0, len(found), 2)]
    return tuple(number for pair in pairs for number in pair)


def _shares(value: Any, who: str) -> tuple[float, float]:
    if not is_sequence(value) or len(tuple(value)) != 2:
        raise TypeError(
            f"{who}: translate must be a pair, shares of width and height, got {value!r}"
        )
    across, down = (as_number(number, who, "translate", 0.0, 1.0) for number in value)
    return across, down


def _point(center: Any, who: str) -> tuple[float, float] | None:
    if center is None:
        return None
    if not is_sequence(center) or len(tuple(center)) != 2:
        raise TypeError(f"{who}: center must be a point (x, y) in pixels, got {center!r}")
    x, y = (as_number(number, who, "center") for number in center)
    return x, y
