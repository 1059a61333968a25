"""Layers that normalise each sample by itself: groups, last axes, neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.norm import PerChannelNorm, ScaleAndShift
from xpcnn.layers.op_layer import OpLayer
from xpcnn.ops.checks import check_spatial
from xpcnn.ops.group_norm import GROUP_NORM, LAYER_NORM, RMS_NORM
from xpcnn.window import as_int, as_number


class GroupNorm(PerChannelNorm):
    """Group normalisation (Wu & He, 2018): groups of channels to mean 0 and variance 1.

    Parameters
    ----------
    num_groups : int
        Number of groups the channels are cut into.
    num_channels : int, optional
        Number of channels; inferred from the first input if left out.
    eps : float
        Added to the variance.
    affine : bool
        Whether to scale by a learned `weight` and shift by a learned `bias`.
    bias : bool
        ``False`` leaves out the `bias` of an affine layer.

    Attributes
    ----------
    weight, bias : Parameter of shape (num_channels,), or None

    Raises
    ------
    ValueError
        If the channels cannot be cut into so many groups, an input has another number of channels,
        or there is one value per group.

    Notes
    -----
    Input (N, C, ...), output the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.GroupNorm(2)(np.array([[1.0, 3.0, 10.0, 50.0]])).round(2)
    array([[-1.,  1., -1.,  1.]])
    """

    width = "num_channels"
    num_channels: int | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        self.num_groups = as_int(num_groups, "GroupNorm", "num_groups", 1)
        shape = self._set_width(num_channels)
        self.eps = as_number(eps, type(self).__name__, "eps", 0.0)
        self.affine = bool(affine)
        self._check_groups(self.num_channels)
        self._declare(shape, affine, bias)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = tuple(input_shape)
        if len(shape) < 2:
            raise rank_error(self.who, 2, "(N, C, ...)", shape)
        self._check_channels(shape)
        self._check_groups(shape[1])
        if prod(shape) == self.num_groups:
            raise ValueError(
                f"{self.who}: expected more than one value per group, got an input of shape "
                f"{shape} with num_groups={self.num_groups}; use fewer groups"
            )
        return shape

    def _check_groups(self, channels: int | None) -> None:
        if channels is not None and channels % self.num_groups:
            raise ValueError(
                f"{self.who}: num_channels={channels} must be divisible by "
                f"num_groups={self.num_groups}"
            )

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        (y, _, _), saved = GROUP_NORM.run(xp, x, *self._values(), self.num_groups, self.eps)
        return y, saved

    def _after_load(self) -> None:
        super()._after_load()
        self._check_groups(self.num_channels)


class _LastAxesNorm(ScaleAndShift):
    """What layer and RMS normalisation share: the shape of the axes they take."""

    normalized_shape: Shape

    def _set_shape(self, normalized_shape: Any) -> None:
        who = type(self).__name__
        single = not hasattr(normalized_shape, "__iter__")
        lengths = (normalized_shape,) if single else tuple(normalized_shape)
        if not lengths:
            raise ValueError(f"{who}: normalized_shape must name at least one axis, got ()")
        self.normalized_shape = tuple(as_int(n, who, "normalized_shape", 1) for n in lengths)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape, wanted = tuple(input_shape), self.normalized_shape
        if shape[-len(wanted) :] != wanted:
            raise ValueError(
                f"{self.who}: expected an input whose last axes are {wanted}, got shape {shape}"
            )
        return shape


class LayerNorm(_LastAxesNorm):
    """Layer normalisation (Ba et al., 2016): the last axes to mean 0 and variance 1.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Lengths of the last axes, over which is normalised.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether to scale every element by a learned `weight`.
    bias : bool
        Whether to shift it by a learned number too.

    Attributes
    ----------
    weight, bias : Parameter of shape `normalized_shape`, or None

    Raises
    ------
    ValueError
        If the last axes of an input are others.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[1.0, 3.0], [10.0, 50.0]], dtype="float32")
    >>> xpcnn.LayerNorm(2)(x).round(3).tolist()  # each sample by itself
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self._set_shape(normalized_shape)
        self.eps = as_number(eps, type(self).__name__, "eps", 0.0)
        self.elementwise_affine = bool(elementwise_affine)
        self._declare(self.normalized_shape, elementwise_affine, bias)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        return LAYER_NORM.run(xp, x, *self._values(), len(self.normalized_shape), self.eps)


class RMSNorm(_LastAxesNorm):
    """Divide by the root of the mean square over the last axes (Zhang & Sennrich, 2019).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Lengths of the last axes, over which is normalised.
    eps : float, optional
        Added to the mean square. Left out, it is the distance from 1 to the next number of the
        input's dtype; of float32 for shorter dtypes, as in PyTorch.
    elementwise_affine : bool
        Whether to scale every element by a learned `weight`.

    Attributes
    ----------
    weight : Parameter of shape `normalized_shape`, or None

    Raises
    ------
    ValueError
        If the last axes of an input are others.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[0.0, 0.0, 0.0, 6.0]], dtype="float32")  # mean square 36/4, its root 3
    >>> xpcnn.RMSNorm(4)(x).round(3).tolist()
    [[0.0, 0.0, 0.0, 2.0]]
    """

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        self._set_shape(normalized_shape)
        self.eps = None if eps is None else as_number(eps, type(self).__name__, "eps", 0.0)
        self.elementwise_affine = bool(elementwise_affine)
        self._declare(self.normalized_shape, elementwise_affine, False)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        eps = self.eps
        if eps is None:
            eps = float(xp.finfo(xp.float64 if x.dtype == xp.float64 else xp.float32).eps)
        return RMS_NORM.run(xp, x, self._values()[0], len(self.normalized_shape), eps)


class LocalResponseNorm(OpLayer):
    """Divide by what neighbouring channels have (Krizhevsky et al., 2012).

    The divisor is ``(k + alpha * mean of squares)^beta``, the mean taken over `size` channels
    around each, with zeros beyond the first and the last.

    Parameters
    ----------
    size : int
        Number of channels; of an even number one more lies before than behind.
    alpha, beta, k : float

    Raises
    ------
    ValueError
        If an input has fewer than three dimensions.

    Notes
    -----
    Input (N, C, ...), output the same.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.LocalResponseNorm(2, alpha=1.0, beta=1.0, k=1.0)
    >>> x = np.array([[[2.0], [2.0]]])  # two channels, one place
    >>> layer(x).round(4).tolist()  # 2 / (1 + (0 + 4) / 2), 2 / (1 + (4 + 4) / 2)
    [[[0.6667], [0.4]]]
    """

    op = "local_response_norm"

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = as_int(size, "LocalResponseNorm", "size", 1)
        who = "LocalResponseNorm"
        self.alpha = as_number(alpha, who, "alpha")
        self.beta = as_number(beta, who, "beta")
        self.k = as_number(k, who, "k")

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        check_spatial(input_shape, self.who)
        return tuple(input_shape)

    def _options(self, x: Array) -> tuple[Any, ...]:
        self.output_shape(x.shape)
        sides = self.size // 2, (self.size - 1) // 2
        return sides, self.alpha, self.beta, self.k
