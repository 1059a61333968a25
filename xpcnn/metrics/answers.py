"""What a network answered: classes of which one is right, or columns of yes and no."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.metrics.metric import Metric, common_namespace
from xpcnn.window import as_number

if TYPE_CHECKING:
    from xpcnn.losses.loss import Loss

THRESHOLDS = {"logits": 0.0, "probabilities": 0.5, "log_probabilities": math.log(0.5), None: 0.0}
"""Above it an answer is a yes, by what the loss says that predictions are."""


class AnswerMetric(Metric):
    """A metric of answers: classes of which one is right, or columns of yes and no.

    A subclass sets `only_columns` where each number is an answer by itself, whatever the targets
    look like.

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

    only_columns = False
    compares = True
    """Whether predictions are compared with a threshold."""

    # What the targets say where the loss is one of numbers.
    _is_columns, _middle = False, 0.5

    def __init__(
        self,
        threshold: float | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        if threshold is not None:
            threshold = as_number(threshold, type(self).__name__, "threshold")
        if ignore_index is not None and (
            isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer))
        ):
            raise TypeError(
                f"{type(self).__name__}: ignore_index must be a whole number, got {ignore_index!r}"
            )
        self.threshold = threshold
        self.ignore_index = None if ignore_index is None else int(ignore_index)
        self._given_name = self._called(name)
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

    def _usual_threshold(self) -> float:
        reads, middle = self._reads, self._middle
        if reads == "values":
            return middle
        if reads == "log_values":
            return math.log(middle) if middle > 0.0 else -math.inf
        return THRESHOLDS[reads]

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
        classes = loss.answers == "classes" and len(output_shape) > 1 and output_shape[1] != 1
        if self.only_columns and classes:
            raise ValueError(
                f"{who}: is for independent answers yes or no, and to {type(loss).__name__} the "
                f"{output_shape[1]} columns of the output are classes of which one is right; use "
                "Accuracy or another metric of classes"
            )
        if loss.reads in ("values", "log_values"):
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
        common_namespace(prediction, target, type(self).__name__)
        if _xp.is_floating(prediction):
            same = tuple(prediction.shape) == tuple(target.shape)
            self._is_columns = (
                same
                and prediction.ndim > 1
                and (self.only_columns or _is_multi_hot(_xp.to_numpy(target), self.ignore_index))
            )
            one = prediction.ndim == 1 or prediction.shape[1] == 1
            if self.compares and self.threshold is None and (one or self._is_columns):
                _warn_of_probabilities(type(self).__name__, _xp.to_numpy(prediction))
        return super()._once(prediction, target)

    def _has_columns(self) -> bool:
        """Whether predictions of the shape of the targets are independent answers."""
        known = self._loss is not None and self._loss.answers == "columns"
        return known or self._is_columns or self.only_columns or self.threshold is not None

    def _read(self, prediction: Array, target: Array, num_classes: int | None = None) -> Answers:
        who, loss = type(self).__name__, self._loss
        xp = common_namespace(prediction, target, who)
        ignored = self.ignore_index
        if ignored is None and loss is not None:
            ignored = loss.ignore_index
        threshold = self.threshold
        if threshold is None:
            threshold = self._usual_threshold()
        one = prediction.ndim == 1 or prediction.shape[1] == 1
        if _xp.is_floating(prediction) and one:
            if math.prod(target.shape) != math.prod(prediction.shape):
                raise _shape_error(who, prediction, target)
            yes = xp.reshape(prediction, (-1,)) > threshold
            truth = xp.reshape(target, (-1,))
            _check_yes_or_no(who, truth, ignored)
            counted = _counted(xp, truth, ignored)
            return Answers(xp, yes, _as_yes(xp, truth), 2, counted, is_yes_or_no=True)
        same = _xp.is_floating(prediction) and prediction.shape == target.shape
        if same and self._has_columns():
            _check_yes_or_no(who, target, ignored)
            yes, counted = prediction > threshold, _counted(xp, target, ignored)
            return Answers(xp, yes, _as_yes(xp, target), 2, counted, is_yes_or_no=True)
        if self.only_columns:
            raise ValueError(
                f"{who}: expected scores of independent answers, floats, and a target 0 or 1 for "
                f"each; got {_xp.describe(prediction)}, and targets of shape {tuple(target.shape)}"
            )
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


def _shape_error(who: str, prediction: Array, target: Array) -> ValueError:
    return ValueError(
        f"{who}: targets of shape {tuple(target.shape)} do not fit predictions of shape "
        f"{tuple(prediction.shape)}; expected labels without the class axis 1, or one-hot or soft "
        "targets with it"
    )


def _is_multi_hot(target: np.ndarray, ignored: int | None) -> bool:
    """Whether several classes can be right at once: zeros and ones that are not one-hot rows."""
    high = target == 1
    known = high | (target == 0)
    if ignored is not None:
        known |= target == ignored
    return bool(known.all() and (high.sum(axis=1) != 1).any())


def _warn_of_probabilities(who: str, prediction: np.ndarray) -> None:
    if prediction.size and prediction.min() >= 0.0 and prediction.max() <= 1.0:
        warnings.warn(
            f"{who}: all predictions lie from 0 to 1, as probabilities do, and are compared with "
            "0, as logits are; pass threshold=0.5, or threshold=0.0 if they are logits",
            UserWarning,
            stacklevel=4,
        )


def _check_yes_or_no(who: str, truth: Array, ignored: int | None) -> None:
    """Raise if targets of answers yes or no are labels of more than two classes."""
    if not isinstance(truth, np.ndarray) or not truth.size:
        return  # elsewhere than on the host, looking would make it wait
    highest = truth.max()
    if highest > 1 and ignored is not None:
        highest = truth.max(where=truth != ignored, initial=0)
    if highest > 1:
        raise ValueError(
            f"{who}: predictions in a single column, and independent ones in several, are answers "
            f"yes or no, with targets 0 and 1, and there is a target {highest:g}; classes need a "
            "column of scores each, and a place that does not count ignore_index"
        )


def _as_yes(xp: ModuleType, truth: Array) -> Array:
    """Turn targets 0 (or -1) and 1 into bools."""
    if _xp.dtype_name(truth) == "bool":
        return truth
    return truth > (0.5 if _xp.is_floating(truth) else 0)


def _counted(xp: ModuleType, labels: Array, ignore_index: int | None) -> Array | None:
    """Return which labels count; ``None`` if all do."""
    if ignore_index is None or _xp.dtype_name(labels) == "bool":
        return None
    if _xp.is_floating(labels):
        return labels != float(ignore_index)
    limits = xp.iinfo(labels.dtype)
    if not limits.min <= ignore_index <= limits.max:
        return None
    return labels != ignore_index


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
    if num_classes is not None and isinstance(prediction, np.ndarray) and not floats:
        _check_classes(who, prediction, num_classes)
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


def _check_classes(who: str, predicted: np.ndarray, num_classes: int) -> None:
    """Raise if predicted classes on the host are not from 0 to the last one."""
    if predicted.size and not 0 <= predicted.min() <= predicted.max() < num_classes:
        raise ValueError(
            f"{who}: predictions are classes from {predicted.min()} to {predicted.max()}, and with "
            f"num_classes={num_classes} there are those from 0 to {num_classes - 1}"
        )
