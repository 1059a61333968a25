"""Images that get noisy or blurred at random."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.half import narrow, widen
from xpcnn.layers.augmentation.base import Augmentation, as_range, uniform
from xpcnn.layers.layer import Shape
from xpcnn.ops.checks import check_spatial
from xpcnn.ops.conv import CONV
from xpcnn.ops.pad import PAD, pad_pairs
from xpcnn.window import Pairs, Window, as_flag, as_ints, as_number, is_sequence


class GaussianNoise(Augmentation):
    """Add noise from a normal distribution in training.

    Parameters
    ----------
    mean, sigma : float
        Mean and standard deviation of the noise, which each number draws for itself.
    clip : bool
        Whether what leaves the range from 0 to `max_value` is brought back to its ends.
    max_value : float
        The largest number that an image holds: 1 behind ``Rescale(1 / 255)``. In front of it, it
        is 255, and `sigma` is larger too. It counts with `clip` alone.

    Raises
    ------
    ValueError
        If `sigma` is negative, `max_value` is not positive, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, *spatial), output of the same shape. See
    :class:`~xpcnn.layers.augmentation.Augmentation`. ``GaussianNoise`` of
    ``torchvision.transforms.v2`` is the same. Behind :class:`~xpcnn.Normalize`, or for signals
    with negative numbers, say ``clip=False``.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GaussianNoise(mean=0.5, sigma=0)(np.array([[[0.25, 0.75]]]), training=True)
    array([[[0.75, 1.  ]]])
    """

    def __init__(
        self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True, max_value: float = 1.0
    ) -> None:
        self.mean = as_number(mean, "GaussianNoise", "mean")
        self.sigma = as_number(sigma, "GaussianNoise", "sigma", 0.0)
        self.clip = as_flag(clip, "GaussianNoise", "clip")
        self.max_value = as_max_value(max_value, "GaussianNoise")
        if not clip and self.max_value != 1.0:
            raise ValueError("GaussianNoise: max_value has no effect with clip=False; leave it out")

    @property
    def clips_at(self) -> float | None:
        """The largest number that the output may hold, where there is one."""
        return self.max_value if self.clip else None

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        check_spatial(input_shape, self.who)
        return tuple(input_shape)

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        noise = generator.standard_normal(shape, np.float32)
        return noise * np.float32(self.sigma) + np.float32(self.mean)

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        wide = widen(xp, x)  # what lies inside is not for the rounding of noise to decide
        y = wide + xp.asarray(drawn, dtype=wide.dtype, device=_xp.device_of(x))
        if not self.clip:
            return narrow(xp, y, x.dtype), None
        inside = (y >= 0) & (y <= self.max_value)
        return narrow(xp, _xp.clip(y, 0.0, self.max_value), x.dtype), inside

    def _change_back(self, xp: ModuleType, dy: Array, saved: Array | None) -> Array:
        return dy if saved is None else xp.where(saved, dy, xp.zeros_like(dy))


class GaussianBlur(Augmentation, ndim=2):
    """Blur images in training, each as strongly as it draws.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Width and height of the window, odd numbers, in this order; one number for both.
    sigma : float or (float, float)
        Lowest and highest standard deviation of the bell-shaped weights, in pixels; one number if
        all images are to be blurred alike.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has the wrong rank, or less than half a window
        in a direction.

    Notes
    -----
    Input (N, C, H, W), output of the same shape: images are continued as in a mirror. Each image
    draws for itself; see :class:`~xpcnn.layers.augmentation.Augmentation`. ``GaussianBlur`` of
    ``torchvision.transforms.v2`` is the same, also in its weights, ``exp(-d^2 / (2 sigma^2))``
    over their sum for a distance d.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GaussianBlur(3)(np.ones((2, 3, 8, 8)), training=True).shape
    (2, 3, 8, 8)
    """

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        who = "GaussianBlur"
        self.kernel_size = as_ints(kernel_size, 2, who, "kernel_size")
        if any(length % 2 == 0 for length in self.kernel_size):
            raise ValueError(f"{who}: kernel_size must be odd, got {kernel_size!r}")
        single = not is_sequence(sigma)
        both = (as_number(sigma, who, "sigma"),) * 2 if single else sigma
        self.sigma = as_range(both, who, "sigma")
        if self.sigma[0] <= 0.0:
            raise ValueError(f"{who}: sigma must be positive, got {sigma!r}")

    @property
    def _sides(self) -> Pairs:
        width, height = self.kernel_size
        return (height // 2, height // 2), (width // 2, width // 2)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = super().output_shape(input_shape)
        pad_pairs(shape[2:], self._sides, "reflect", self.who)
        return shape

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return the deviation of each image."""
        return uniform(generator, self.sigma, shape[0])

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        """Blur down, then across, each channel of each image as a channel of one image."""
        n, c, height, width = x.shape
        padded, unpad = PAD.run(xp, x, self._sides, "reflect", 0.0)
        y = xp.reshape(padded, (1, n * c, *padded.shape[2:]))
        across, down = self.kernel_size
        steps: list[Any] = []
        for kernel in ((down, 1), (1, across)):
            w = np.repeat(bell(max(kernel), drawn), c, axis=0).reshape(n * c, 1, *kernel)
            w = xp.asarray(w, dtype=x.dtype, device=_xp.device_of(x))
            window = Window(kernel, (1, 1), ((0, 0), (0, 0)), (1, 1))
            y, saved = CONV.run(xp, y, w, None, window, n * c)
            steps.insert(0, saved)
        return xp.reshape(y, (n, c, height, width)), (steps, tuple(padded.shape), unpad)

    def _change_back(self, xp: ModuleType, dy: Array, saved: Any) -> Array:
        steps, padded, unpad = saved
        dx: Any = xp.reshape(dy, (1, dy.shape[0] * dy.shape[1], *dy.shape[2:]))
        for step in steps:
            dx = step(dx, True)[0]
        back: Array = unpad(xp.reshape(dx, padded))
        return back


def bell(length: int, sigma: np.ndarray) -> np.ndarray:
    """Return the weights of a window of an odd length for each deviation: (N, length)."""
    distance = np.arange(length) - length // 2
    weights = np.exp(-0.5 * (distance / sigma[:, None]) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def as_max_value(value: Any, who: str) -> float:
    """Return the largest number that an image holds."""
    found = as_number(value, who, "max_value")
    if found <= 0.0:
        raise ValueError(f"{who}: max_value must be positive, got {value!r}")
    return found
