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
    """Return the share of places with the target among the `k` highest scores.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    >>> top_k_accuracy(scores, np.array([1, 2]), k=2)
    0.5
    """
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
    """Return the share of the predictions of a class that are correct; see :class:`Precision`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([0.9, 0.8, 0.6, 0.1])
    >>> round(float(precision(yes, np.array([1, 0, 0, 1]), threshold=0.5)), 4)  # 1 of 3 yeses
    0.3333
    """
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
    """Return the share of the places of a class that are found; see :class:`Recall`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([0.9, 0.8, 0.6, 0.1])
    >>> float(recall(yes, np.array([1, 0, 0, 1]), threshold=0.5))  # 1 of 2 that are a yes
    0.5
    """
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
    """Return the harmonic mean of precision and recall; see :class:`F1Score`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([0.9, 0.8, 0.6, 0.1])
    >>> target = np.array([1, 0, 0, 1])
    >>> round(float(f1_score(yes, target, threshold=0.5)), 4)  # 2 * 1/3 * 1/2 / (1/3 + 1/2)
    0.4
    """
    metric = F1Score(average, num_classes, zero_division, threshold, ignore_index)
    return metric._once(prediction, target)


def binary_accuracy(
    prediction: Array,
    target: Array,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the share of answers yes or no that are correct; see :class:`BinaryAccuracy`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([0.9, 0.8, 0.1, 0.2])
    >>> binary_accuracy(yes, np.array([1, 0, 0, 0]), threshold=0.5)
    0.75
    """
    return float(BinaryAccuracy(threshold, ignore_index)._once(prediction, target))


def exact_match(
    prediction: Array,
    target: Array,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the share of samples of which every answer is correct; see :class:`ExactMatch`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([[0.9, 0.2], [0.8, 0.7]])
    >>> exact_match(yes, np.array([[1, 1], [1, 1]]), threshold=0.5)  # the second sample
    0.5
    """
    return float(ExactMatch(threshold, ignore_index)._once(prediction, target))


def multilabel_accuracy(
    prediction: Array,
    target: Array,
    *,
    average: str | None = "macro",
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> Any:
    """Return the share of correct answers of each label; see :class:`MultilabelAccuracy`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([[0.9, 0.2], [0.8, 0.7]])
    >>> labels = np.array([[1, 1], [1, 1]])
    >>> multilabel_accuracy(yes, labels, average=None, threshold=0.5).tolist()
    [1.0, 0.5]
    """
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
    """Return how much of what is not of a class is told so; see :class:`Specificity`.

    Examples
    --------
    >>> import numpy as np
    >>> yes = np.array([0.9, 0.2, 0.1, 0.3, 0.6])
    >>> float(specificity(yes, np.array([0, 0, 0, 0, 1]), threshold=0.5))  # three of four noes
    0.75
    """
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
    """Return the Dice coefficient of segmentation; see :class:`Dice`.

    Examples
    --------
    >>> import numpy as np
    >>> predicted, true = np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])
    >>> each = dice(predicted, true, average=None, num_classes=2)
    >>> each.round(4).tolist()  # 2 * 2 / (2 + 3), 2 * 1 / (2 + 1)
    [0.8, 0.6667]
    """
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
    """Return intersection over union of the classes; see :class:`MeanIoU`.

    Examples
    --------
    >>> import numpy as np
    >>> predicted, true = np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])
    >>> round(float(mean_iou(predicted, true, num_classes=2)), 4)  # (2/3 + 1/2) / 2
    0.5833
    """
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
    """Return the correlation between predicted and true classes; see :class:`MatthewsCorrCoef`.

    Examples
    --------
    >>> import numpy as np
    >>> round(matthews_corrcoef(np.array([0, 1]), np.array([1, 0]), num_classes=2), 4)  # all wrong
    -1.0
    """
    return float(MatthewsCorrCoef(num_classes, threshold, ignore_index)._once(prediction, target))


def cohen_kappa(
    prediction: Array,
    target: Array,
    *,
    num_classes: int | None = None,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> float:
    """Return the agreement beyond that of chance; see :class:`CohenKappa`.

    Examples
    --------
    >>> import numpy as np
    >>> predicted, true = np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])
    >>> round(cohen_kappa(predicted, true, num_classes=2), 4)  # (3/4 - 1/2) / (1 - 1/2)
    0.5
    """
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
    """Return the area under the curve of the scores; see :class:`AUC`.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([0.1, 0.4, 0.35, 0.8])
    >>> float(auc(scores, np.array([0, 0, 1, 1])))  # 3 of 4 pairs of a no and a yes are in order
    0.75
    """
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
    """Return how far probabilities are from shares; see :class:`CalibrationError`.

    Examples
    --------
    >>> import numpy as np
    >>> sure = np.array([[0.75, 0.25], [0.75, 0.25]])
    >>> calibration_error(sure, np.array([0, 1]), from_logits=False)  # 0.75, but half are right
    0.25
    """
    metric = CalibrationError(n_bins, norm, multilabel, from_logits, ignore_index)
    return float(metric._once(prediction, target))


def mae(prediction: Array, target: Array) -> float:
    """Return the mean absolute error over all numbers; see :class:`MAE`.

    Examples
    --------
    >>> import numpy as np
    >>> mae(np.array([1.0, 4.0]), np.array([0.0, 2.0]))  # (1 + 2) / 2
    1.5
    """
    return float(MAE()._once(prediction, target))


def mse(prediction: Array, target: Array) -> float:
    """Return the mean squared error over all numbers; see :class:`MSE`.

    Examples
    --------
    >>> import numpy as np
    >>> mse(np.array([1.0, 4.0]), np.array([0.0, 2.0]))  # (1 + 4) / 2
    2.5
    """
    return float(MSE()._once(prediction, target))


def rmse(prediction: Array, target: Array) -> float:
    """Return the root of the mean squared error over all numbers; see :class:`RMSE`.

    Examples
    --------
    >>> import numpy as np
    >>> rmse(np.array([1.0, 7.0]), np.array([0.0, 0.0]))  # the root of (1 + 49) / 2
    5.0
    """
    return float(RMSE()._once(prediction, target))


def r2(prediction: Array, target: Array, *, multioutput: str = "uniform_average") -> Any:
    """Return the coefficient of determination; see :class:`R2`.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(r2(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))), 4)  # 1 - 1 / 2
    0.5
    """
    return R2(multioutput)._once(prediction, target)


def explained_variance(
    prediction: Array, target: Array, *, multioutput: str = "uniform_average"
) -> Any:
    """Return the share of the targets' variance explained; see :class:`ExplainedVariance`.

    Examples
    --------
    >>> import numpy as np
    >>> target = np.array([1.0, 2.0, 3.0])
    >>> round(float(explained_variance(target + 10.0, target)), 4)  # an offset does not count
    1.0
    """
    return ExplainedVariance(multioutput)._once(prediction, target)
