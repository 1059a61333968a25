"""Metrics: how good predictions are, as functions and as streaming objects.

Predictions are scores (N, C, d1, ...), the highest of which is the predicted class; or predicted
classes themselves, integers (N, d1, ...). Targets are integer labels (N, d1, ...), or one-hot or
soft (N, C, d1, ...), where the highest share is the class.

Predictions of a single column, (N, 1, ...) or (N,), are answers yes or no, and so is each number
where several columns are independent of one another: with a loss such as BCEWithLogitsLoss, with
a `threshold`, or, for the functions, where rows of the targets hold several ones. The loss says
from where on a prediction is a yes: above 0 for logits, above 0.5 for probabilities. The functions
know of no loss and take 0 unless they are given a `threshold`.

Predictions come first, as for a loss; :func:`classification_report` alone has scikit-learn's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn import _registry
from xpcnn._registry import to_config
from xpcnn.metrics.calibration import CalibrationError
from xpcnn.metrics.counts import ConfusionMatrix
from xpcnn.metrics.functions import (
    accuracy,
    auc,
    binary_accuracy,
    calibration_error,
    cohen_kappa,
    confusion_matrix,
    dice,
    exact_match,
    explained_variance,
    f1_score,
    mae,
    matthews_corrcoef,
    mean_iou,
    mse,
    multilabel_accuracy,
    precision,
    r2,
    recall,
    rmse,
    specificity,
    top_k_accuracy,
)
from xpcnn.metrics.metric import Metric
from xpcnn.metrics.per_output import OutputMetric
from xpcnn.metrics.plain import FunctionMetric
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
from xpcnn.metrics.report import classification_report
from xpcnn.metrics.scores import AUC
from xpcnn.metrics.shares import Accuracy, BinaryAccuracy, ExactMatch, TopKAccuracy

__all__ = [
    "Accuracy", "TopKAccuracy", "Precision", "Recall", "F1Score", "ConfusionMatrix",
    "BinaryAccuracy", "MultilabelAccuracy", "ExactMatch", "Specificity", "MeanIoU", "Dice",
    "MatthewsCorrCoef", "CohenKappa", "AUC", "CalibrationError",
    "MAE", "MSE", "RMSE", "R2", "ExplainedVariance",
    "accuracy", "top_k_accuracy", "precision", "recall", "f1_score", "confusion_matrix",
    "binary_accuracy", "multilabel_accuracy", "exact_match", "specificity", "mean_iou", "dice",
    "matthews_corrcoef", "cohen_kappa", "auc", "calibration_error",
    "mae", "mse", "rmse", "r2", "explained_variance", "classification_report",
    "Metric", "OutputMetric", "FunctionMetric", "from_config", "get", "to_config",
]  # fmt: skip

_CLASSES = _registry.public(globals(), Metric)
_NAMES = {
    vars(cls).get("name") or _registry.snake_case(name): cls
    for name, cls in _CLASSES.items()
    if cls not in (OutputMetric, FunctionMetric)
}


def get(metric: Any) -> Metric:
    """Return the metric of that name with its defaults; an object is returned as it is.

    A function makes a :class:`FunctionMetric`, and one of this module the metric of its name.

    Raises
    ------
    ValueError
        If there is no metric of that name.

    Examples
    --------
    >>> from xpcnn import metrics
    >>> metrics.get("accuracy")
    Accuracy()
    >>> metrics.get(metrics.r2)
    R2()
    """
    if callable(metric) and not isinstance(metric, (type, Metric)):
        name = getattr(metric, "__name__", "")
        if name not in _NAMES or metric is not globals()[name]:
            return FunctionMetric(metric)
        metric = name  # the mean of its batches need not be what it says of all samples
    return _registry.get(metric, Metric, _NAMES, "metric")


def from_config(description: Any, custom: Mapping[str, Any] | None = None) -> Metric:
    """Make the metric that :func:`to_config` described.

    Parameters
    ----------
    description : mapping
    custom : mapping of str to class or function, optional
        Those of your own that it names.

    Raises
    ------
    ValueError
        If the class is none of this module or of these, or its arguments do not fit.

    Examples
    --------
    >>> from xpcnn import metrics
    >>> metrics.from_config({"class": "TopKAccuracy", "config": {"k": 3}})
    TopKAccuracy(k=3)
    """
    return _registry.from_config(description, _CLASSES, "metric", custom, (Metric,))
