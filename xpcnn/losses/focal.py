"""Focal loss: cross-entropy that pays less attention to what is right already."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.losses.binary import yes_or_no
from xpcnn.losses.loss import Terms, as_numbers, spread
from xpcnn.losses.scores import ScoresLoss
from xpcnn.ops.activation import sigmoid
from xpcnn.window import as_number, is_sequence


class FocalLoss(ScoresLoss):
    """Cross-entropy times ``(1 - p)^gamma``, with p the probability of what is right.

    So easy samples, of which there may be many, count for less (Lin et al., 2017).

    Parameters
    ----------
    gamma : float
        With 0 it is the cross-entropy.
    alpha : float, or sequence of C floats, optional
        Of answers yes or no, the factor of yes, from 0 to 1; that of no is ``1 - alpha``. Of
        classes, a factor for each.
    ignore_index : int
        Label of places that do not count.
    reduction : "mean", "sum" or "none"
        The mean divides by the number of terms that count, whatever their factors.
    multilabel : bool
        Whether several columns are answers yes or no by themselves. A single one always is.

    Notes
    -----
    Prediction (N, C, d1, ...), raw scores (logits). Target: integer labels (N, d1, ...), or one-hot
    or soft (N, C, d1, ...); of answers yes or no, from 0 to 1, of the shape of the prediction. For
    answers ``FocalLoss(2.0, 0.25, multilabel=True)`` has the numbers of torchvision's
    ``sigmoid_focal_loss``.

    Raises
    ------
    ValueError
        If a setting is out of range, or `alpha` is of the other kind of answers.

    Examples
    --------
    >>> import numpy as np
    >>> loss = FocalLoss(gamma=2.0)
    >>> float(loss(np.zeros((1, 4)), np.array([2])))  # (3/4)^2 * log(4)
    0.7797905781299385
    """

    reads = "logits"
    read_only: ClassVar[Mapping[str, str]] = {
        **ScoresLoss.read_only,
        "weight": "the factors of classes are alpha here",
    }
    least_axes = 1

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        *,
        multilabel: bool = False,
    ) -> None:
        gamma = as_number(gamma, "FocalLoss", "gamma", finite=False)
        if not 0.0 <= gamma < math.inf:
            raise ValueError(
                f"FocalLoss: gamma must be a finite number of at least 0, got {gamma!r}"
            )
        several = is_sequence(alpha)
        if several and not np.isfinite(as_numbers("FocalLoss", "alpha", alpha)).all():
            raise ValueError(
                f"FocalLoss: alpha must be one finite number for each class, got {alpha!r:.200}"
            )
        super().__init__(multilabel, ignore_index, alpha if several else None, reduction)
        self.gamma = float(gamma)
        self.alpha: float | list[float] | None = self.weight
        if alpha is not None and not several:
            alpha = as_number(alpha, "FocalLoss", "alpha", finite=False)
            if not 0.0 <= alpha <= 1.0:
                raise ValueError(
                    f"FocalLoss: alpha, the factor of yes, must lie from 0 to 1, got {alpha!r}"
                )
            self.alpha = float(alpha)

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the answers, or of the places of classes."""
        if self._has_columns(output_shape):
            return tuple(output_shape)
        return super().terms_shape(output_shape)

    def _check_classes(self, classes: int) -> None:
        """Raise unless `alpha` has a factor for each class."""
        if isinstance(self.alpha, float):
            raise ValueError(
                f"FocalLoss: alpha={self.alpha} is the factor of the answer yes, and there are "
                f"{classes} classes; give a factor for each, such as {[1.0] * classes!r:.40}, or "
                "multilabel=True if each column is an answer by itself"
            )
        if self.alpha is not None and len(self.alpha) != classes:
            raise ValueError(
                f"FocalLoss: alpha has {len(self.alpha)} numbers, but the predictions have "
                f"{classes} classes"
            )

    def _check_target(
        self, output_shape: tuple[int, ...], shape: tuple[int, ...], dtype: str
    ) -> None:
        super()._check_target(output_shape, shape, dtype)
        if not self._has_columns(output_shape):
            self._check_classes(output_shape[1])
        elif isinstance(self.alpha, list):
            raise ValueError(
                "FocalLoss: alpha has a factor for each class, and these are answers yes or no; "
                "give one number, the factor of yes"
            )

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        columns = self._has_columns(prediction.shape)
        target, counted = self._targets(xp, prediction, target)
        if columns:
            terms, slope, saved = *self._of_answers(xp, prediction, target), None
        else:
            terms, slope, saved = self._of_classes(xp, prediction, target)
            counted = None if counted is None else xp.squeeze(counted, axis=1)
        if counted is None:
            return terms, math.prod(terms.shape), (slope, saved)
        terms = xp.where(counted, terms, 0.0)
        if columns:
            slope = xp.where(counted, slope, 0.0)
        count = xp.sum(xp.astype(counted, terms.dtype), dtype=terms.dtype)
        return terms, count, (slope, saved)

    def _of_answers(self, xp: ModuleType, x: Array, target: Array) -> tuple[Array, Array]:
        """Return terms and their derivatives by the scores."""
        yes, no = sigmoid(xp, x), sigmoid(xp, -x)
        wrong = target * no + (1.0 - target) * yes
        entropy = yes_or_no(xp, x, target, 1.0 - target)
        factor = wrong**self.gamma
        if self.alpha is not None:
            factor = factor * (self.alpha * target + (1.0 - self.alpha) * (1.0 - target))  # type: ignore[operator]
        # yes * no / wrong is 1 - wrong for targets 0 and 1, also where nothing is wrong
        share = xp.where(wrong == 0.0, 1.0, yes * no / xp.where(wrong == 0.0, 1.0, wrong))
        slope = (1.0 - target) * yes - target * no
        slope = slope - self.gamma * (2.0 * target - 1.0) * share * entropy
        return factor * entropy, factor * slope

    def _of_classes(self, xp: ModuleType, x: Array, target: Array) -> tuple[Array, Array, Any]:
        """Return terms, their derivatives by the log-probabilities, and what leads on to scores."""
        if 0 in x.shape:
            return xp.sum(x, axis=1, dtype=x.dtype), x, None
        logp, saved = F.run("log_softmax", x, 1, who="FocalLoss")
        wrong = -xp.expm1(logp)
        factor = target * wrong**self.gamma
        if self.alpha is not None:
            factor = factor * self._class_weights(xp, x)
        # A class without share adds nothing, however impossible the network thinks it.
        of_none = target == 0.0
        logp = xp.where(of_none, 0.0, logp)
        share = xp.where(wrong == 0.0, -1.0, logp / xp.where(wrong == 0.0, 1.0, wrong))
        slope = -factor * (1.0 - self.gamma * (1.0 - wrong) * share)
        return -xp.sum(factor * logp, axis=1, dtype=x.dtype), slope, saved

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        slope, of_softmax = saved
        if of_softmax is None:
            return scale * slope if slope.shape and 0 not in slope.shape else slope
        return F.run_backward(spread(xp, scale) * slope, of_softmax)
