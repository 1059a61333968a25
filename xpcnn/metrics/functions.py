"""Metrics of one batch, as functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.metrics.calibration import CalibrationError
from xpcnn.metrics.counts import ConfusionMatrix
from xpcnn.metrics.ratios import (
    CohenKappa,
    Dice,
    F1Score,
    MatthewsCorrCoef,
    MeanIoU,
    MultilabelAccuracy,
    Precision,
    Recall,
    Specificity,
)
from xpcnn.metrics.regression import MAE, MSE, R2, RMSE, ExplainedVariance
from xpcnn.metrics.scores import AUC
from xpcnn.metrics.shares import Accuracy, BinaryAccuracy, ExactMatch, TopKAccuracy


def accuracy(
    prediction: Array,
    target: Array,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the share of predictions that are correct; see :class:`Accuracy`.

    There is no loss here to say what predictions are: pass ``threshold=0.5`` if they are
    probabilities in a single column, or independent ones in several.

    Examples
    --------
    >>> import numpy as np
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    return float(Accuracy(threshold, ignore_index)._once(prediction, target))


def top_k_accuracy(
    prediction: Array, target: Array, *, k: int = 5, ignore_index: int | None = None
) -> float:
    """Return the share of places with the target among the `k` highest scores."""
    return float(TopKAccuracy(k, ignore_index)._once(prediction, target))


def confusion_matrix(
    prediction: Array,
    target: Array,
    *,
    num_classes: int | None = None,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> np.ndarray:
    """Return how often each class (row) was predicted as each class (column), as (C, C).

    Examples
    --------
    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), num_classes=2)
    array([[1, 1],
           [0, 1]])
    """
    metric = ConfusionMatrix(num_classes, threshold, ignore_index)
    return np.asarray(metric._once(prediction, target))


def precision(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "auto",
    num_classes: int | None = None,
    zero_division: float = 0.0,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the share of the predictions of a class that are correct; see :class:`Precision`."""
    metric = Precision(average, num_classes, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def recall(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "auto",
    num_classes: int | None = None,
    zero_division: float = 0.0,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the share of the places of a class that are found; see :class:`Recall`."""
    metric = Recall(average, num_classes, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def f1_score(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "auto",
    num_classes: int | None = None,
    zero_division: float = 0.0,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the harmonic mean of precision and recall; see :class:`F1Score`."""
    metric = F1Score(average, num_classes, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def binary_accuracy(
    prediction: Array,
    target: Array,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the share of answers yes or no that are correct; see :class:`BinaryAccuracy`."""
    return float(BinaryAccuracy(threshold, ignore_index)._once(prediction, target))


def exact_match(
    prediction: Array,
    target: Array,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the share of samples of which every answer is correct; see :class:`ExactMatch`."""
    return float(ExactMatch(threshold, ignore_index)._once(prediction, target))


def multilabel_accuracy(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "macro",
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the share of correct answers of each label; see :class:`MultilabelAccuracy`."""
    return MultilabelAccuracy(average, threshold, ignore_index)._once(prediction, target)


def specificity(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "auto",
    num_classes: int | None = None,
    zero_division: float = 0.0,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return how much of what is not of a class is told so; see :class:`Specificity`."""
    metric = Specificity(average, num_classes, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def dice(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "auto",
    num_classes: int | None = None,
    zero_division: float = 0.0,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the Dice coefficient of segmentation; see :class:`Dice`."""
    metric = Dice(average, num_classes, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def mean_iou(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "auto",
    num_classes: int | None = None,
    zero_division: float = 0.0,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return intersection over union of the classes; see :class:`MeanIoU`."""
    metric = MeanIoU(num_classes, average, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def matthews_corrcoef(
    prediction: Array,
    target: Array,
    *,
    num_classes: int | None = None,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the correlation between predicted and true classes; see :class:`MatthewsCorrCoef`."""
    return float(MatthewsCorrCoef(num_classes, threshold, ignore_index)._once(prediction, target))


def cohen_kappa(
    prediction: Array,
    target: Array,
    *,
    num_classes: int | None = None,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the agreement beyond that of chance; see :class:`CohenKappa`."""
    return float(CohenKappa(num_classes, threshold, ignore_index)._once(prediction, target))


def auc(
    prediction: Array,
    target: Array,
    *,
    curve: str = "ROC",
    average: str | None = "auto",
    multilabel: bool = False,
    from_logits: bool | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the area under the curve of the scores; see :class:`AUC`."""
    metric = AUC(curve, average, multilabel, from_logits, ignore_index)
    return metric._once(prediction, target)


def calibration_error(
    prediction: Array,
    target: Array,
    *,
    n_bins: int = 15,
    norm: str = "l1",
    multilabel: bool = False,
    from_logits: bool | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return how far probabilities are from shares; see :class:`CalibrationError`."""
    metric = CalibrationError(n_bins, norm, multilabel, from_logits, ignore_index)
    return float(metric._once(prediction, target))


def mae(prediction: Array, target: Array) -> float:
    """Return the mean absolute error over all numbers; see :class:`MAE`."""
    return float(MAE()._once(prediction, target))


def mse(prediction: Array, target: Array) -> float:
    """Return the mean squared error over all numbers; see :class:`MSE`."""
    return float(MSE()._once(prediction, target))


def rmse(prediction: Array, target: Array) -> float:
    """Return the root of the mean squared error over all numbers; see :class:`RMSE`."""
    return float(RMSE()._once(prediction, target))


def r2(prediction: Array, target: Array, *, multioutput: str = "uniform_average") -> Any:
    """Return the coefficient of determination; see :class:`R2`."""
    return R2(multioutput)._once(prediction, target)


def explained_variance(
    prediction: Array, target: Array, *, multioutput: str = "uniform_average"
) -> Any:
    """Return the share of the targets' variance explained; see :class:`ExplainedVariance`."""
    return ExplainedVariance(multioutput)._once(prediction, target)
