"""Dropout layers (Srivastava et al., 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import rng
from xpcnn._xp import Array
from xpcnn.errors import choice_error, rank_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.random import RandomLayer
from xpcnn.ops.checks import LAYOUTS, check_rank, check_spatial
from xpcnn.ops.dropout import ALPHA_DROPOUT, DROPOUT
from xpcnn.window import as_number


class Dropout(RandomLayer):
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
        The mask follows from these two alone; see :class:`~xpcnn.layers.random.RandomLayer`.
    held : array, optional
        A mask to use in the place of drawing one, while a training step is captured.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer, x = xpcnn.Dropout(0.75), np.ones((1, 1000))
    >>> sorted(set(layer.forward(x, training=True)[0].tolist()))  # dropped, and scaled
    [0.0, 4.0]
    >>> bool((layer(x) == x).all())  # without training nothing happens
    True
    """

    steered = RandomLayer.steered | {"held"}

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        p = as_number(p, type(self).__name__, "p", finite=False)
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p must be between 0 and 1, got {p!r}")
        self.p = p
        self.inplace = bool(inplace)
        self.held: Array | None = None
        self._drawn_shape: Shape = ()

    def _mask_shape(self, shape: Shape) -> Shape:
        return shape

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        if not training or self.p == 0.0:
            return x, None
        if self.held is not None:
            return x * self.held, (self.held, None)
        self._prepare(tuple(x.shape))
        y, saved = DROPOUT.run(xp, x, self._drawn_shape, self.p, self._next_key())
        return y, (None, saved)

    def _prepare(self, shape: Shape) -> None:
        """Get ready to draw for an input of this shape."""
        self._drawn_shape = self._mask_shape(shape)

    def _next_key(self) -> np.ndarray:
        """Return what the mask of the next training forward follows from, and count it."""
        seed, step = self._next_draw()
        return rng.key(seed, "dropout", step)

    def draw(self) -> np.ndarray:
        """Draw the mask of the next training forward, for an input of the last one's shape."""
        kept = rng.uniform(self._next_key(), self._drawn_shape) >= self.p
        return kept * rng.scale_of_kept(self.p)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        if saved is None:
            return dy
        mask, of_kernel = saved
        return of_kernel(dy) if mask is None else dy * mask


class ChannelDropout(Dropout):
    """Drop whole channels at random in training, scale the others by ``1 / (1 - p)``.

    The layers to use are Dropout1d, Dropout2d and Dropout3d.

    Parameters
    ----------
    p : float
        Probability of a channel to be dropped, from 0 to 1.
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or an input has the wrong rank.
    """

    ndim: ClassVar[int]

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        check_rank(input_shape, self.ndim, self.who)
        return tuple(input_shape)

    def _mask_shape(self, shape: Shape) -> Shape:
        return (*shape[:2], *(1,) * (len(shape) - 2))


class Dropout1d(ChannelDropout, ndim=1):
    """Drop whole channels of (N, C, L); see :class:`ChannelDropout`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.Dropout1d(0.5).forward(np.ones((1, 100, 3)), training=True)
    >>> sorted(set(y.sum(axis=2)[0].tolist()))  # all three places of a channel, or none
    [0.0, 6.0]
    """


class Dropout2d(ChannelDropout):
    """Drop whole channels of (N, C, H, W); see :class:`ChannelDropout`.

    Inputs with one spatial axis, or with more than two, are taken too.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.Dropout2d(0.5).forward(np.ones((1, 100, 2, 2)), training=True)
    >>> sorted(set(y.sum(axis=(2, 3))[0].tolist()))  # all four places of a channel, or none
    [0.0, 8.0]
    """

    ndim = 2
    sample_ndim = None  # three axes are (N, C, L), as in PyTorch

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        check_spatial(input_shape, self.who)
        return tuple(input_shape)


class Dropout3d(ChannelDropout, ndim=3):
    """Drop whole channels of (N, C, D, H, W); see :class:`ChannelDropout`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.Dropout3d(0.5).forward(np.ones((1, 100, 2, 2, 2)), training=True)
    >>> sorted(set(y.sum(axis=(2, 3, 4))[0].tolist()))  # all eight places of a channel, or none
    [0.0, 16.0]
    """


class StochasticDepth(Dropout):
    """Drop whole samples at random in training, scale the others by ``1 / (1 - p)``.

    At the end of a residual block's body it leaves the shortcut alone (Huang et al., 2016), as
    ``torchvision.ops.StochasticDepth`` does.

    Parameters
    ----------
    p : float
        Probability of a sample to be dropped, from 0 to 1.
    mode : {"row", "batch"}
        Drop each sample by itself, or the whole batch.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or `mode` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.StochasticDepth(0.5).forward(np.ones((100, 3)), training=True)
    >>> sorted(set(y.sum(axis=1).tolist()))  # all three numbers of a sample, or none
    [0.0, 6.0]
    """

    def __init__(self, p: float, mode: str = "row") -> None:
        if mode not in ("row", "batch"):
            raise choice_error("StochasticDepth", "mode", mode, ("row", "batch"))
        super().__init__(p)
        self.mode = mode

    def _mask_shape(self, shape: Shape) -> Shape:
        return (shape[0] if self.mode == "row" else 1, *(1,) * (len(shape) - 1))


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1 (Klambauer et al., 2017), for use with SELU.

    In training, elements chosen at random are set to the value to which SELU tends on the left;
    then all are scaled and shifted.

    Parameters
    ----------
    p : float
        Probability of an element to be dropped, from 0 to 1; 1 gives zeros.
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.AlphaDropout(0.5).forward(np.ones((1, 1000)), training=True)
    >>> len(set(y[0].tolist())), 0.0 in y  # dropped elements are not zero
    (2, False)
    """

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        if not training or self.p in (0.0, 1.0):
            return super()._forward(xp, x, training)
        self._prepare(tuple(x.shape))
        y, saved = ALPHA_DROPOUT.run(xp, x, self._drawn_shape, self.p, self._next_key())
        return y, (None, saved)


class FeatureAlphaDropout(AlphaDropout):
    """:class:`AlphaDropout` of whole channels, with one mask for all positions.

    Parameters
    ----------
    p : float
        Probability of a channel to be dropped, from 0 to 1; 1 gives zeros.
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or an input has fewer than two dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> y = xpcnn.FeatureAlphaDropout(0.5).forward(np.ones((1, 100, 3)), training=True)
    >>> bool((y == y[:, :, :1]).all())  # all places of a channel have the same fate
    True
    """

    _mask_shape = ChannelDropout._mask_shape

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        if len(input_shape) < 2:
            raise rank_error(self.who, 4, LAYOUTS[2], input_shape)
        return tuple(input_shape)
