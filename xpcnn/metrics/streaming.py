"""Metrics that collect batch after batch on the device."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._registry import Configurable
from xpcnn._xp import Array
from xpcnn.errors import choice_error

AVERAGES = ("macro", "micro", "weighted", None)


class Metric(Configurable):
    """Collects batches of predictions and gives one number for all of them.

    Attributes
    ----------
    name : str
        Key in training logs.
    """

    name = "metric"

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement update")

    def result(self) -> Any:
        """Return the value over all batches since :meth:`reset`; NaN if there was none."""
        raise NotImplementedError(f"{type(self).__name__} does not implement result")

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__} does not implement reset")

    def _once(self, prediction: Array, target: Array) -> Any:
        self.update(prediction, target)
        return self.result()


class _Share(Metric):
    """Share of places that are right."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._right: Array = 0
        self._count = 0

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        xp = _namespace(prediction, target, type(self).__name__)
        right = self._is_right(xp, prediction, target)
        # The sum of int32 is of the library's default integer type, which does not overflow.
        self._right = xp.sum(xp.astype(right, xp.int32)) + self._right
        self._count += math.prod(right.shape)

    def _is_right(self, xp: ModuleType, prediction: Array, target: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not implement _is_right")

    def result(self) -> float:
        """Return the share over all batches since :meth:`reset`; NaN if there was none."""
        return int(self._right) / self._count if self._count else math.nan


class Accuracy(_Share):
    """Share of places whose highest score is that of the target's class.

    Every sample has one class. Where several answers of a sample can be yes at once, targets of
    several columns would be taken for shares of classes: measure such answers column by column.

    Parameters
    ----------
    threshold : float
        For predictions of a single column (N, 1) or (N,), which are logits of a yes/no answer:
        what counts as a yes. Targets are 0 or 1 then.

    Examples
    --------
    >>> import numpy as np
    >>> metric = Accuracy()
    >>> metric.update(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    >>> metric.result()
    0.5
    """

    name = "accuracy"

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = float(threshold)
        super().__init__()

    def _is_right(self, xp: ModuleType, prediction: Array, target: Array) -> Array:
        single = prediction.ndim == 1 or (prediction.ndim == 2 and prediction.shape[1] == 1)
        if _xp.is_floating(prediction) and single:
            if math.prod(target.shape) != prediction.shape[0]:
                raise _shape_error("Accuracy", prediction, target)
            yes = xp.reshape(prediction, (-1,)) > self.threshold
            truth = xp.reshape(target, (-1,))
            if _xp.dtype_name(truth) != "bool":
                truth = truth > (0.5 if _xp.is_floating(truth) else 0)
            return yes == truth
        predicted, truth, _ = _classes(xp, prediction, target, "Accuracy")
        return predicted == truth


class TopKAccuracy(_Share):
    """Share of places where the target's class is among the `k` highest scores.

    Of equal scores, the one of the lower class counts as higher.

    Parameters
    ----------
    k : int

    Raises
    ------
    ValueError
        If `k` is not a whole number of at least 1.
    """

    def __init__(self, k: int = 5) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"TopKAccuracy: k must be a whole number of at least 1, got {k!r}")
        self.k = k
        self.name = f"top_{k}_accuracy"
        super().__init__()

    def _is_right(self, xp: ModuleType, prediction: Array, target: Array) -> Array:
        if not _xp.is_floating(prediction):
            raise TypeError(
                "TopKAccuracy: expected scores (N, C, ...) of floats, got dtype "
                f"{_xp.dtype_name(prediction)}"
            )
        _, truth, classes = _classes(xp, prediction, target, "TopKAccuracy")
        own = F.one_hot(truth, classes, xp.bool)
        score = xp.sum(xp.where(own, prediction, 0.0), axis=1, keepdims=True)
        index = xp.arange(classes, dtype=truth.dtype, device=_xp.device_of(truth))
        index = xp.reshape(index, (1, -1, *(1,) * (truth.ndim - 1)))
        later = index >= xp.expand_dims(truth, axis=1)
        # Written so that a NaN among the scores, or a label that is none, makes the answer wrong.
        tied = xp.logical_and(prediction == score, later)
        reached = xp.logical_or(prediction < score, tied)
        places = xp.sum(xp.astype(reached, xp.int32), axis=1)
        return xp.logical_and(places > classes - self.k, xp.any(own, axis=1))


class ConfusionMatrix(Metric):
    """How often each class (row) was predicted as each class (column).

    Parameters
    ----------
    num_classes : int, optional
        Needed only if predictions are classes, not scores.
    """

    name = "confusion_matrix"

    def __init__(self, num_classes: int | None = None) -> None:
        self.num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._counts: Array | None = None

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        who = type(self).__name__
        xp = _namespace(prediction, target, who)
        predicted, truth, classes = _classes(xp, prediction, target, who, self.num_classes)
        # Counts as a product of matrices: exact, because a batch is far below 2^24 places.
        rows = F.one_hot(xp.reshape(truth, (-1,)), classes, xp.float32)
        columns = F.one_hot(xp.reshape(predicted, (-1,)), classes, xp.float32)
        counts = xp.astype(xp.matmul(xp.permute_dims(rows, (1, 0)), columns), xp.int32)
        # The sum over one element turns int32 into the library's default integer type.
        counts = xp.sum(xp.expand_dims(counts, axis=0), axis=0)
        if self._counts is not None and self._counts.shape != counts.shape:
            raise ValueError(
                f"{who}: this batch has {classes} classes, the ones before had "
                f"{self._counts.shape[0]}; call reset() first"
            )
        self._counts = counts if self._counts is None else self._counts + counts

    def result(self) -> Any:
        """Return the counts as a NumPy array (C, C); without a batch, (0, 0)."""
        if self._counts is None:
            size = self.num_classes or 0
            return np.zeros((size, size), dtype=np.int64)
        return _xp.to_numpy(self._counts).astype(np.int64)


class _PerClass(ConfusionMatrix):
    """A ratio of counts for each class, and its average."""

    def __init__(
        self,
        average: str | None = "macro",
        num_classes: int | None = None,
        zero_division: float = 0.0,
    ) -> None:
        if average not in AVERAGES:
            names = [str(name) for name in AVERAGES]
            raise choice_error(type(self).__name__, "average", average, names)
        self.average = average
        self.zero_division = float(zero_division)
        super().__init__(num_classes)

    def _ratio(
        self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return numerators and denominators."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _ratio")

    def result(self) -> Any:
        """Return the average, or an array (C,) with ``average=None``; NaN without a batch."""
        if self._counts is None:
            return math.nan
        counts = super().result()
        right, predicted, actual = np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)
        if self.average == "micro":
            right, predicted, actual = (a.sum(keepdims=True) for a in (right, predicted, actual))
        above, below = self._ratio(right, predicted, actual)
        ratios = np.full(above.shape, self.zero_division)
        np.divide(above, below, out=ratios, where=below > 0)
        if self.average is None:
            return ratios
        weights = actual if self.average == "weighted" else (predicted + actual) > 0
        if not weights.any():
            return self.zero_division
        return float(np.average(ratios, weights=weights))


class Precision(_PerClass):
    """Share of the predictions of a class that are right.

    Parameters
    ----------
    average : "macro", "micro", "weighted" or None
        Mean over the classes that occur in targets or predictions, ratio of the total counts, mean
        weighted by how often a class is the target, or one number for each class.
    num_classes : int, optional
        Needed only if predictions are classes, not scores.
    zero_division : float
        Value of a ratio whose denominator is 0.

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

    def _ratio(
        self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return right, predicted


class Recall(_PerClass):
    """Share of the places of a class that are found; settings as for :class:`Precision`."""

    name = "recall"

    def _ratio(
        self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return right, actual


class F1Score(_PerClass):
    """Harmonic mean of precision and recall; settings as for :class:`Precision`."""

    name = "f1_score"

    def _ratio(
        self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return 2 * right, predicted + actual


def _namespace(prediction: Array, target: Array, who: str) -> ModuleType:
    xp = _xp.namespace(prediction, target, who=who)
    if not _xp.same_device(prediction, target):
        raise TypeError(
            f"{who}: the prediction is {_xp.describe(prediction)}, but the target is "
            f"{_xp.describe(target)}; move one of them"
        )
    return xp


def _shape_error(who: str, prediction: Array, target: Array) -> ValueError:
    return ValueError(
        f"{who}: targets of shape {tuple(target.shape)} do not fit predictions of shape "
        f"{tuple(prediction.shape)}; expected labels without the class axis 1, or one-hot or soft "
        "targets with it"
    )


def _classes(
    xp: ModuleType, prediction: Array, target: Array, who: str, num_classes: int | None = None
) -> tuple[Array, Array, int]:
    """Return predicted classes and true classes of one shape, and the number of classes.

    The number is 0 where nobody said it.
    """
    floats = _xp.is_floating(prediction)
    if floats and prediction.ndim < 2:
        raise _shape_error(who, prediction, target)
    classes = prediction.shape[1] if floats else num_classes
    if classes is None and who != "Accuracy":
        raise ValueError(
            f"{who}: predictions of dtype {_xp.dtype_name(prediction)} are taken as classes; say "
            "how many there are with num_classes, or pass scores (N, C, ...) of floats"
        )
    predicted = xp.argmax(prediction, axis=1) if floats else prediction
    if target.ndim == predicted.ndim + 1:
        if _xp.dtype_name(target) == "bool":
            target = xp.astype(target, xp.int32)
        target = xp.argmax(target, axis=1)
    elif _xp.is_floating(target):
        raise TypeError(
            f"{who}: labels must be integers, got {_xp.dtype_name(target)}; convert them with "
            "target.astype('int64')"
        )
    if predicted.shape != target.shape:
        raise _shape_error(who, prediction, target)
    return predicted, xp.astype(target, predicted.dtype), classes or 0
