"""Losses of numbers: squared, absolute, and Huber's mixture of both."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.loss import Loss, check_same_shape


class _DifferenceLoss(Loss):
    """A function of ``prediction - target``, which have the same shape."""

    def _check(self, prediction: Array, target: Array, sample_weight: Array | None) -> ModuleType:
        xp = super()._check(prediction, target, sample_weight)
        whole = "float" not in _xp.dtype_name(target)
        shape = tuple(prediction.shape)
        check_same_shape(type(self).__name__, shape, tuple(target.shape), whole)
        return xp

    def _terms(
        self, xp: ModuleType, prediction: Array, target: Array
    ) -> tuple[Array, Array | int, Any]:
        difference = prediction - xp.astype(target, prediction.dtype)
        return self._function(xp, difference), math.prod(prediction.shape), difference

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not implement _function")


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

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        return difference * difference

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return (2.0 * scale) * saved


class L1Loss(_DifferenceLoss):
    """Absolute difference.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, ...); target of the same shape. The derivative at zero is zero.
    """

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        return xp.abs(difference)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return scale * xp.sign(saved)


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
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not 0.0 < delta < math.inf:
            raise ValueError(f"HuberLoss: delta must be a finite number above 0, got {delta!r}")
        self.delta = float(delta)

    def _function(self, xp: ModuleType, difference: Array) -> Array:
        size = xp.abs(difference)
        linear = self.delta * (size - 0.5 * self.delta)
        return xp.where(size <= self.delta, 0.5 * size * size, linear)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return scale * xp.clip(saved, -self.delta, self.delta)
