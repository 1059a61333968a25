"""Mirror images."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.augmentation.base import Augmentation
from xpcnn.layers.layer import Shape
from xpcnn.window import as_number


class _RandomFlip(Augmentation):
    axis: ClassVar[int]

    def __init__(self, p: float = 0.5) -> None:
        self.p = as_number(p, type(self).__name__, "p", 0.0, 1.0)

    def _draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.random(shape[0]) < self.p

    def _change(self, xp: ModuleType, x: Array, drawn: np.ndarray) -> tuple[Array, Any]:
        chosen = xp.asarray(drawn.reshape(-1, 1, 1, 1), device=_xp.device_of(x))
        return self._change_back(xp, x, chosen), chosen

    def _change_back(self, xp: ModuleType, dy: Array, saved: Array) -> Array:
        return xp.where(saved, xp.flip(dy, axis=self.axis), dy)


class RandomHorizontalFlip(_RandomFlip, ndim=2, axis=3):
    """Mirror images left to right at random in training.

    Parameters
    ----------
    p : float
        Probability of an image to be mirrored.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, H, W), output of the same shape. Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. ``RandomHorizontalFlip`` of
    ``torchvision.transforms.v2`` is the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.RandomHorizontalFlip(p=1)(np.array([[[[1.0, 2.0]]]]), training=True)
    array([[[[2., 1.]]]])
    """


class RandomVerticalFlip(_RandomFlip, ndim=2, axis=2):
    """Turn images upside down, as in a mirror, at random in training.

    Parameters
    ----------
    p : float
        Probability of an image to be mirrored.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or an input has the wrong rank.

    Notes
    -----
    Input (N, C, H, W), output of the same shape. Each image draws for itself; see
    :class:`~xpcnn.layers.augmentation.Augmentation`. ``RandomVerticalFlip`` of
    ``torchvision.transforms.v2`` is the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.RandomVerticalFlip(p=1)(np.array([[[[1.0], [2.0]]]]), training=True).shape
    (1, 1, 2, 1)
    """
