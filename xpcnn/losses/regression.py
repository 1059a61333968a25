"""Losses of numbers: squared, absolute, and Huber's mixture of both."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.loss import SameShapeLoss, Terms
from xpcnn.window import as_number


class _DifferenceLoss(SameShapeLoss):
    """A function of ``prediction - target``."""

    reads = "values"
    takes_shares = True

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        difference = prediction - xp.astype(target, prediction.dtype, copy=False)
        return self._function(xp, difference), math.prod(prediction.shape), difference

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return self._slope(xp, saved, scale)

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not implement _function")

    def _slope(self, xp: ModuleType, difference: Array, scale: Array | float) -> Array:
        """Return the derivative of :meth:`_function`, times the scale."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _slope")


class MSELoss(_DifferenceLoss):
    """Squared difference.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, ...); target of the same shape. For a classifier, targets are one-hot rows.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MSELoss()
    >>> float(loss(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])))  # (1 + 9) / 2
    5.0
    """

    def _operation(self) -> tuple[Any, ...]:
        return ("mse_loss",)

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        return difference * difference

    def _slope(self, xp: ModuleType, difference: Array, scale: Array | float) -> Array:
        return (2.0 * scale) * difference


class L1Loss(_DifferenceLoss):
    """Absolute difference.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, ...); target of the same shape. The derivative at zero is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.L1Loss()
    >>> float(loss(np.array([1.0, 2.0]), np.array([4.0, 1.0])))  # (3 + 1) / 2
    2.0
    >>> loss.backward().tolist()
    [-0.5, 0.5]
    """

    def _operation(self) -> tuple[Any, ...]:
        return ("l1_loss",)

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        return xp.abs(difference)

    def _slope(self, xp: ModuleType, difference: Array, scale: Array | float) -> Array:
        return scale * _xp.sign(difference)


class HuberLoss(_DifferenceLoss):
    """Half the squared difference up to `delta`, and linear from there (Huber, 1964).

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    delta : float

    Notes
    -----
    Prediction (N, ...); target of the same shape.

    Raises
    ------
    ValueError
        If `delta` is not a finite number above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.HuberLoss(reduction="none", delta=1.0)
    >>> loss(np.array([0.5, 3.0]), np.array([0.0, 0.0])).tolist()  # 0.5^2 / 2, 3 - 1/2
    [0.125, 2.5]
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = self._number("delta", delta, above=0.0)

    def _operation(self) -> tuple[Any, ...]:
        return "huber_loss", self.delta

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        size = xp.abs(difference)
        linear = self.delta * (size - 0.5 * self.delta)
        return xp.where(size <= self.delta, 0.5 * size * size, linear)

    def _slope(self, xp: ModuleType, difference: Array, scale: Array | float) -> Array:
        return scale * _xp.clip(difference, -self.delta, self.delta)


class SmoothL1Loss(_DifferenceLoss):
    """Absolute difference less ``beta / 2``, rounded off by a parabola below `beta`.

    It is :class:`HuberLoss` divided by beta (Girshick, 2015).

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    beta : float
        With 0 it is :class:`L1Loss`.

    Notes
    -----
    Prediction (N, ...); target of the same shape.

    Raises
    ------
    ValueError
        If `beta` is not a finite number of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.SmoothL1Loss(reduction="none", beta=2.0)
    >>> loss(np.array([1.0, 5.0]), np.array([0.0, 0.0])).tolist()  # 1^2 / 2 / 2, 5 - 2/2
    [0.25, 4.0]
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        beta = as_number(beta, "SmoothL1Loss", "beta", finite=False)
        if not 0.0 <= beta < math.inf:
            raise ValueError(
                f"SmoothL1Loss: beta must be a finite number of at least 0, got {beta!r}"
            )
        self.beta = float(beta)

    def _operation(self) -> tuple[Any, ...]:
        return ("smooth_l1_loss", self.beta) if self.beta else ("l1_loss",)

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        size = xp.abs(difference)
        if not self.beta:
            return size
        below = xp.minimum(size, self.beta)
        return xp.where(size < self.beta, 0.5 * below * below / self.beta, size - 0.5 * self.beta)

    def _slope(self, xp: ModuleType, difference: Array, scale: Array | float) -> Array:
        if not self.beta:
            return scale * _xp.sign(difference)
        return scale * (_xp.clip(difference, -self.beta, self.beta) / self.beta)
