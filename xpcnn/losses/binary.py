"""Losses of independent yes/no answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.loss import EPSILON, ConstantArray, Loss, Terms, as_numbers, check_same_shape
from xpcnn.ops.activation import sigmoid


class _BinaryLoss(Loss):
    """A loss of targets from 0 to 1, of the shape of the predictions, with factors on the terms."""

    answers = "columns"
    takes_shares = True

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight, self._weight = self._constant("weight", weight)

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the predictions."""
        return tuple(output_shape)

    def _constant(self, name: str, values: Any) -> tuple[Any, ConstantArray | None]:
        if values is None:
            return None, None
        constant = ConstantArray(as_numbers(type(self).__name__, name, values))
        if not np.isfinite(constant.values).all():
            raise ValueError(
                f"{type(self).__name__}: {name} must hold finite numbers, got {values!r:.200}"
            )
        return constant.values.tolist(), constant

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        shape = tuple(prediction.shape)
        check_same_shape(type(self).__name__, shape, tuple(target.shape))
        self._check_broadcast("weight", self._weight, shape)

    def _check_broadcast(
        self, name: str, factors: ConstantArray | None, target: tuple[int, ...]
    ) -> None:
        shape = () if factors is None else factors.values.shape
        fits = len(shape) <= len(target) and all(
            n in (1, m) for n, m in zip(reversed(shape), reversed(target), strict=False)
        )
        if not fits:
            raise ValueError(
                f"{type(self).__name__}: {name} of shape {shape} does not broadcast against "
                f"predictions of shape {target}"
            )

    def _factors(self, prediction: Array) -> Array | None:
        return None if self._weight is None else self._weight.like(prediction)

    def _check_values(self, target: np.ndarray) -> None:
        if (target < 0).any() or (target > 1).any():
            raise ValueError(
                f"{type(self).__name__}: targets must lie from 0 to 1, got values from "
                f"{target.min():g} to {target.max():g}; use CrossEntropyLoss for class labels"
            )


class MultiLabelSoftMarginLoss(_BinaryLoss):
    """Mean over the classes of the binary cross-entropy of answers given as logits.

    Parameters
    ----------
    weight : array, optional
        Factor of each class; broadcasts against the prediction.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, ..., C) or (C,), raw scores; target of the same shape, from 0 to 1. The classes
    lie on the last axis. The mean is that of :class:`BCEWithLogitsLoss`, and the terms (N, ...) are
    those of samples.

    Raises
    ------
    ValueError
        If a weight is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MultiLabelSoftMarginLoss(reduction="none")
    >>> loss(np.array([[0.0, 1000.0]]), np.array([[1.0, 0.0]]))  # (log(2) + 1000) / 2
    array([500.34657359])
    """

    reads = "logits"

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        super()._check_fit(xp, prediction, target)
        if not prediction.ndim or not prediction.shape[-1]:
            raise ValueError(
                "MultiLabelSoftMarginLoss: expected predictions of shape (N, C) or (C,), got "
                f"{tuple(prediction.shape)}"
            )

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the predictions without the axis of the classes."""
        return tuple(output_shape[:-1])

    def _factors(self, prediction: Array) -> Array | None:
        return None  # the weights are inside of the terms

    def _operation(self) -> tuple[Any, ...] | None:
        return ("bce_with_logits_loss",)

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        # The mean over the samples of means over the classes is that over all numbers.
        is_mean = whole and self.reduction == "mean" and self._weight is None
        return super()._by_kernel(xp, prediction, target, whole) if is_mean else None

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype)
        of_each = yes_or_no(xp, prediction, target, 1.0 - target)
        terms = xp.mean(self._weighted(of_each, prediction), axis=-1)
        return terms, math.prod(terms.shape), (prediction, target)

    def _weighted(self, terms: Array, prediction: Array) -> Array:
        return terms if self._weight is None else terms * self._weight.like(prediction)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        prediction, target = saved
        slope = (1.0 - target) * sigmoid(xp, prediction) - target * sigmoid(xp, -prediction)
        if not isinstance(scale, float) and scale.ndim:
            scale = xp.expand_dims(scale, axis=-1)
        return (scale / prediction.shape[-1]) * self._weighted(slope, prediction)


def yes_or_no(xp: ModuleType, x: Array, if_yes: Array, if_no: Array) -> Array:
    """Return ``-if_yes * log(sigmoid(x)) - if_no * log(1 - sigmoid(x))``."""
    # -log(sigmoid(x)) is max(-x, 0) + log(1 + exp(-|x|)), and -log(1 - sigmoid(x)) is that of -x.
    # One is never made of the other by adding x: what is small would be lost.
    rest = xp.log1p(xp.exp(-xp.abs(x)))
    return if_yes * (xp.maximum(-x, 0.0) + rest) + if_no * (xp.maximum(x, 0.0) + rest)


class BCEWithLogitsLoss(_BinaryLoss):
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

    reads = "logits"

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(weight, reduction)
        self.pos_weight, self._pos_weight = self._constant("pos_weight", pos_weight)

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        super()._check_fit(xp, prediction, target)
        self._check_broadcast("pos_weight", self._pos_weight, tuple(prediction.shape))

    def _operation(self) -> tuple[Any, ...] | None:
        return ("bce_with_logits_loss",) if self._pos_weight is None else None

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype, copy=False)
        terms = yes_or_no(xp, prediction, self._positive(target, prediction), 1.0 - target)
        return terms, math.prod(prediction.shape), (prediction, target)

    def _positive(self, target: Array, prediction: Array) -> Array:
        """Return the share of yes, times its weight."""
        return target if self._pos_weight is None else target * self._pos_weight.like(prediction)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        prediction, target = saved
        # 1 - sigmoid(x) is written as sigmoid(-x), so that sure answers keep their digits.
        if_no = (1.0 - target) * sigmoid(xp, prediction)
        slope = if_no - self._positive(target, prediction) * sigmoid(xp, -prediction)
        return scale * slope


class BCELoss(_BinaryLoss):
    """Binary cross-entropy of independent yes/no answers given as probabilities.

    For training, :class:`BCEWithLogitsLoss` on the scores before a Sigmoid loses fewer digits.

    Parameters
    ----------
    weight : array, optional
        Factor on the terms; broadcasts against the prediction.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, ...), from 0 to 1; target of the same shape, from 0 to 1. As in PyTorch a
    logarithm is never less than -100, so that a term is at most 100, and the derivative is
    ``(p - t) / max(p * (1 - p), 1e-12)``.

    Raises
    ------
    ValueError
        If a setting is out of range, or a prediction in the host's memory is not from 0 to 1. On
        other devices, where looking would make the host wait, the loss is NaN then.

    Examples
    --------
    >>> import numpy as np
    >>> loss = BCELoss(reduction="none")
    >>> loss(np.array([[0.5], [0.0]]), np.array([[1.0], [1.0]]))  # log(2), and 100 for infinity
    array([[  0.69314718],
           [100.        ]])
    """

    reads = "probabilities"

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        super()._check_fit(xp, prediction, target)
        if _xp.on_host(prediction) and not self._is_surely_right(xp, prediction):
            outside = xp.logical_or(prediction < 0.0, prediction > 1.0)
            if bool(xp.any(outside)):  # NaN passes, for training to find its source
                raise ValueError(
                    "BCELoss: predictions must be probabilities from 0 to 1, got values from "
                    f"{float(xp.min(prediction)):g} to {float(xp.max(prediction)):g}; end the "
                    "network in Sigmoid, or use BCEWithLogitsLoss, which takes scores"
                )

    @staticmethod
    def _is_surely_right(xp: ModuleType, prediction: Array) -> bool:
        """Whether a quick look finds nothing wrong; NaN may hide something from it."""
        if 0 in prediction.shape:
            return True
        return float(xp.min(prediction)) >= 0.0 and float(xp.max(prediction)) <= 1.0

    def _operation(self) -> tuple[Any, ...] | None:
        return "bce_loss", EPSILON

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype, copy=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_yes = xp.maximum(xp.log(prediction), -100.0)
            log_no = xp.maximum(xp.log1p(-prediction), -100.0)
        terms = (target - 1.0) * log_no - target * log_yes
        return terms, math.prod(prediction.shape), (prediction, target)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        prediction, target = saved
        least = max(EPSILON, float(xp.finfo(prediction.dtype).smallest_normal))
        slope = (prediction - target) / xp.maximum(prediction * (1.0 - prediction), least)
        return scale * slope
