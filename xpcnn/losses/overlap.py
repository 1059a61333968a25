"""Losses of segmentation: how much of what is predicted and what is true lies in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.losses.loss import Terms
from xpcnn.losses.running import LossPart
from xpcnn.losses.scores import ScoresLoss
from xpcnn.ops.sums import total
from xpcnn.window import as_flag, as_number


class OverlapLoss(ScoresLoss):
    """One minus a ratio of soft areas, for each image and class.

    With the probabilities p and targets t of the places of an image, the areas are I = sum(p * t),
    sum(p) and sum(t), and the ratio is
    ``(I + smooth) / (I + alpha * (sum(p) - I) + beta * (sum(t) - I) + smooth)``.
    """

    def __init__(
        self,
        weight: Any,
        ignore_index: int,
        reduction: str,
        multilabel: bool,
        from_logits: bool,
        smooth: float,
        batch: bool,
    ) -> None:
        super().__init__(multilabel, ignore_index, weight, reduction)
        self.from_logits = as_flag(from_logits, type(self).__name__, "from_logits")
        self.reads = "logits" if self.from_logits else "probabilities"
        self.smooth = self._number("smooth", smooth, above=0.0)
        self.batch = as_flag(batch, type(self).__name__, "batch")

    squared = False

    def _shares(self) -> tuple[float, float, float]:
        """Return alpha, beta and what both areas are smoothed by."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _shares")

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return (N, C); with ``batch=True`` there are no terms of samples."""
        if self.batch:
            raise self._no_samples()
        return tuple(output_shape[:2])

    def _no_samples(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: with batch=True all images of a batch have one area, and "
            "sample_weight cannot tell them apart; leave it out, or take batch=False"
        )

    def _check_target(
        self, output_shape: tuple[int, ...], shape: tuple[int, ...], dtype: str
    ) -> None:
        super()._check_target(output_shape, shape, dtype)
        self._check_classes(output_shape[1])

    def _check(self, prediction: Array, target: Array, sample_weight: Array | None) -> ModuleType:
        if self.batch and sample_weight is not None:
            raise self._no_samples()
        return super()._check(prediction, target, sample_weight)

    def parts(self, value: Array, samples: int) -> tuple[LossPart, ...]:
        """Return what the last batch adds; with ``batch=True``, in proportion to its samples."""
        if self.batch and self.reduction != "sum":
            return (LossPart(value * samples, samples),)
        return super().parts(value, samples)

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        columns = self._has_columns(prediction.shape)
        target, counted = self._targets(xp, prediction, target)
        p, saved = prediction, None
        if self.from_logits and 0 not in prediction.shape:
            name, options = ("sigmoid", ()) if columns else ("softmax", (1,))
            p, saved = F.run(name, prediction, *options, who=type(self).__name__)
        if counted is not None:
            p = xp.where(counted, p, 0.0)
        axes = tuple(axis for axis in range(p.ndim) if axis > 1 or (self.batch and axis == 0))

        def area(x: Array) -> Array:
            return total(xp, x, axes, keepdims=True) if axes else x

        alpha, beta, smooth = self._shares()
        both = area(p * target)
        whole = (1.0 - alpha - beta) * both + smooth
        whole = whole + alpha * area(p * p if self.squared else p)
        whole = whole + beta * area(target * target if self.squared else target)
        ratio = (both + smooth) / whole
        weight = xp.reshape(self._weight.like(p), (1, -1, *(1,) * (p.ndim - 2)))
        terms, count = weight * (1.0 - ratio), self._count(xp, weight, ratio, counted, axes)
        notes = (p, target, counted, weight, ratio, whole, saved)
        shape = ratio.shape[1:2] if self.batch else ratio.shape[:2]
        return xp.reshape(terms, shape), count, notes

    def _count(
        self, xp: ModuleType, weight: Array, ratio: Array, counted: Any, axes: tuple[int, ...]
    ) -> Array | int:
        """Return what the mean divides by: the weights of the classes of images that count."""
        if counted is None and self.weight is None:
            return math.prod(ratio.shape)
        counts = xp.ones_like(ratio)
        if counted is not None:
            some = xp.any(counted, axis=axes, keepdims=True) if axes else counted
            counts = counts * xp.astype(some, ratio.dtype)
        return xp.sum(counts * weight, dtype=ratio.dtype)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        p, target, counted, weight, ratio, whole, of_activation = saved
        if not isinstance(scale, float) and scale.ndim:
            shape = tuple(scale.shape) if not self.batch else (1, *scale.shape)
            scale = xp.reshape(scale, (*shape, *(1,) * (p.ndim - len(shape))))
        alpha, beta, _ = self._shares()
        of_p = 2.0 * alpha * p if self.squared else alpha
        slope = ratio * ((1.0 - alpha - beta) * target + of_p) - target
        slope = (scale * weight / whole) * slope
        if counted is not None:
            slope = xp.where(counted, slope, 0.0)
        return slope if of_activation is None else F.run_backward(slope, of_activation)


class DiceLoss(OverlapLoss):
    """One minus the soft Dice coefficient of each image and class (Milletari et al., 2016).

    ``1 - (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth)``, with the sums over the places of
    an image, and p the softmax of the scores of classes, or the sigmoid of answers yes or no.

    Parameters
    ----------
    weight : sequence of C floats, optional
        Weight of each class; the mean divides by the sum of the weights. Zero leaves a class out,
        such as the background.
    ignore_index : int
        Label of places that do not count, often 255. An image without any other does not count.
    reduction : "mean", "sum" or "none"
        Of the terms (N, C).
    multilabel : bool
        Whether several columns are answers yes or no by themselves. A single one always is.
    from_logits : bool
        Whether predictions are scores; otherwise they are probabilities.
    smooth : float
        Makes a class 0 that is neither predicted nor true.
    squared : bool
        Whether the areas in the denominator are sums of squares, as in the original paper.
    batch : bool
        Whether the areas are those of all images of a batch together, so that a class that many
        images lack is weighed as it occurs; the size of the batches shows in the loss then, and
        there can be no weights of samples. The terms are (C,).

    Notes
    -----
    Prediction (N, C, d1, ...). Target: integer labels (N, d1, ...), or one-hot or soft (N, C, d1,
    ...); of a single column, zeros and ones of either shape. The numbers are those of MONAI's
    DiceLoss with ``smooth_nr`` and ``smooth_dr`` of `smooth`, and the mean.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> loss = DiceLoss(from_logits=False, smooth=1e-9)
    >>> p = np.array([[[0.5, 1.0, 0.0]]])
    >>> round(float(loss(p, np.array([[1, 1, 0]]))), 4)  # 1 - 2 * 1.5 / (1.5 + 2)
    0.1429
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        *,
        multilabel: bool = False,
        from_logits: bool = True,
        smooth: float = 1e-5,
        squared: bool = False,
        batch: bool = False,
    ) -> None:
        super().__init__(weight, ignore_index, reduction, multilabel, from_logits, smooth, batch)
        self.squared = as_flag(squared, "DiceLoss", "squared")

    def _shares(self) -> tuple[float, float, float]:
        return 0.5, 0.5, 0.5 * self.smooth


class JaccardLoss(OverlapLoss):
    """One minus the soft intersection over union of each image and class.

    ``1 - (sum(p * t) + smooth) / (sum(p) + sum(t) - sum(p * t) + smooth)``; settings and shapes as
    for :class:`DiceLoss`.

    Examples
    --------
    >>> import numpy as np
    >>> loss = JaccardLoss(from_logits=False, smooth=1e-9)
    >>> p = np.array([[[0.5, 1.0, 0.0]]])
    >>> round(float(loss(p, np.array([[1, 1, 0]]))), 4)  # 1 - 1.5 / (1.5 + 2 - 1.5)
    0.25
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        *,
        multilabel: bool = False,
        from_logits: bool = True,
        smooth: float = 1e-5,
        batch: bool = False,
    ) -> None:
        super().__init__(weight, ignore_index, reduction, multilabel, from_logits, smooth, batch)

    def _shares(self) -> tuple[float, float, float]:
        return 1.0, 1.0, self.smooth


class TverskyLoss(OverlapLoss):
    """One minus the soft Tversky index of each image and class (Salehi et al., 2017).

    ``1 - (I + smooth) / (I + alpha * (sum(p) - I) + beta * (sum(t) - I) + smooth)``, with the
    intersection ``I = sum(p * t)``; settings and shapes as for :class:`DiceLoss`, and:

    Parameters
    ----------
    alpha, beta : float
        Weights of what is wrongly predicted, and of what is missed; with 0.5 each it is the Dice
        loss, with 1 each the Jaccard loss.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> loss = TverskyLoss(alpha=0.2, beta=0.8, from_logits=False, smooth=1e-9)
    >>> p = np.array([[[0.5, 1.0, 0.0]]])
    >>> round(float(loss(p, np.array([[1, 1, 0]]))), 4)  # 1 - 1.5 / (1.5 + 0.8 * 0.5)
    0.2105
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        multilabel: bool = False,
        from_logits: bool = True,
        smooth: float = 1e-5,
        batch: bool = False,
    ) -> None:
        super().__init__(weight, ignore_index, reduction, multilabel, from_logits, smooth, batch)
        self.alpha, self.beta = self._share("alpha", alpha), self._share("beta", beta)

    def _share(self, name: str, value: float) -> float:
        value = as_number(value, "TverskyLoss", name, finite=False)
        if not 0.0 <= value < math.inf:
            raise ValueError(
                f"TverskyLoss: {name} must be a finite number of at least 0, got {value!r}"
            )
        return float(value)

    def _shares(self) -> tuple[float, float, float]:
        return self.alpha, self.beta, self.smooth
