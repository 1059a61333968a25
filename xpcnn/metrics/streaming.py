"""Metrics that collect batch after batch on the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._registry import Checked
from xpcnn._xp import Array
from xpcnn.errors import choice_error

if TYPE_CHECKING:
    from xpcnn.losses.loss import Loss

AVERAGES = ("auto", "macro", "micro", "weighted", "binary", None)
THRESHOLDS = {"logits": 0.0, "probabilities": 0.5, "log_probabilities": math.log(0.5), None: 0.0}
"""Above it an answer is a yes, by what the loss says that predictions are."""

Fraction = tuple[np.ndarray, np.ndarray]
"""What is divided, and by what."""

PIECE = 2**20
"""Places that are counted at once."""

_KINDS = {2: "classes", 3: "columns of yes and no"}
"""What a matrix of so many axes counts."""


class Metric(Checked):
    """Collects batches of predictions and gives one number for all of them.

    Attributes
    ----------
    name : str
        Key in training logs.
    higher_is_better : bool or None
        What callbacks and schedules go by; ``None`` where neither is better, or nobody knows.
    """

    name = "metric"
    higher_is_better: bool | None = None
    gives_one_number: bool = True
    """Whether the result is a number, as training logs hold, and no array."""

    def bind(self, loss: Loss | None) -> None:
        """Learn from a model's loss what its predictions are.

        A model calls it whenever its loss or its metrics are chosen.
        """

    def check_targets(self, target: Any, output_shape: Sequence[Any]) -> None:
        """Raise if the targets are of a kind that the metric cannot measure.

        A model calls it before the first step.

        Parameters
        ----------
        target : numpy.ndarray
            All of them, as the loss prepared them; a tuple where each output has some.
        output_shape : tuple of int
            Of the network; a tuple of shapes where there are several outputs.

        Raises
        ------
        ValueError
            If they cannot be measured.
        """

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


class _AnswerMetric(Metric):
    """A metric of answers: classes of which one is right, or columns of yes and no.

    Parameters
    ----------
    threshold : float, optional
        Above it a prediction is a yes. Without it the loss decides: 0 for logits, 0.5 for
        probabilities.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs.

    Raises
    ------
    ValueError
        If `threshold` is not a finite number.
    """

    higher_is_better: bool | None = True
    _loss: Loss | None = None
    ends_in: str | None = None
    """What the network's last layer gives, which counts where the loss does not say what it reads;
    a model sets it."""

    # What the targets say where the loss is one of numbers.
    _is_columns, _middle = False, 0.5

    def __init__(
        self,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        if threshold is not None and not math.isfinite(threshold):
            raise ValueError(
                f"{type(self).__name__}: threshold must be a finite number, got {threshold!r}"
            )
        self.threshold = None if threshold is None else float(threshold)
        self.ignore_index = ignore_index
        self._given_name = name
        if name is not None:
            self.name = name
        self.reset()

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        arguments = super().arguments()
        if "name" in arguments:
            arguments["name"] = self._given_name
        return arguments

    def bind(self, loss: Loss | None) -> None:
        """Learn from a model's loss what its predictions are."""
        if loss is not self._loss:
            self._is_columns, self._middle = False, 0.5
        self._loss = loss

    @property
    def _reads(self) -> str | None:
        """What predictions are."""
        known = None if self._loss is None else self._loss.reads
        return self.ends_in if known is None else known

    def check_targets(self, target: Any, output_shape: Sequence[Any]) -> None:
        """Raise unless the targets have answers that can be right or wrong."""
        who, loss = type(self).__name__, self._loss
        if loss is None:
            return
        if loss.reads == "distances" or loss.answers == "lists":
            raise ValueError(
                f"{who}: counts correct answers, and {type(loss).__name__} has none to compare; "
                "leave the metric out"
            )
        if loss.reads == "values":
            self._look_at_values(np.asarray(target), type(loss).__name__)

    def _look_at_values(self, target: np.ndarray, loss: str) -> None:
        """Find out what answers the numbers stand for that a network is to give."""
        high = target == 1
        for low, middle in ((0, 0.5), (-1, 0.0)):
            if not (high | (target == low)).all():
                continue
            one = target.ndim == 1 or target.shape[1] == 1
            one_hot = not one and (high.sum(axis=1) == 1).all()
            self._middle = min(self._middle, middle)
            self._is_columns = self._is_columns or not one_hot
            return
        several = target.ndim > 1 and target.shape[1] > 1 and bool((target >= 0).all())
        if several and (np.abs(target.sum(axis=1, dtype=np.float64) - 1.0) < 1e-2).all():
            return  # shares of classes
        other = target[(target != 0) & (target != 1)].ravel()[0]
        raise ValueError(
            f"{type(self).__name__}: counts correct answers, and the targets of {loss} are numbers "
            f"such as {other:g}, which predictions only come near to; leave the metric out, and "
            "go by the loss"
        )

    def _once(self, prediction: Array, target: Array) -> Any:
        # There is no loss to ask. The result is wanted at once, so looking costs no wait.
        if _xp.is_array(prediction) and _xp.is_array(target) and _xp.is_floating(prediction):
            same = tuple(prediction.shape) == tuple(target.shape)
            self._is_columns = same and prediction.ndim > 1 and _is_multi_hot(_xp.to_numpy(target))
            one = prediction.ndim == 1 or prediction.shape[1] == 1
            if self.threshold is None and (one or self._is_columns):
                _warn_of_probabilities(type(self).__name__, _xp.to_numpy(prediction))
        return super()._once(prediction, target)

    def _read(self, prediction: Array, target: Array, num_classes: int | None = None) -> Answers:
        who, loss = type(self).__name__, self._loss
        xp = _namespace(prediction, target, who)
        ignored = self.ignore_index
        if ignored is None and loss is not None:
            ignored = loss.ignore_index
        threshold = self.threshold
        if threshold is None:
            reads = self._reads
            threshold = self._middle if reads == "values" else THRESHOLDS[reads]
        one = prediction.ndim == 1 or prediction.shape[1] == 1
        if _xp.is_floating(prediction) and one:
            if math.prod(target.shape) != math.prod(prediction.shape):
                raise _shape_error(who, prediction, target)
            yes = xp.reshape(prediction, (-1,)) > threshold
            truth = xp.reshape(target, (-1,))
            _check_yes_or_no(who, truth)
            counted = None if _xp.is_floating(truth) else _counted(xp, truth, ignored)
            return Answers(xp, yes, _as_yes(xp, truth), 2, counted, is_yes_or_no=True)
        if _xp.is_floating(prediction) and prediction.shape == target.shape:
            columns = loss is not None and loss.answers == "columns"
            if columns or self._is_columns or self.threshold is not None:
                yes = prediction > threshold
                return Answers(xp, yes, _as_yes(xp, target), 2, None, is_yes_or_no=True)
        labels = target.ndim < prediction.ndim or not _xp.is_floating(prediction)
        counted = _counted(xp, target, ignored) if labels else None
        predicted, truth, classes = _classes(xp, prediction, target, who, num_classes)
        return Answers(xp, predicted, truth, classes, counted)


class Answers(NamedTuple):
    """What a network answered, and what is right.

    Attributes
    ----------
    xp : namespace
    predicted, truth : array
        Of one shape: classes, or bools. Of several columns of yes and no, axis 1 is the column.
    classes : int
        How many there are; 0 where nobody said it.
    counted : array of bool, or None
        Which places count; ``None`` if all do.
    is_yes_or_no : bool
        Whether the answers are bools.
    """

    xp: ModuleType
    predicted: Array
    truth: Array
    classes: int
    counted: Array | None
    is_yes_or_no: bool = False


class _Share(_AnswerMetric):
    """Share of predictions that are correct."""

    def reset(self) -> None:
        """Forget all batches."""
        self._right: Array = 0
        self._count: Array = 0

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        answers = self._read(prediction, target)
        xp, right = answers.xp, self._is_right(answers, prediction)
        count: Array = math.prod(right.shape)
        if answers.counted is not None:
            right = xp.logical_and(right, answers.counted)
            count = _number_of(xp, answers.counted)
        self._right = _number_of(xp, right) + self._right
        self._count = count + self._count

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


class _Counts(_AnswerMetric):
    """Counts of what was predicted where."""

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(threshold, ignore_index, name)
        self.num_classes = num_classes

    def reset(self) -> None:
        """Forget all batches."""
        self._counts: Array | None = None
        self._is_one_answer = False

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        answers = self._read(prediction, target, self.num_classes)
        is_columns = answers.is_yes_or_no and answers.predicted.ndim > 1
        self._is_one_answer = answers.is_yes_or_no and not is_columns
        counts = _matrix_of_each(answers) if is_columns else _matrix(answers)
        if self._counts is not None and self._counts.shape != counts.shape:
            now, before = (f"{m.shape[0]} {_KINDS[m.ndim]}" for m in (counts, self._counts))
            raise ValueError(
                f"{type(self).__name__}: this batch has {now}, the ones before had {before}; call "
                "reset() first"
            )
        self._counts = counts if self._counts is None else self._counts + counts


class ConfusionMatrix(_Counts):
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
    """

    name = "confusion_matrix"
    higher_is_better = None
    gives_one_number = False

    def result(self) -> Any:
        """Return the counts as a NumPy array (C, C); without a batch, (0, 0)."""
        if self._counts is None:
            size = self.num_classes or 0
            return np.zeros((size, size), dtype=np.int64)
        return _xp.to_numpy(self._counts).astype(np.int64)


class _PerClass(_Counts):
    """A ratio of counts for each class, and its average."""

    def __init__(
        self,
        average: str | None = "auto",
        num_classes: int | None = None,
        zero_division: float = 0.0,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        if average not in AVERAGES:
            names = [str(name) for name in AVERAGES]
            raise choice_error(type(self).__name__, "average", average, names)
        self.average = average
        self.zero_division = float(zero_division)
        super().__init__(num_classes, threshold, ignore_index, name)

    @property
    def gives_one_number(self) -> bool:  # type: ignore[override]
        """Whether the classes are averaged."""
        return self.average is not None

    def _ratio(self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> Fraction:
        """Return numerators and denominators."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _ratio")

    def result(self) -> Any:
        """Return the average, or an array (C,) with ``average=None``; NaN without a batch."""
        if self._counts is None:
            return math.nan
        counts = _xp.to_numpy(self._counts).astype(np.int64)
        columns = counts.ndim == 3
        if columns:
            right = counts[:, 1, 1]
            predicted, actual = counts[:, :, 1].sum(axis=1), counts[:, 1, :].sum(axis=1)
        else:
            right, predicted, actual = np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)
        average = self.average
        if average == "auto":
            average = "binary" if self._is_one_answer else "macro"
        if average == "binary":
            if columns or len(counts) != 2:
                raise ValueError(
                    f"{type(self).__name__}: average='binary' is for one answer yes or no, and "
                    f"there are {len(right)} {_KINDS[counts.ndim]}; use 'macro', 'micro' or "
                    "'weighted'"
                )
            right, predicted, actual = (a[1:] for a in (right, predicted, actual))
        if average == "micro":
            right, predicted, actual = (a.sum(keepdims=True) for a in (right, predicted, actual))
        above, below = self._ratio(right, predicted, actual)
        ratios = np.full(above.shape, self.zero_division)
        np.divide(above, below, out=ratios, where=below > 0)
        if average is None:
            return ratios
        # Each column counts; of classes, those that occur.
        weights = actual if average == "weighted" else (predicted + actual > 0) | columns
        if not weights.any():
            return self.zero_division
        return float(np.average(ratios, weights=weights))


class Precision(_PerClass):
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

    def _ratio(self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> Fraction:
        return right, predicted


class Recall(_PerClass):
    """Share of the places of a class that are found; settings as for :class:`Precision`."""

    name = "recall"

    def _ratio(self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> Fraction:
        return right, actual


class F1Score(_PerClass):
    """Harmonic mean of precision and recall; settings as for :class:`Precision`."""

    name = "f1_score"

    def _ratio(self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> Fraction:
        return 2 * right, predicted + actual


def _namespace(prediction: Array, target: Array, who: str) -> ModuleType:
    xp = _xp.namespace(prediction, target, who=who)
    if not _xp.same_device(prediction, target):
        raise TypeError(
            f"{who}: the prediction is {_xp.describe(prediction)}, but the target is "
            f"{_xp.describe(target)}; move one of them"
        )
    return xp


def _no_classes(shape: Sequence[int]) -> ValueError:
    return ValueError(
        f"TopKAccuracy: predictions of shape {tuple(shape)} are answers yes or no, and this is for "
        "classes of which one is right; use Accuracy"
    )


def _shape_error(who: str, prediction: Array, target: Array) -> ValueError:
    return ValueError(
        f"{who}: targets of shape {tuple(target.shape)} do not fit predictions of shape "
        f"{tuple(prediction.shape)}; expected labels without the class axis 1, or one-hot or soft "
        "targets with it"
    )


def _matrix(answers: Answers) -> Array:
    """Count how often each class (row) was predicted as each class (column)."""
    xp, predicted, truth, classes, counted, is_yes_or_no = answers
    if is_yes_or_no:
        predicted, truth = xp.astype(predicted, xp.int32), xp.astype(truth, xp.int32)
    predicted, truth = xp.reshape(predicted, (-1,)), xp.reshape(truth, (-1,))
    counts: Array = None
    for at in range(0, truth.shape[0], PIECE):
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
    xp, predicted, truth, *_ = answers
    axes = tuple(axis for axis in range(predicted.ndim) if axis != 1)
    counts = []
    for t in (xp.logical_not(truth), truth):
        for p in (xp.logical_not(predicted), predicted):
            counts.append(xp.sum(xp.astype(xp.logical_and(t, p), xp.int32), axis=axes))
    return xp.reshape(xp.stack(counts, axis=-1), (-1, 2, 2))


def _is_multi_hot(target: np.ndarray) -> bool:
    """Whether several classes can be right at once: zeros and ones that are not one-hot rows."""
    high = target == 1
    return bool((high | (target == 0)).all() and (high.sum(axis=1) != 1).any())


def _warn_of_probabilities(who: str, prediction: np.ndarray) -> None:
    if prediction.size and prediction.min() >= 0.0 and prediction.max() <= 1.0:
        warnings.warn(
            f"{who}: all predictions lie from 0 to 1, as probabilities do, and are compared with "
            "0, as logits are; pass threshold=0.5, or threshold=0.0 if they are logits",
            UserWarning,
            stacklevel=4,
        )


def _check_yes_or_no(who: str, truth: Array) -> None:
    """Raise if targets of a single column are labels of more than two classes."""
    if isinstance(truth, np.ndarray) and truth.size:  # on the host, so that looking costs nothing
        highest = truth.max()
        if highest > 1:
            raise ValueError(
                f"{who}: predictions in a single column are answers yes or no, with targets 0 and "
                f"1, and there is a target {highest:g}; classes need a column of scores each"
            )


def _as_yes(xp: ModuleType, truth: Array) -> Array:
    """Turn targets 0 (or -1) and 1 into bools."""
    if _xp.dtype_name(truth) == "bool":
        return truth
    return truth > (0.5 if _xp.is_floating(truth) else 0)


def _counted(xp: ModuleType, labels: Array, ignore_index: int | None) -> Array | None:
    """Return which labels count; ``None`` if all do."""
    if ignore_index is None or _xp.dtype_name(labels) == "bool" or _xp.is_floating(labels):
        return None
    limits = xp.iinfo(labels.dtype)
    if not limits.min <= ignore_index <= limits.max:
        return None
    return labels != ignore_index


def _number_of(xp: ModuleType, flags: Array) -> Array:
    # The sum of int32 is of the library's default integer type, which does not overflow.
    return xp.sum(xp.astype(flags, xp.int32))


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
