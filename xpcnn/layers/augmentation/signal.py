"""Signals that are moved, scaled and masked at random."""

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
    as_outside,
    as_range,
    check_fill,
    uniform,
)
from xpcnn.layers.augmentation.erasing import between
from xpcnn.layers.layer import Shape
from xpcnn.ops.warp import MOVE, OUTSIDE
from xpcnn.window import as_int, as_number

MODES = ("constant", "edge", "circular")


class RandomShift(Augmentation, ndim=1):
    """Move signals to the left or right by a random number of positions in training.

    Parameters
    ----------
    max_shift : int
        The most positions; all whole numbers from ``-max_shift`` to ``max_shift`` are as likely.
        A positive one moves to the right: ``y[i] = x[i - shift]``.
    fill : float or tuple of float
        What comes in at an end, with `padding_mode` "constant"; one number, or one for each
        channel.
    padding_mode : {"constant", "edge", "circular"}
        What comes in: `fill`, the number at the end, or what goes out at the other end.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or channels, or not more
        than `max_shift` positions.

    Notes
    -----
    Input (N, C, L), output of the same shape. Each signal draws for itself, and all of its
    channels move together; see :class:`~xpcnn.layers.augmentation.Augmentation`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.RandomShift(2)(np.ones((4, 3, 9)), training=True).shape
    (4, 3, 9)
    """

    def __init__(self, max_shift: int, fill: Any = 0.0, padding_mode: str = "constant") -> None:
        self.max_shift = as_int(max_shift, "RandomShift", "max_shift", 0)
        self.padding_mode, self.fill = as_outside(padding_mode, MODES, fill, "RandomShift")

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = super().output_shape(input_shape)
        check_fill(self.fill, shape, self.who)
        if shape[2] <= self.max_shift:
            raise ValueError(
                f"{self.who}: expected signals of more than {self.max_shift} positions, as many as "
                f"max_shift, got an input of shape {shape}"
            )
        return shape

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return by how many positions each signal moves to the right."""
        return generator.integers(-self.max_shift, self.max_shift + 1, shape[0])

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        length = x.shape[2]
        places = np.arange(length) - drawn[:, None]
        if self.padding_mode == "circular":
            places = places % length
        elif self.padding_mode == "edge":
            places = np.clip(places, 0, length - 1)
        else:
            places = np.where((places < 0) | (places >= length), OUTSIDE, places)
        line = xp.expand_dims(x, axis=2)
        row = np.zeros((len(drawn), 1), np.int64)
        y, saved = MOVE.run(xp, line, row, places, np.atleast_1d(self.fill))
        return xp.squeeze(y, axis=2), saved

    def _change_back(self, xp: ModuleType, dy: Array, saved: Any) -> Array:
        return xp.squeeze(saved(xp.expand_dims(dy, axis=2)), axis=2)


class RandomScale(Augmentation, ndim=1):
    """Multiply signals by a random factor in training, as if they had been recorded louder.

    Parameters
    ----------
    scale : (float, float)
        Lowest and highest factor.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, L), output of the same shape. Each signal draws for itself, and all of its
    channels are multiplied by one number; see :class:`~xpcnn.layers.augmentation.Augmentation`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.RandomScale((2, 2))(np.array([[[1.0, 3.0]]]), training=True)
    array([[[2., 6.]]])
    """

    def __init__(self, scale: Any = (0.9, 1.1)) -> None:
        self.scale = as_range(scale, "RandomScale", "scale")

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return the factor of each signal."""
        return uniform(generator, self.scale, shape[0])

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        factors = xp.asarray(drawn.reshape(-1, 1, 1), dtype=x.dtype, device=_xp.device_of(x))
        return x * factors, factors

    def _change_back(self, xp: ModuleType, dy: Array, saved: Array) -> Array:
        return dy * saved


class TimeMask(Augmentation, ndim=1):
    """Replace a random stretch of each signal in training (Park et al., 2019).

    Parameters
    ----------
    max_length : int
        The most positions of a stretch; all whole numbers from 0 on are as likely, and so are all
        places where it fits.
    value : float or tuple of float
        What stands there then; one number, or one for each channel.
    p : float
        Probability of a signal to lose a stretch.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank or channels, or fewer than
        `max_length` positions.

    Notes
    -----
    Input (N, C, L), output of the same shape. Each signal draws for itself, and all of its
    channels lose the same stretch; see :class:`~xpcnn.layers.augmentation.Augmentation`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.TimeMask(3)(np.ones((4, 2, 9)), training=True).shape
    (4, 2, 9)
    """

    def __init__(self, max_length: int, value: Any = 0.0, p: float = 1.0) -> None:
        self.max_length = as_int(max_length, "TimeMask", "max_length", 1)
        self.value = as_fill(value, "TimeMask", "value")
        self.p = as_number(p, "TimeMask", "p", 0.0, 1.0)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = super().output_shape(input_shape)
        check_fill(self.value, shape, self.who, "value")
        if shape[2] < self.max_length:
            raise ValueError(
                f"{self.who}: expected signals of at least {self.max_length} positions, as many as "
                f"max_length, got an input of shape {shape}"
            )
        return shape

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return the first position and the length of each stretch: (2, N)."""
        chosen = generator.random(shape[0]) < self.p
        length = generator.integers(0, self.max_length + 1, shape[0]) * chosen
        return np.stack([generator.integers(0, shape[2] - length + 1), length])

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        masked = between(drawn[0], drawn[1], x.shape[2])[:, None, :]
        masked = xp.asarray(masked, device=_xp.device_of(x))
        value = np.reshape(self.value, (1, -1, 1))
        instead = xp.asarray(value, dtype=x.dtype, device=_xp.device_of(x))
        return xp.where(masked, instead, x), masked

    def _change_back(self, xp: ModuleType, dy: Array, saved: Array) -> Array:
        return xp.where(saved, xp.zeros_like(dy), dy)
