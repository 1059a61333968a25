"""Metrics that are ratios of counts, for each class or on average: precision, recall and others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn.metrics.counts import ConfusionMatrix, Fraction, PerClass


class Precision(PerClass):
    """Share of the predictions of a class that are correct.

    Parameters
    ----------
    average : "auto", "macro", "micro", "weighted", "binary" or None
        Mean over the classes that occur in targets or predictions, ratio of the total counts, mean
        weighted by how often a class is the target, the ratio of the answer yes (of two classes,
        of the class 1) alone, or one number for each class. Of predictions in a single column, no
        and yes are the two classes; of several columns of yes and no, each has its ratio of the
        answer yes, and the mean is over all columns. "auto" is "binary" for a single column, as
        in scikit-learn, and "macro" for everything else.
    num_classes : int, optional
        Needed only if predictions are classes, not scores.
    zero_division : float
        Value of a ratio whose denominator is 0.
    threshold : float, optional
        Above it a prediction is a yes; without it the loss decides, as for :class:`Accuracy`.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Raises
    ------
    ValueError
        If `average` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> metric = Precision(average=None, num_classes=2)
    >>> metric.update(np.array([0, 1, 1]), np.array([0, 0, 1]))
    >>> metric.result()
    array([1. , 0.5])
    """

    name = "precision"

    def _ratio(self, right: Any, predicted: Any, actual: Any, total: Any) -> Fraction:
        return right, predicted


class Recall(PerClass):
    """Share of the places of a class that are found; settings as for :class:`Precision`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> metric = xpcnn.metrics.Recall(average=None, num_classes=2)
    >>> metric.update(np.array([0, 1, 1]), np.array([0, 0, 1]))
    >>> metric.result().tolist()  # 1 of 2 zeros, 1 of 1 ones
    [0.5, 1.0]
    """

    name = "recall"

    def _ratio(self, right: Any, predicted: Any, actual: Any, total: Any) -> Fraction:
        return right, actual


class F1Score(PerClass):
    """Harmonic mean of precision and recall; settings as for :class:`Precision`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> metric = xpcnn.metrics.F1Score(threshold=0.5)
    >>> metric.update(np.array([0.9, 0.8, 0.6, 0.1]), np.array([1, 0, 0, 1]))
    >>> round(float(metric.result()), 4)  # precision 1/3, recall 1/2
    0.4
    """

    name = "f1_score"

    def _ratio(self, right: Any, predicted: Any, actual: Any, total: Any) -> Fraction:
        return 2 * right, predicted + actual


class Specificity(PerClass):
    """Share of the places that are not of a class where it is not predicted.

    Of a yes/no answer it is the share of the noes that are found, the recall of no. Settings as for
    :class:`Precision`.

    Examples
    --------
    >>> import numpy as np
    >>> metric = Specificity(threshold=0.5)
    >>> metric.update(np.array([0.9, 0.2, 0.1, 0.6]), np.array([0, 0, 0, 1]))
    >>> round(metric.result(), 4)  # two of three noes
    0.6667
    """

    name = "specificity"

    def _ratio(self, right: Any, predicted: Any, actual: Any, total: Any) -> Fraction:
        return total - predicted - actual + right, total - actual


class MultilabelAccuracy(PerClass):
    """Share of correct answers of each label, where several labels can be right at once.

    The mean over labels ("macro") is :class:`BinaryAccuracy` as long as nothing is ignored. How
    often all labels of a sample are right is :class:`ExactMatch`.

    Parameters
    ----------
    average : "macro", "micro", "weighted" or None
        Mean over the labels, share of all answers, mean weighted by how often a label is there, or
        one number for each label, an array (C,).
    threshold : float, optional
        Above it a prediction is a yes; without it the loss decides, as for :class:`Accuracy`.
    ignore_index : int, optional
        Target of answers that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Notes
    -----
    Prediction (N, C, d1, ...), a score for each label; target of the same shape, zeros and ones.

    Raises
    ------
    ValueError
        If `average` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> metric = MultilabelAccuracy(average=None, threshold=0.5)
    >>> metric.update(np.array([[0.9, 0.2], [0.8, 0.7]]), np.array([[1, 1], [1, 1]]))
    >>> metric.result()
    array([1. , 0.5])
    """

    name = "multilabel_accuracy"
    only_columns = True
    averages = ("macro", "micro", "weighted", None)

    def __init__(
        self,
        average: str | None = "macro",
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(average, None, 0.0, threshold, ignore_index, name)

    def _ratio(self, right: Any, predicted: Any, actual: Any, total: Any) -> Fraction:
        return total - predicted - actual + 2 * right, total


class MeanIoU(PerClass):
    """Intersection over union of each class, on average: the Jaccard index of segmentation.

    The intersection is the places where a class is predicted and true, the union those where it is
    one of both, over all samples together.

    Parameters
    ----------
    num_classes : int, optional
        Needed only if predictions are classes, not scores.
    average : "auto", "macro", "micro", "weighted", "binary" or None
        As for :class:`Precision`, but of a single column of answers too "auto" is the mean over
        both classes, no and yes, as in Keras; "binary" is the value of yes alone.
    zero_division : float
        Value of a class that is neither predicted nor true; in the mean such classes do not count,
        except for columns of yes and no.
    threshold : float, optional
        Above it a prediction is a yes; without it the loss decides, as for :class:`Accuracy`.
    ignore_index : int, optional
        Label of places that do not count, often 255; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Notes
    -----
    Prediction (N, C, d1, ...), scores, or classes (N, d1, ...) of integers; target as for
    :class:`Accuracy`.

    Raises
    ------
    ValueError
        If `average` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> metric = MeanIoU(num_classes=2)
    >>> metric.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 0, 1]]))
    >>> round(metric.result(), 4)  # 1 of 3 places for either class
    0.3333
    """

    name = "mean_iou"

    def __init__(
        self,
        num_classes: int | None = None,
        average: str | None = "auto",
        zero_division: float = 0.0,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(average, num_classes, zero_division, threshold, ignore_index, name)

    def _usual_average(self) -> str:
        return "macro"

    def _ratio(self, right: Any, predicted: Any, actual: Any, total: Any) -> Fraction:
        return right, predicted + actual - right


class Dice(F1Score):
    """Dice coefficient of segmentation: twice the intersection over the sum of both sizes.

    Counted over the places of all samples together it is the same number as :class:`F1Score`, with
    the same settings. (The mean of the coefficients of single images is another number.)

    Examples
    --------
    >>> import numpy as np
    >>> metric = Dice(threshold=0.5)
    >>> metric.update(np.array([[[0.9, 0.8, 0.1]]]), np.array([[[1, 0, 0]]]))
    >>> round(metric.result(), 4)  # 2 * 1 / (2 + 1)
    0.6667
    """

    name = "dice"


class _OfMatrix(ConfusionMatrix):
    """One number made of a confusion matrix."""

    higher_is_better = True
    gives_one_number = True

    def result(self) -> float:
        """Return the number for all batches since :meth:`reset`; NaN if nothing counted."""
        counts = super().result().astype(np.float64)
        if counts.ndim != 2:
            raise ValueError(
                f"{type(self).__name__}: is for classes or for one answer yes or no, and there are "
                f"{len(counts)} columns of yes and no; use its function for each column"
            )
        return self._of(counts) if counts.sum() else math.nan

    def _of(self, counts: np.ndarray) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not implement _of")


class MatthewsCorrCoef(_OfMatrix):
    """Correlation between predicted and true classes, from -1 to 1 (Matthews, 1975).

    It is 0 where all predictions, or all targets, are one class, as in scikit-learn. Settings as
    for :class:`ConfusionMatrix`.

    Examples
    --------
    >>> import numpy as np
    >>> metric = MatthewsCorrCoef(num_classes=2)
    >>> metric.update(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0]))
    >>> round(metric.result(), 4)  # (2 * 1 - 0 * 1) / sqrt(2 * 3 * 1 * 2)
    0.5774
    """

    name = "matthews_corrcoef"

    def _of(self, counts: np.ndarray) -> float:
        shares = counts / counts.sum()
        predicted, actual = shares.sum(axis=0), shares.sum(axis=1)
        together = np.trace(shares) - predicted @ actual
        spread = (1.0 - predicted @ predicted) * (1.0 - actual @ actual)
        return float(together / math.sqrt(spread)) if spread > 0.0 else 0.0


class CohenKappa(_OfMatrix):
    """Agreement of predicted and true classes beyond that of chance (Cohen, 1960).

    Settings as for :class:`ConfusionMatrix`. It is NaN where all predictions and all targets are
    one class.

    Examples
    --------
    >>> import numpy as np
    >>> metric = CohenKappa(num_classes=2)
    >>> metric.update(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0]))
    >>> metric.result()  # (3/4 - 1/2) / (1 - 1/2)
    0.5
    """

    name = "cohen_kappa"

    def _of(self, counts: np.ndarray) -> float:
        shares = counts / counts.sum()
        chance = shares.sum(axis=0) @ shares.sum(axis=1)
        return float((np.trace(shares) - chance) / (1.0 - chance)) if chance < 1.0 else math.nan
