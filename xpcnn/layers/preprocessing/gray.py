"""Colours to shades of gray."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.base import Preprocessing
from xpcnn.ops.checks import check_rank
from xpcnn.ops.color import LUMA
from xpcnn.ops.conv import CONV
from xpcnn.window import Window, as_int

_PIXEL = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))


class Grayscale(Preprocessing, ndim=2):
    """Turn colours into shades of gray: ``0.2989 R + 0.587 G + 0.114 B``.

    Parameters
    ----------
    num_output_channels : {1, 3}
        3 repeats the gray, for networks that take three channels.

    Raises
    ------
    ValueError
        If an input has neither one channel nor three, or the wrong rank.

    Notes
    -----
    Input (N, 1 or 3, H, W), output (N, num_output_channels, H, W).
    ``torchvision.transforms.v2.Grayscale`` is the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Grayscale()(np.array([[[[1.0]], [[0.0]], [[1.0]]]]))
    array([[[[0.4129]]]])
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        channels = as_int(num_output_channels, "Grayscale", "num_output_channels", 1)
        if channels not in (1, 3):
            raise ValueError(
                f"Grayscale: num_output_channels must be 1 or 3, got {num_output_channels!r}"
            )
        self.num_output_channels = channels

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, num_output_channels, H, W)."""
        check_rank(input_shape, 2, self.who)
        check_colors(input_shape, self.who)
        return (input_shape[0], self.num_output_channels, *input_shape[2:])

    def matrix(self, channels: int) -> np.ndarray:
        """Return the shares of the input's channels in each channel of the output."""
        shares = LUMA if channels == 3 else (1.0,)
        return np.tile(np.asarray(shares), (self.num_output_channels, 1))

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        channels = int(x.shape[1])
        if channels == 1 and self.num_output_channels == 1:
            return x, channels
        w = self.matrix(channels)[:, :, None, None]
        w = xp.asarray(w, dtype=x.dtype, device=_xp.device_of(x))
        return CONV.run(xp, x, w, None, _PIXEL, 1)[0], channels

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        total = dy if dy.shape[1] == 1 else xp.sum(dy, axis=1, keepdims=True, dtype=dy.dtype)
        shares = self.matrix(saved)[:1, :, None, None]
        return total * xp.asarray(shares, dtype=dy.dtype, device=_xp.device_of(dy))


def check_colors(shape: Sequence[int], who: str) -> None:
    """Raise unless images have one channel, or the three of red, green and blue."""
    if shape[1] not in (1, 3):
        raise ValueError(
            f"{who}: expected 1 channel, or 3 channels (red, green and blue), got {shape[1]} in an "
            f"input of shape {tuple(shape)}"
        )
