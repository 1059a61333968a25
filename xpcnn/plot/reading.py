"""What plots are given: arrays of any library, labels of any form, predictions, class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from xpcnn import _xp
from xpcnn.data.folders import as_class_names
from xpcnn.metrics.answers import AnswerMetric
from xpcnn.training import Model
from xpcnn.training.doubts import GIVES, last_layer

M = TypeVar("M", bound=AnswerMetric)
_MOST_CLASSES = 100_000
"""More are no classes, but other numbers, of which names would fill the memory."""


def as_array(given: Any, who: str, argument: str) -> np.ndarray:
    """Return an array of any library, or nested lists, as a NumPy array in the host's memory.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or has no axis.
    """
    try:
        array = _xp.to_numpy(given) if _xp.is_array(given) else np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{who}: {argument} must be an array, and its parts differ in shape ({error})"
        ) from None
    if array.dtype == object and all(isinstance(item, str) for item in array.ravel()):
        array = array.astype(str)
    if array.dtype.kind not in "biufU":
        raise TypeError(
            f"{who}: {argument} must be an array of real numbers, got "
            f"{type(given).__name__}{f' of dtype {array.dtype}' if array.ndim else ''}"
        )
    if not array.ndim:
        raise TypeError(f"{who}: {argument} must be an array with a batch axis, got {given!r:.100}")
    return array


def as_labels(given: Any, who: str, argument: str) -> np.ndarray:
    """Return labels (N,) of integers, one-hot rows or rows of shares, or a single column.

    Raises
    ------
    TypeError, ValueError
        If they are something else, such as several labels a sample.
    """
    array = as_array(given, who, argument)
    if array.dtype.kind == "U":
        raise TypeError(
            f"{who}: {argument} must be numbers, got names such as {str(array.ravel()[0])!r}; "
            "turn them into labels: names, labels = numpy.unique(y, return_inverse=True)"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        if not is_one_hot(array):
            raise ValueError(
                f"{who}: {argument} of shape {array.shape} must be one-hot, and has rows that do "
                "not add up to 1; give one label for each sample"
            )
        return array.argmax(axis=1)
    if array.ndim != 1:
        raise ValueError(
            f"{who}: {argument} must be labels (N,) or one-hot (N, classes), got shape "
            f"{array.shape}"
        )
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64)
    if (whole != array).any():
        raise ValueError(f"{who}: {argument} must be whole numbers, got {array.ravel()[:4]}")
    if whole.size and whole.min() < 0:
        raise ValueError(f"{who}: {argument} must be labels from 0, got {whole.min()}")
    return whole


def is_one_hot(array: np.ndarray) -> bool:
    """Whether rows (N, C) are one-hot, or shares of classes."""
    if array.ndim != 2 or array.shape[1] < 2 or not array.size or array.min() < 0:
        return False
    return bool((np.abs(array.sum(axis=1, dtype=np.float64) - 1.0) < 1e-3).all())


def is_predictor(given: Any) -> bool:
    """Whether something predicts: a model, or an estimator of scikit-learn."""
    return callable(getattr(given, "predict", None)) and not _xp.is_array(given)


def predict(model: Any, x: Any, who: str) -> np.ndarray:
    """Return what a model or estimator predicts, as one array.

    Raises
    ------
    ValueError
        If the model has several outputs.
    """
    found = model.predict(x)
    if isinstance(found, tuple):
        raise ValueError(
            f"{who}: the model has {len(found)} outputs, {', '.join(model.outputs)}; give the "
            "labels and the predictions of one of them, as model.predict(x)[0]"
        )
    return as_array(found, who, "model.predict(x)")


def classes_of(model: Any) -> np.ndarray | None:
    """Return the labels that an estimator of scikit-learn was trained on; ``None`` of others."""
    found = None if isinstance(model, Model) else getattr(model, "classes_", None)
    return found if isinstance(found, np.ndarray) and found.ndim == 1 else None


def numbered(
    truth: np.ndarray, found: np.ndarray, classes: Sequence[Any] | np.ndarray, who: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels as places among all that there are, and these, in order.

    Parameters
    ----------
    truth, found : array
        Labels, numbers or names; a truth that is one-hot has a column for each of `classes`.
    classes : sequence
        Labels that there are, also where neither array has them.
    who : str
        For messages.

    Raises
    ------
    TypeError
        If some are names and others numbers.
    """
    if len(classes) and truth.ndim == 2 and is_one_hot(truth) and truth.shape[1] == len(classes):
        truth = np.asarray(classes)[truth.argmax(axis=1)]
    known = as_array(classes, who, "classes") if len(classes) else found
    if len({each.dtype.kind == "U" for each in (truth, found, known)}) > 1:
        raise TypeError(
            f"{who}: one of y_true and y_pred holds names and the other numbers ({truth.dtype} "
            f"and {found.dtype}); give names in both, or numbers in both"
        )
    seen = np.unique(np.concatenate([known.ravel(), truth.ravel(), found.ravel()]))
    return np.searchsorted(seen, truth), np.searchsorted(seen, found), seen


def targets_of(x: Any, y: Any, who: str) -> Any:
    """Return the labels that were given, or those of a data set."""
    if y is not None:
        return y
    found = getattr(x, "targets", None)
    if found is None:
        raise TypeError(f"{who}: y is missing; give the labels of x")
    return found


def reads_like(metric: M, model: Any, truth: np.ndarray, found: np.ndarray) -> M:
    """Tell a metric what a model's predictions are, as training tells it.

    Raises
    ------
    ValueError
        If the model's loss, or the truth, has no answers that can be right or wrong.
    """
    if isinstance(model, Model):
        metric.bind(model.loss)
        last = last_layer(model.network, model.outputs[0])
        metric.ends_in = None if last is None else GIVES.get(type(last), "logits")
        metric.check_targets(truth, (None, *found.shape[1:]))
    return metric


def class_names_for(given: Any, count: int, who: str, *sources: Any) -> tuple[str, ...]:
    """Return a name for each class: those given, those of a model or data set, or numbers.

    Raises
    ------
    TypeError, ValueError
        If the names are no strings, or too few; or there are too many classes.
    """
    check_class_count(count, _MOST_CLASSES, who)
    if given is None:
        given = next((found for source in sources if (found := _known(source)) is not None), None)
        if given is None:
            return tuple(map(str, range(count)))
    names = as_class_names(given, f"{who}: class_names")
    if len(names) < count:
        raise ValueError(
            f"{who}: class_names has {len(names)} names, {', '.join(names[:8])}, and there are "
            f"{count} classes; give a name for each"
        )
    return names


def check_class_count(count: int, most: int, who: str) -> None:
    """Raise if labels are too large to be those of classes."""
    if count > most:
        raise ValueError(
            f"{who}: the largest label is {count - 1}, which would make {count:,} classes, and "
            f"{most:,} can be drawn; number those that there are: names, labels = "
            "numpy.unique(y, return_inverse=True)"
        )


def _known(source: Any) -> Sequence[str] | None:
    names = getattr(source, "class_names", None)
    if names is None and is_predictor(source):
        classes = getattr(source, "classes_", None)  # of an estimator of scikit-learn
        names = None if classes is None else list(map(str, classes))
    return names
