"""Dropout layers (Srivastava et al., 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import rng
from xpcnn._xp import Array, dtype_name
from xpcnn.device import Device
from xpcnn.errors import rank_error
from xpcnn.functional._check import LAYOUTS
from xpcnn.layers.layer import Layer, Shape, seed_from


class Dropout(Layer):
    """Set elements to zero at random in training, and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float
        Probability of an element to be dropped, from 0 to 1.
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Attributes
    ----------
    seed, step : int
        The mask follows from these two alone. A model sets `step` to its count of training steps;
        on its own the layer counts its training forwards.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p must be between 0 and 1, got {p!r}")
        self.p = float(p)
        self.inplace = bool(inplace)
        self.seed: int | None = None
        self.step = 0

    def _mask_shape(self, shape: Shape) -> Shape:
        return shape

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        if not training or self.p == 0.0:
            return x, None
        if self.seed is None:
            self.seed = seed_from(None)
        drawn = rng.generator(self.seed, "dropout", self.step).random(
            self._mask_shape(tuple(x.shape)), dtype=np.float32
        )
        self.step += 1
        scale = 0.0 if self.p == 1.0 else 1.0 / (1.0 - self.p)
        mask = Device.of(x).asarray((drawn >= self.p) * scale, dtype_name(x))
        return x * mask, mask

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        return dy if saved is None else dy * saved

    def _allocate(
        self, input_shape: Shape, device: Device, dtype: str, rng: np.random.Generator
    ) -> None:
        if self.seed is None:
            self.seed = seed_from(rng)


class Dropout2d(Dropout):
    """Set whole channels to zero at random in training, and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float
        Probability of a channel to be dropped, from 0 to 1.
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or an input has fewer than three dimensions.
    """

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        if len(input_shape) < 3:
            raise rank_error(self.who, 4, LAYOUTS[2], input_shape)
        return tuple(input_shape)

    def _mask_shape(self, shape: Shape) -> Shape:
        return (*shape[:2], *(1,) * (len(shape) - 2))
