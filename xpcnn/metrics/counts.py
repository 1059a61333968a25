"""Metrics that are made of counts: how often each class was predicted as each class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import check_choice
from xpcnn.metrics.answers import AnswerMetric, Answers
from xpcnn.window import as_number

AVERAGES = ("auto", "macro", "micro", "weighted", "binary", None)

Fraction = tuple[np.ndarray, np.ndarray]
"""What is divided, and by what."""

PIECE = 2**20
"""Places that are counted at once."""

_KINDS = {2: "classes", 3: "columns of yes and no"}
"""What a matrix of so many axes counts."""


class Counts(AnswerMetric):
    """Counts of what was predicted where."""

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        if num_classes is not None and (
            isinstance(num_classes, bool)
            or not isinstance(num_classes, (int, np.integer))
            or num_classes < 1
        ):
            raise ValueError(
                f"{type(self).__name__}: num_classes must be a whole number of at least 1, got "
                f"{num_classes!r}"
            )
        super().__init__(threshold, ignore_index, name)
        self.num_classes = None if num_classes is None else int(num_classes)

    def reset(self) -> None:
        """Forget all batches."""
        self._counts: Array | None = None
        self._is_one_answer = False

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        answers = self._read(prediction, target, self.num_classes)
        is_columns = answers.is_yes_or_no and answers.predicted.ndim > 1
        self._is_one_answer = answers.is_yes_or_no and not is_columns
        if not answers.classes:
            raise ValueError(
                f"{type(self).__name__}: predictions of dtype {_xp.dtype_name(prediction)} are "
                "taken as classes; say how many there are with num_classes, or pass scores "
                "(N, C, ...) of floats"
            )
        there = answers.predicted.shape[1] if is_columns else answers.classes
        if self.num_classes not in (None, there):
            raise ValueError(
                f"{type(self).__name__}: num_classes={self.num_classes}, but predictions of shape "
                f"{tuple(prediction.shape)} are of {there} {_KINDS[3 if is_columns else 2]}; "
                "leave num_classes out, or change the network"
            )
        counts = _matrix_of_each(answers) if is_columns else _matrix(answers)
        if self._counts is not None and self._counts.shape != counts.shape:
            now, before = (f"{m.shape[0]} {_KINDS[m.ndim]}" for m in (counts, self._counts))
            raise ValueError(
                f"{type(self).__name__}: this batch has {now}, the ones before had {before}; call "
                "reset() first"
            )
        self._counts = counts if self._counts is None else self._counts + counts


class ConfusionMatrix(Counts):
    """How often each class (row) was predicted as each class (column).

    Answers yes or no in a single column make a matrix (2, 2), and those in several columns one for
    each, (C, 2, 2).

    Parameters
    ----------
    num_classes : int, optional
        Needed only if predictions are classes, not scores.
    threshold : float, optional
        Above it a prediction is a yes; without it the loss decides, as for
        :class:`Accuracy`.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> metric = xpcnn.metrics.ConfusionMatrix(num_classes=2)
    >>> metric.update(np.array([0, 1]), np.array([0, 0]))
    >>> metric.update(np.array([1]), np.array([1]))
    >>> metric.result().tolist()  # one 0 taken for a 1
    [[1, 1], [0, 1]]
    """

    name = "confusion_matrix"
    higher_is_better: bool | None = None
    gives_one_number: bool = False

    def result(self) -> Any:
        """Return the counts as a NumPy array (C, C); without a batch, (0, 0)."""
        if self._counts is None:
            size = self.num_classes or 0
            return np.zeros((size, size), dtype=np.int64)
        return _xp.to_numpy(self._counts).astype(np.int64)


class PerClass(Counts):
    """A ratio of counts for each class, and its average."""

    averages: tuple[str | None, ...] = AVERAGES

    def __init__(
        self,
        average: str | None = "auto",
        num_classes: int | None = None,
        zero_division: float = 0.0,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        check_choice(type(self).__name__, "average", average, self.averages)
        self.average = average
        self.zero_division = as_number(
            zero_division, type(self).__name__, "zero_division", finite=False
        )
        super().__init__(num_classes, threshold, ignore_index, name)

    @property
    def gives_one_number(self) -> bool:  # type: ignore[override]
        """Whether the classes are averaged."""
        return self.average is not None

    def _ratio(
        self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray, total: np.ndarray
    ) -> Fraction:
        """Return numerators and denominators, of each class.

        Parameters
        ----------
        right, predicted, actual, total : array of int (C,)
            Places where the class was predicted and true, where it was predicted, where it was
            true, and all of them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement _ratio")

    def _usual_average(self) -> str:
        """Say what "auto" is."""
        return "binary" if self._is_one_answer else "macro"

    def result(self) -> Any:
        """Return the average, or an array (C,) with ``average=None``; NaN without a batch."""
        if self._counts is None:
            return math.nan
        counts = _xp.to_numpy(self._counts).astype(np.int64)
        columns = counts.ndim == 3
        if not counts.any():  # everything was ignored
            return math.nan if self.average is not None else np.full(len(counts), math.nan)
        if columns:
            right = counts[:, 1, 1]
            predicted, actual = counts[:, :, 1].sum(axis=1), counts[:, 1, :].sum(axis=1)
        else:
            right, predicted, actual = np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)
        total = np.broadcast_to(counts.sum(axis=(-2, -1)), right.shape)
        average = self.average
        if average == "auto":
            average = self._usual_average()
        if average == "binary":
            if columns or len(counts) != 2:
                raise ValueError(
                    f"{type(self).__name__}: average='binary' is for one answer yes or no, and "
                    f"there are {len(right)} {_KINDS[counts.ndim]}; use 'macro', 'micro' or "
                    "'weighted'"
                )
            right, predicted, actual, total = (a[1:] for a in (right, predicted, actual, total))
        if average == "micro":
            sums = (a.sum(keepdims=True) for a in (right, predicted, actual, total))
            right, predicted, actual, total = sums
        above, below = self._ratio(right, predicted, actual, total)
        ratios = np.full(above.shape, self.zero_division)
        np.divide(above, below, out=ratios, where=below > 0)
        if average is None:
            return ratios
        # Each column counts; of classes, those that occur.
        weights = actual if average == "weighted" else (predicted + actual > 0) | columns
        if not weights.any():
            return self.zero_division
        return float(np.average(ratios, weights=weights))


def _matrix(answers: Answers) -> Array:
    """Count how often each class (row) was predicted as each class (column)."""
    xp, predicted, truth, classes, counted, is_yes_or_no = answers
    if is_yes_or_no:
        predicted, truth = xp.astype(predicted, xp.int32), xp.astype(truth, xp.int32)
    predicted, truth = xp.reshape(predicted, (-1,)), xp.reshape(truth, (-1,))
    counts: Array = None
    for at in range(0, max(truth.shape[0], 1), PIECE):
        piece = slice(at, min(at + PIECE, truth.shape[0]))
        # Counts as a product of matrices: exact, because a piece is far below 2^24 places.
        rows = F.one_hot(truth[piece], classes, xp.float32)
        if counted is not None:
            rows = rows * xp.astype(xp.reshape(counted, (-1, 1))[piece, ...], xp.float32)
        columns = F.one_hot(predicted[piece], classes, xp.float32)
        part = xp.astype(xp.matmul(xp.permute_dims(rows, (1, 0)), columns), xp.int32)
        # The sum over one element turns int32 into the library's default integer type.
        part = xp.sum(xp.expand_dims(part, axis=0), axis=0)
        counts = part if counts is None else counts + part
    return counts


def _matrix_of_each(answers: Answers) -> Array:
    """Count for each column how often no (0) and yes (1) were predicted as no and yes."""
    xp, predicted, truth, _, counted, _ = answers
    axes = tuple(axis for axis in range(predicted.ndim) if axis != 1)
    counts = []
    for t in (xp.logical_not(truth), truth):
        if counted is not None:
            t = xp.logical_and(t, counted)
        for p in (xp.logical_not(predicted), predicted):
            counts.append(xp.sum(xp.astype(xp.logical_and(t, p), xp.int32), axis=axes))
    return xp.reshape(xp.stack(counts, axis=-1), (-1, 2, 2))
