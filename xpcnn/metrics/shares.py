"""Metrics that are the share of answers that are right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Self

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.metrics.answers import AnswerMetric, Answers


class _Share(AnswerMetric):
    """Share of predictions that are correct."""

    def reset(self) -> None:
        """Forget all batches."""
        self._right: Array = 0
        self._count: Array = 0

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        answers = self._read(prediction, target)
        xp, (right, counted) = answers.xp, self._outcome(answers, prediction)
        count: Array = math.prod(right.shape)
        if counted is not None:
            right = xp.logical_and(right, counted)
            count = _number_of(xp, counted)
        self._right = _number_of(xp, right) + self._right
        self._count = count + self._count

    def _outcome(self, answers: Answers, prediction: Array) -> tuple[Array, Array | None]:
        """Return what is right, and what of it counts; ``None`` if all does."""
        return self._is_right(answers, prediction), answers.counted

    def _is_right(self, answers: Answers, prediction: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not implement _is_right")

    def result(self) -> float:
        """Return the share over all batches since :meth:`reset`; NaN if nothing counted."""
        count = int(self._count)
        return int(self._right) / count if count else math.nan


class Accuracy(_Share):
    """Share of predictions that are correct.

    Predictions (N, C, d1, ...) are scores of classes, and the highest is the answer; or, with
    targets of the same shape and a loss of independent answers such as
    :class:`~xpcnn.BCEWithLogitsLoss`, each is a yes or a no by itself. Predictions of a single
    column, (N, 1, ...) or (N,), are always that; targets are 0 (or -1) and 1 then. Labels that the
    loss ignores do not count.

    Parameters
    ----------
    threshold : float, optional
        Above it a prediction is a yes. Without it the loss decides: 0 for logits, as also without
        a loss, and 0.5 for probabilities. Where it is given, predictions of the same shape as the
        targets are independent answers.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Raises
    ------
    ValueError
        If `threshold` is not a finite number.

    Examples
    --------
    >>> import numpy as np
    >>> metric = Accuracy()
    >>> metric.update(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    >>> metric.result()
    0.5
    >>> metric = Accuracy(threshold=0.5)
    >>> metric.update(np.array([[0.6, 0.9], [0.8, 0.2]]), np.array([[1, 1], [0, 0]]))
    >>> metric.result()
    0.75
    """

    name = "accuracy"

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Make a metric from what :meth:`arguments` returned."""
        # Files from before there was `ignore_index` hold 0.0 where nobody chose a threshold.
        if "ignore_index" not in arguments and arguments.get("threshold") == 0.0:
            arguments = {}
        return super().from_arguments(arguments)

    def _is_right(self, answers: Answers, prediction: Array) -> Array:
        return answers.predicted == answers.truth


class BinaryAccuracy(Accuracy):
    """Share of correct answers yes or no, each number being an answer by itself, as in Keras.

    It is :class:`Accuracy`, but for targets that might be taken for one-hot rows of classes.

    Parameters
    ----------
    threshold : float, optional
        Above it a prediction is a yes. Without it the loss decides: 0 for logits, as also without
        a loss, and 0.5 for probabilities.
    ignore_index : int, optional
        Target of answers that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Notes
    -----
    Prediction (N, ...); target of the same shape, 0 (or -1) and 1.

    Examples
    --------
    >>> import numpy as np
    >>> metric = BinaryAccuracy(threshold=0.5)
    >>> metric.update(np.array([[0.6, 0.9], [0.8, 0.2]]), np.array([[1, 0], [0, 1]]))
    >>> metric.result()
    0.25
    """

    name = "binary_accuracy"
    only_columns = True


class ExactMatch(_Share):
    """Share of samples of which every answer is correct: scikit-learn's accuracy of label sets.

    Answers are read as by :class:`Accuracy`: all labels of a sample, or all places of an image,
    must be right.

    Parameters
    ----------
    threshold : float, optional
        Above it a prediction is a yes; without it the loss decides, as for :class:`Accuracy`.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out. A sample without any other does
        not count.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Examples
    --------
    >>> import numpy as np
    >>> metric = ExactMatch(threshold=0.5)
    >>> metric.update(np.array([[0.6, 0.9], [0.8, 0.2]]), np.array([[1, 1], [1, 1]]))
    >>> metric.result()
    0.5
    """

    name = "exact_match"

    def _outcome(self, answers: Answers, prediction: Array) -> tuple[Array, Array | None]:
        xp, samples = answers.xp, prediction.shape[0]
        width = math.prod(answers.truth.shape) // max(samples, 1)
        right = answers.predicted == answers.truth
        counted = answers.counted
        if counted is not None:
            right = xp.logical_or(right, xp.logical_not(counted))
            counted = xp.any(xp.reshape(counted, (samples, width)), axis=1)
        return xp.all(xp.reshape(right, (samples, width)), axis=1), counted


class TopKAccuracy(_Share):
    """Share of places where the target's class is among the `k` highest scores.

    Of equal scores, the one of the lower class counts as higher.

    Parameters
    ----------
    k : int
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Raises
    ------
    ValueError
        If `k` is not a whole number of at least 1, or predictions are answers yes or no.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> metric = xpcnn.metrics.TopKAccuracy(k=2)
    >>> scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    >>> metric.update(scores, np.array([1, 2]))  # the second highest, the third highest
    >>> metric.result()
    0.5
    """

    def __init__(
        self, k: int = 5, ignore_index: int | None = None, name: str | None = None
    ) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"TopKAccuracy: k must be a whole number of at least 1, got {k!r}")
        self.k = k
        self.name = f"top_{k}_accuracy"
        super().__init__(None, ignore_index, name)

    def check_targets(self, target: Any, output_shape: Sequence[Any]) -> None:
        """Raise unless there are classes of which one is right."""
        super().check_targets(target, output_shape)
        columns = self._loss is not None and self._loss.answers == "columns"
        if len(output_shape) < 2 or output_shape[1] == 1 or columns or self._is_columns:
            raise _no_classes(output_shape)

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        if _xp.is_array(prediction) and not _xp.is_floating(prediction):
            raise TypeError(
                "TopKAccuracy: expected scores (N, C, ...) of floats, got dtype "
                f"{_xp.dtype_name(prediction)}"
            )
        super().update(prediction, target)

    def _is_right(self, answers: Answers, prediction: Array) -> Array:
        if answers.is_yes_or_no:
            raise _no_classes(prediction.shape)
        xp, _, truth, classes, *_ = answers
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


def _no_classes(shape: Sequence[int]) -> ValueError:
    return ValueError(
        f"TopKAccuracy: predictions of shape {tuple(shape)} are answers yes or no, and this is for "
        "classes of which one is right; use Accuracy"
    )


def _number_of(xp: ModuleType, flags: Array) -> Array:
    # The sum of int32 is of the library's default integer type, which does not overflow.
    return xp.sum(xp.astype(flags, xp.int32))
