"""Brightness, contrast, saturation and hue of images, for each image by a factor of its own.

Images are (N, 3 or 1, H, W) with numbers from 0 to 1; factors are NumPy arrays of shape (N,). The
formulas are those of torchvision and Pillow.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array

LUMA = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in the brightness (ITU-R BT.601), as torchvision has them."""


def luminance(xp: ModuleType, x: Array) -> Array:
    """Return the brightness of each pixel, (N, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    red, green, blue = LUMA
    return x[:, :1, ...] * red + x[:, 1:2, ...] * green + x[:, 2:, ...] * blue


def adjust_brightness(xp: ModuleType, x: Array, factors: np.ndarray) -> Array:
    """Multiply by the factors."""
    return _xp.clip(x * _each(xp, factors, x), 0.0, 1.0)


def adjust_contrast(xp: ModuleType, x: Array, factors: np.ndarray) -> Array:
    """Mix with the mean brightness of each image; a factor of 0 leaves nothing but that."""
    gray = luminance(xp, x)
    mean = xp.mean(gray, axis=(1, 2, 3), keepdims=True)
    return _blend(xp, x, mean, factors)


def adjust_saturation(xp: ModuleType, x: Array, factors: np.ndarray) -> Array:
    """Mix with the image in shades of gray; images of one channel stay as they are."""
    return x if x.shape[1] == 1 else _blend(xp, x, luminance(xp, x), factors)


def _blend(xp: ModuleType, x: Array, other: Array, factors: np.ndarray) -> Array:
    share = _each(xp, factors, x)
    return _xp.clip(x * share + other * (1.0 - share), 0.0, 1.0)


def adjust_hue(xp: ModuleType, x: Array, shifts: np.ndarray) -> Array:
    """Turn the hue, by 1 all the way round; images of one channel stay as they are."""
    if x.shape[1] == 1:
        return x
    hue, saturation, value = _to_hsv(xp, x)
    hue = hue + _each(xp, shifts, hue)
    return _from_hsv(xp, hue - xp.floor(hue), saturation, value)


def _to_hsv(xp: ModuleType, x: Array) -> tuple[Array, Array, Array]:
    """Return hue, saturation and value of each pixel, (N, 1, H, W) each, from 0 to 1."""
    red, green, blue = (x[:, i : i + 1, ...] for i in range(3))
    most = xp.max(x, axis=1, keepdims=True)
    spread = most - xp.min(x, axis=1, keepdims=True)
    is_gray = spread == 0
    one = xp.ones_like(most)
    divisor = xp.where(is_gray, one, spread)
    # how far each colour lies below the strongest
    r, g, b = ((most - color) / divisor for color in (red, green, blue))
    hue = xp.where(most == red, b - g, xp.where(most == green, 2.0 + r - b, 4.0 + g - r)) / 6.0
    return hue - xp.floor(hue), spread / xp.where(is_gray, one, most), most


def _from_hsv(xp: ModuleType, hue: Array, saturation: Array, value: Array) -> Array:
    """Return red, green and blue: each falls from `value` as the hue moves away from it."""
    colors = []
    for first in (5.0, 3.0, 1.0):
        place = hue * 6.0 + first
        place = place - 6.0 * xp.floor(place / 6.0)
        share = _xp.clip(xp.minimum(place, 4.0 - place), 0.0, 1.0)
        colors.append(_xp.clip(value - value * saturation * share, 0.0, 1.0))
    return xp.concat(colors, axis=1)


def _each(xp: ModuleType, factors: np.ndarray, x: Array) -> Array:
    """Bring a number for each image to the images."""
    shape = (-1, *(1,) * (x.ndim - 1))
    return xp.asarray(factors.reshape(shape), dtype=x.dtype, device=_xp.device_of(x))
