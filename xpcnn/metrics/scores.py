"""Metrics of the scores themselves: areas under curves, and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import cast_hint, check_choice, dtype_error
from xpcnn.metrics.answers import AnswerMetric, Answers
from xpcnn.window import as_flag

CURVES = ("ROC", "PR")
AVERAGES = ("auto", "macro", "micro", "weighted", "binary", None)

IGNORED = -(2**31)
"""Stands in the place of a target that does not count."""

LIMIT = 2**26
"""Bytes that may wait in the memory of a device before they are brought to the host's."""


class ScoreMetric(AnswerMetric):
    """A metric of scores, which come to the host's memory; nothing is compared with a threshold.

    Parameters
    ----------
    from_logits : bool, optional
        Whether predictions are logits; without it the loss says what they are, and without a loss
        they are probabilities.
    multilabel : bool
        Whether each column is an answer by itself also where targets could be one-hot rows.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs.
    """

    compares = False

    def __init__(
        self,
        from_logits: bool | None,
        multilabel: bool,
        ignore_index: int | None,
        name: str | None,
    ) -> None:
        if from_logits is not None:
            from_logits = as_flag(from_logits, type(self).__name__, "from_logits")
        self.from_logits = from_logits
        self.multilabel = self.only_columns = as_flag(multilabel, type(self).__name__, "multilabel")
        super().__init__(None, ignore_index, name)

    def reset(self) -> None:
        """Forget all batches."""
        self._waiting: list[tuple[Array, Array]] = []
        self._bytes = 0
        self._before: tuple[str, int] | None = None

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; on a device, only much of it at once waits."""
        who = type(self).__name__
        if _xp.is_array(prediction) and not _xp.is_floating(prediction):
            got = _xp.dtype_name(prediction)
            raise dtype_error(who, "float32 (or another float)", got, cast_hint("float32", got))
        answers = self._read(prediction, target)
        form = "classes"
        if answers.is_yes_or_no:
            form = "columns" if answers.predicted.ndim > 1 else "one answer"
        now = form, (1 if form == "one answer" else prediction.shape[1])
        if self._before not in (None, now):
            raise ValueError(
                f"{who}: this batch has {now[1]} columns ({form}), the ones before had "
                f"{self._before[1]} ({self._before[0]}); call reset() first"
            )
        self._before = now
        xp, truth = answers.xp, answers.truth
        truth = xp.astype(truth, xp.int32)
        if answers.counted is not None:
            truth = xp.where(answers.counted, truth, IGNORED)
        self._waiting.append(self._noted(answers, prediction, truth))
        self._bytes += sum(math.prod(x.shape) * _xp.itemsize(x) for x in self._waiting[-1])
        if _xp.on_host(prediction) or self._bytes > LIMIT:
            self._settle()

    def _noted(self, answers: Answers, prediction: Array, truth: Array) -> tuple[Array, Array]:
        """Return what is kept of a batch: arrays of its own, not views of what was given."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _noted")

    def _settle(self) -> None:
        """Bring what waits to the host."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        for scores, truth in waiting:
            self._keep(_xp.to_numpy(scores), _xp.to_numpy(truth))

    def _keep(self, scores: np.ndarray, truth: np.ndarray) -> None:
        """Take in what :meth:`_noted` returned, on the host."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _keep")

    def _are(self) -> str | None:
        """Say what predictions are."""
        if self.from_logits is not None:
            return "logits" if self.from_logits else "probabilities"
        return self._reads

    def _probabilities(self, answers: Answers, prediction: Array) -> Array:
        """Return predictions as probabilities, in float64 where the device has it."""
        xp = answers.xp
        wide = xp.astype(prediction, _xp.sum_dtype(xp, prediction))
        kind = self._are()
        if 0 in wide.shape:
            return wide
        if kind == "logits":
            return F.sigmoid(wide) if answers.is_yes_or_no else F.softmax(wide)
        return xp.exp(wide) if kind == "log_probabilities" else wide


class AUC(ScoreMetric):
    """Area under the curve of the scores, over all thresholds: no threshold has to be chosen.

    It is exact: the scores of all samples are kept in the host's memory, as they are, and sorted at
    the end, so
    that neither bins nor batches show.

    Parameters
    ----------
    curve : "ROC" or "PR"
        Receiver operating characteristic: the probability that a yes has a higher score than a no,
        scikit-learn's ``roc_auc_score``. Or precision and recall: the average precision,
        ``average_precision_score``, which does not interpolate.
    average : "auto", "macro", "micro", "weighted", "binary" or None
        Of classes, each against all others, or of several columns of answers: the mean, the area of
        all answers put together, the mean weighted by how often a class is the target, that of the
        yes (of two classes, of the class 1) alone, or an array (C,). "auto" is "binary" for a
        single column and "macro" for everything else.
    multilabel : bool
        Whether each column is an answer by itself also where targets could be one-hot rows of
        classes. A loss such as :class:`~xpcnn.BCEWithLogitsLoss` says it too.
    from_logits : bool, optional
        Whether scores of classes become probabilities by a softmax. Without it the loss says what
        they are, and without a loss they must be probabilities. For answers yes or no only their
        order matters.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs; "auc", or "pr_auc" for that curve, if left out.

    Notes
    -----
    Prediction (N, C, d1, ...) or (N,), scores; target as for :class:`Accuracy`. A class that no
    sample has, or every sample, has no curve: it is NaN, and does not count in a mean. A NaN among
    the scores gives NaN.

    Raises
    ------
    ValueError
        If `curve` or `average` is none of these; from :meth:`update` (on a device perhaps later),
        if scores of classes are probabilities to nobody, or labels are none of the classes.

    Examples
    --------
    >>> import numpy as np
    >>> metric = AUC()
    >>> metric.update(np.array([0.1, 0.4]), np.array([0, 0]))
    >>> metric.update(np.array([0.35, 0.8]), np.array([1, 1]))
    >>> metric.result()  # 3 of the 4 pairs of a yes and a no are in order
    0.75
    """

    name = "auc"

    def __init__(
        self,
        curve: str = "ROC",
        average: str | None = "auto",
        multilabel: bool = False,
        from_logits: bool | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        who = type(self).__name__
        check_choice(who, "curve", curve, CURVES)
        check_choice(who, "average", average, AVERAGES)
        self.curve, self.average = curve, average
        self.name = "auc" if curve == "ROC" else "pr_auc"
        super().__init__(from_logits, multilabel, ignore_index, name)

    @property
    def gives_one_number(self) -> bool:  # type: ignore[override]
        """Whether the classes are averaged."""
        return self.average is not None

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._scores: list[np.ndarray] = []
        self._truth: list[np.ndarray] = []
        # Of scores of classes that are logits, the logarithms of the sums of their exponentials.
        self._log_sums: list[np.ndarray] = []

    def _noted(self, answers: Answers, prediction: Array, truth: Array) -> tuple[Array, Array]:
        xp = answers.xp
        if answers.is_yes_or_no and truth.ndim == 1:
            scores, truth = xp.reshape(prediction, (-1, 1)), xp.reshape(truth, (-1, 1))
        elif answers.is_yes_or_no:
            scores, truth = _columns_last(xp, prediction), _columns_last(xp, truth)
        else:
            scores, truth = _columns_last(xp, prediction), xp.reshape(truth, (-1, 1))
        return _own(xp, scores), _own(xp, truth)

    def _keep(self, scores: np.ndarray, truth: np.ndarray) -> None:
        assert self._before is not None
        form, columns = self._before
        if form == "classes":
            kept = truth[:, 0] != IGNORED
            scores, truth = scores[kept], truth[kept]
            _check_labels(type(self).__name__, truth, columns)
            if self._are() is None:
                _check_sums(type(self).__name__, scores)
            if self._are() == "logits":
                self._log_sums.append(_log_sum_exp(scores.astype(np.float64)))
        self._scores.append(scores)
        self._truth.append(truth)

    def result(self) -> Any:
        """Return the area for all batches since :meth:`reset`; NaN if there was none."""
        self._settle()
        form, columns = self._before or ("one answer", 1)
        average = self.average
        if average == "auto":
            average = "binary" if form == "one answer" else "macro"
        if average == "binary" and (form == "columns" or columns > 2):
            raise ValueError(
                f"{type(self).__name__}: average='binary' is for one answer yes or no, and there "
                f"are {columns} columns; use 'macro', 'micro' or 'weighted'"
            )
        if not self._scores:
            return math.nan if average is not None else np.full(columns, math.nan)
        for kept in (self._scores, self._truth, self._log_sums):
            kept[:] = [np.concatenate(kept)] if kept else []
        chosen = range(columns - 1, columns) if average == "binary" else range(columns)
        if average == "micro":
            pairs = [self._column(column, form) for column in chosen]
            scores, yes = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            return self._areas([(scores, yes)])[0][0]
        values, support, has_curve = self._areas(self._column(column, form) for column in chosen)
        if average is None:
            return values
        if not has_curve.any():
            return math.nan
        weights = support[has_curve] if average == "weighted" else None
        return float(np.average(values[has_curve], weights=weights))

    def points(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the ROC curve of each column: where it goes from (0, 0) to (1, 1).

        Returns
        -------
        dict of int to (array, array)
            The false and the true positive rate at each different score, from the highest; straight
            lines join them. Of two classes there is that of the class 1 alone. Rates are NaN where
            there are none to be found, or a score is NaN.

        Raises
        ------
        ValueError
            If `curve` is "PR".

        Examples
        --------
        >>> import numpy as np
        >>> metric = AUC()
        >>> metric.update(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        >>> x, y = metric.points()[0]
        >>> x.tolist(), y.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
        """
        if self.curve != "ROC":
            raise ValueError(
                f"{type(self).__name__}: points() are those of curve='ROC', not of {self.curve!r}"
            )
        self._settle()
        form, columns = self._before or ("one answer", 0)
        for kept in (self._scores, self._truth, self._log_sums):
            kept[:] = [np.concatenate(kept)] if kept else []
        chosen = [1] if form == "classes" and columns == 2 else range(columns)
        return {column: roc_points(*self._column(column, form)) for column in chosen}

    def _column(self, column: int, form: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of a column that count, ordered as probabilities, and answers."""
        (scores,), (truth,) = self._scores, self._truth
        scores = scores[:, column]
        if form == "classes":
            with np.errstate(invalid="ignore"):
                if self._log_sums and self._scores[0].shape[1] == 2:
                    # In the order of the probabilities, and without their rounding.
                    other = self._scores[0][:, 1 - column]
                    scores = scores.astype(np.float64) - other
                elif self._log_sums:
                    scores = np.exp(scores - self._log_sums[0])
            return scores, truth[:, 0] == column
        counted = truth[:, column] != IGNORED
        return scores[counted], truth[counted, column] == 1

    def _areas(
        self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the area of each column, its number of yes, and whether it has a curve."""
        area = roc_area if self.curve == "ROC" else average_precision
        found = [
            (area(scores, yes), yes.sum(), yes.any() and not yes.all()) for scores, yes in pairs
        ]
        values, support, has_curve = zip(*found, strict=True)
        return np.array(values), np.array(support), np.array(has_curve)


def _check_labels(who: str, labels: np.ndarray, columns: int) -> None:
    """Raise unless labels name classes."""
    if labels.size and not 0 <= labels.min() <= labels.max() < columns:
        raise ValueError(
            f"{who}: labels must be from 0 to {columns - 1}, got some from {labels.min()} to "
            f"{labels.max()}; mark places that do not count with ignore_index"
        )


def _check_sums(who: str, scores: np.ndarray) -> None:
    """Raise unless scores of classes are probabilities."""
    sums = scores.sum(axis=1, dtype=np.float64)
    if (np.abs(sums - 1.0) > 1e-3).any():
        raise ValueError(
            f"{who}: scores of classes must be probabilities, which add up to 1 along axis 1, got "
            f"sums from {sums.min():g} to {sums.max():g}; pass from_logits=True if they are "
            "logits, or multilabel=True if each column is an answer of its own"
        )


def _log_sum_exp(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum of the exponentials of rows (N, C)."""
    with np.errstate(invalid="ignore"):
        most = x.max(axis=1, keepdims=True)
        return most[:, 0] + np.log(np.exp(x - most).sum(axis=1))


def roc_area(scores: np.ndarray, yes: np.ndarray) -> float:
    """Return how often a yes has a higher score than a no; of equal ones, each wins half.

    Parameters
    ----------
    scores, yes : array (N,)

    Returns
    -------
    float
        NaN where there is no yes or no no, or a score is NaN.
    """
    right, wrong = _above(scores, yes)
    if np.isnan(scores).any() or not right[-1] * wrong[-1]:
        return math.nan
    # Twice the area, in whole numbers: trapezia over each step of wrong answers.
    twice = np.dot(np.diff(wrong).astype(np.float64), (right[1:] + right[:-1]).astype(np.float64))
    return float(twice / (2.0 * right[-1] * wrong[-1]))


def roc_points(scores: np.ndarray, yes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates at each score; settings as for :func:`roc_area`."""
    right, wrong = _above(scores, yes)
    if np.isnan(scores).any():
        right, wrong = right[:1] * math.nan, wrong[:1] * math.nan
    with np.errstate(invalid="ignore"):
        return wrong / wrong[-1], right / right[-1]


def average_precision(scores: np.ndarray, yes: np.ndarray) -> float:
    """Return the mean of the precision at each yes found; settings as for :func:`roc_area`."""
    right, wrong = _above(scores, yes)
    if np.isnan(scores).any() or not right[-1] * wrong[-1]:
        return math.nan
    precision = right[1:] / (right[1:] + wrong[1:])
    return float(np.dot(np.diff(right), precision) / right[-1])


def _above(scores: np.ndarray, yes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each different score, from the highest, how many yes and no reach it; 0 first."""
    order = np.argsort(scores, kind="stable")[::-1]
    scores, right = scores[order], np.cumsum(yes[order], dtype=np.int64)
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), max(scores.size - 1, 0))
    right = right[last] if scores.size else np.zeros(1, np.int64)
    wrong = last + 1 - right if scores.size else right
    return np.append(0, right), np.append(0, wrong)


def _columns_last(xp: ModuleType, x: Array) -> Array:
    """Return (N, C, d1, ...) as rows of columns: (N * d1 * ..., C)."""
    x = xp.permute_dims(x, (0, *range(2, x.ndim), 1))
    return xp.reshape(x, (-1, x.shape[-1]))


def _own(xp: ModuleType, x: Array) -> Array:
    """Return a copy: what a model gives may be written over by the next step."""
    return xp.astype(x, x.dtype, copy=True)
