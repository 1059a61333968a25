"""Layers that scale and shift the numbers of an input."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.base import Preprocessing
from xpcnn.ops.checks import check_spatial
from xpcnn.ops.norm import BATCH_NORM, per_channel
from xpcnn.window import as_number, is_sequence


class _Affine(Preprocessing):
    """``(x - center) * factor + shift``, with three numbers for each channel.

    That is batch normalisation with statistics that are known, and runs as such.
    """

    scales: ClassVar[bool] = True

    def _numbers(self, channels: int) -> np.ndarray:
        """Return center, factor and shift of each channel, of shape (3, channels)."""
        raise NotImplementedError

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        if x.ndim < 2:  # one number for each sample, and no channels
            center, factor, shift = self._numbers(1)[:, 0].tolist()
            return (x - center) * factor + shift, None
        device = _xp.device_of(x)
        center, factor, shift = (
            xp.asarray(row, dtype=x.dtype, device=device) for row in self._numbers(x.shape[1])
        )
        # a variance of 0, to which 1 is added, divides by 1
        statistics = center, xp.zeros_like(center)
        (y, _, _), _ = BATCH_NORM.run(xp, x, factor, shift, 1.0, statistics)
        return y, None

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        if dy.ndim < 2:
            return dy * float(self._numbers(1)[1, 0])
        factor = self._numbers(dy.shape[1])[1]
        factor = xp.asarray(factor, dtype=dy.dtype, device=_xp.device_of(dy))
        return dy * per_channel(factor, dy)


class Rescale(_Affine):
    """Multiply all numbers by one, and add another: ``x * scale + offset``.

    ``Rescale(1 / 255)`` brings the bytes of images to 0 to 1, ``Rescale(1 / 127.5, -1)`` to -1
    to 1. A model that begins with it takes images as bytes (uint8).

    Parameters
    ----------
    scale : float
        Not 0.
    offset : float

    Raises
    ------
    ValueError
        If `scale` is 0, or a number is not finite.

    Notes
    -----
    Input and output of any one shape. ``keras.layers.Rescaling`` is the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Rescale(2.0, -1.0)(np.array([[0.0, 0.5, 1.0]]))
    array([[-1.,  0.,  1.]])
    """

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        self.scale = as_number(scale, "Rescale", "scale")
        self.offset = as_number(offset, "Rescale", "offset")
        if self.scale == 0.0:
            raise ValueError(
                "Rescale: scale must not be 0, which makes all inputs alike; to bring bytes to 0 "
                "to 1, write Rescale(1 / 255)"
            )

    def _numbers(self, channels: int) -> np.ndarray:
        return np.repeat(np.asarray([[0.0], [self.scale], [self.offset]]), channels, axis=1)


class Normalize(_Affine):
    """Subtract a mean from each channel, and divide it by a standard deviation.

    Parameters
    ----------
    mean, std : float or sequence of float
        One number for all channels, or one for each: those of the data that the network was
        trained on. They are of the numbers that come to this layer: of images from 0 to 1, if
        ``Rescale(1 / 255)`` stands before it.

    Raises
    ------
    ValueError
        If a deviation is not positive, or an input has another number of channels.

    Notes
    -----
    Input (N, C, *spatial), or rows (N, C), output of the same shape.
    ``torchvision.transforms.v2.Normalize`` is the same for images.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Normalize(mean=[1.0, 2.0], std=[0.5, 4.0])
    >>> layer(np.array([[[[1.5]], [[6.0]]]])).reshape(-1)
    array([1., 1.])
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean = _each_channel(mean, "mean")
        self.std = _each_channel(std, "std")
        if min(self.std) <= 0.0:
            raise ValueError(f"Normalize: std must be positive, got {std!r}")
        if len({len(self.mean), len(self.std)} - {1}) > 1:
            raise ValueError(
                f"Normalize: mean and std must have as many numbers, or one each, got "
                f"{len(self.mean)} and {len(self.std)}"
            )

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        if len(input_shape) != 2:
            check_spatial(input_shape, self.who)
        count, channels = max(len(self.mean), len(self.std)), input_shape[1]
        if count not in (1, channels):
            raise ValueError(
                f"{self.who}: expected {count} channels, as mean and std have numbers, got "
                f"{channels} in an input of shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def _numbers(self, channels: int) -> np.ndarray:
        found = np.zeros((3, channels))
        found[0], found[1] = self.mean, 1.0 / np.asarray(self.std)
        return found


def _each_channel(value: Any, argument: str) -> tuple[float, ...]:
    """Return one number, or one for each channel, as a tuple."""
    if not is_sequence(value):
        return (as_number(value, "Normalize", argument),)
    found = tuple(as_number(number, "Normalize", argument) for number in value)
    if not found:
        raise ValueError(f"Normalize: {argument} must be a number, or one for each channel; got ()")
    return found
