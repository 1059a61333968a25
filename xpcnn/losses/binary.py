"""Losses of independent yes/no answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.losses.loss import ConstantArray, Loss, check_same_shape


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of independent yes/no answers given as logits, safe at any size.

    Parameters
    ----------
    weight : array, optional
        Factor on the terms; broadcasts against the prediction.
    reduction : "mean", "sum" or "none"
    pos_weight : array, optional
        Factor on the positive answers; broadcasts against the prediction.

    Notes
    -----
    Prediction (N, ...); target of the same shape, from 0 to 1.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> loss = BCEWithLogitsLoss()
    >>> float(loss(np.array([[0.0], [1000.0]]), np.array([[1.0], [1.0]])))  # (log(2) + 0) / 2
    0.34657359027997264
    """

    def __init__(
        self,
        weight: Any = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        super().__init__(reduction)
        self.weight, self._weight = self._factors("weight", weight)
        self.pos_weight, self._pos_weight = self._factors("pos_weight", pos_weight)

    def _factors(self, name: str, values: Any) -> tuple[Any, ConstantArray | None]:
        if values is None:
            return None, None
        constant = ConstantArray(_xp.to_numpy(values))
        if not (np.isfinite(constant.values).all() and (constant.values >= 0.0).all()):
            raise ValueError(
                f"BCEWithLogitsLoss: {name} must hold finite numbers of at least 0, got "
                f"{values!r:.200}"
            )
        return constant.values.tolist(), constant

    def _check(self, prediction: Array, target: Array, sample_weight: Array | None) -> ModuleType:
        xp = super()._check(prediction, target, sample_weight)
        check_same_shape(type(self).__name__, tuple(prediction.shape), tuple(target.shape))
        for name, factors in (("weight", self._weight), ("pos_weight", self._pos_weight)):
            if factors is not None:
                _check_broadcast(name, factors.values.shape, tuple(prediction.shape))
        return xp

    def _terms(
        self, xp: ModuleType, prediction: Array, target: Array
    ) -> tuple[Array, Array | int, Any]:
        # -log(sigmoid(x)) = max(-x, 0) + log(1 + exp(-|x|)), and -log(1 - sigmoid(x)) is x more.
        target = xp.astype(target, prediction.dtype)
        no_loss = xp.maximum(-prediction, 0.0) + xp.log1p(xp.exp(-xp.abs(prediction)))
        terms = (1.0 - target) * prediction + self._positive(prediction, target) * no_loss
        if self._weight is not None:
            terms = terms * self._weight.like(prediction)
        return terms, math.prod(prediction.shape), (prediction, target)

    def _positive(self, prediction: Array, target: Array) -> Array | float:
        if self._pos_weight is None:
            return 1.0
        return 1.0 + (self._pos_weight.like(prediction) - 1.0) * target

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        prediction, target = saved
        slope = (1.0 - target) - self._positive(prediction, target) * F.sigmoid(-prediction)
        if self._weight is not None:
            slope = slope * self._weight.like(prediction)
        return scale * slope

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check that targets have the output's shape and lie from 0 to 1."""
        prepared = super().prepare_target(output_shape, target, dtype)
        if (prepared < 0).any() or (prepared > 1).any():
            raise ValueError(
                f"BCEWithLogitsLoss: targets must lie from 0 to 1, got values from "
                f"{prepared.min():g} to {prepared.max():g}; use CrossEntropyLoss for class labels"
            )
        return prepared


def _check_broadcast(name: str, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    fits = len(shape) <= len(target) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(target), strict=False)
    )
    if not fits:
        raise ValueError(
            f"BCEWithLogitsLoss: {name} of shape {shape} does not broadcast against predictions of "
            f"shape {target}"
        )
