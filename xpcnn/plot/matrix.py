"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.errors import check_choice
from xpcnn.metrics import ConfusionMatrix
from xpcnn.plot import canvas
from xpcnn.plot.reading import (
    as_array,
    check_class_count,
    class_names_for,
    classes_of,
    is_one_hot,
    is_predictor,
    numbered,
    predict,
    reads_like,
    targets_of,
)

WHO = "plot.confusion_matrix"
_ANNOTATED = 25
"""Up to so many classes the numbers stand in the cells."""
_MOST = 2000
"""Up to so many classes there is a pixel for each."""


def confusion_matrix(
    y_true: Any,
    y_pred: Any,
    y: Any = None,
    *,
    normalize: str | None = None,
    class_names: Sequence[str] | None = None,
    threshold: float | None = None,
    ignore_index: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw how often each class (row) was predicted as each class (column).

    It is called as ``confusion_matrix(y_true, y_pred)`` or ``confusion_matrix(model, x, y)``.

    Parameters
    ----------
    y_true : array of labels (N, ...) or one-hot (N, classes); or Model
        The truth; labels may be names. Or a model (or an estimator of scikit-learn).
    y_pred : array of classes (N, ...) or of scores (N, classes, ...); or input of the model
        Predictions: classes, integers or names; or scores, floats, of which the highest is the
        class. Behind a model, what it is to predict, which may be a data set.
    y : array, optional
        The truth, behind a model alone; that of a data set, ``x.targets``, if left out.
    normalize : "true", "pred", "all" or None
        Draw shares of each true class (so that rows add up to 1), of each predicted class
        (columns), or of all, instead of counts, as scikit-learn's argument of this name. The share
        of a class that does not occur is 0.
    class_names : sequence of str, optional
        Those of the model or the data set, or else numbers, if left out.
    threshold : float, optional
        Above it a score in a single column, or (N,), is a yes; a model's loss knows it.
    ignore_index : int, optional
        Label of places that do not count; that of a model's loss if left out.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If the arrays do not fit each other or the names, or an argument is none.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    xpcnn.metrics.confusion_matrix : The numbers.

    Examples
    --------
    >>> import xpcnn
    >>> ax = xpcnn.plot.confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], class_names=["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]  # row by row
    ['1', '1', '0', '2']
    """
    check_choice(WHO, "normalize", normalize, ("true", "pred", "all", None))
    if is_predictor(y_true):
        counts, names = _of_model(y_true, y_pred, y, class_names, threshold, ignore_index)
    elif y is not None:
        raise TypeError(
            f"{WHO}: y is for a model, as in confusion_matrix(model, x, y), and the first argument "
            f"is {type(y_true).__name__}; leave y out"
        )
    else:
        truth, found = as_array(y_true, WHO, "y_true"), as_array(y_pred, WHO, "y_pred")
        _check_ignored(ignore_index, truth)
        counts, names = _count(truth, found, class_names, threshold, ignore_index)
    with canvas.one_axes(ax, WHO, _size(len(names))) as place:
        _draw(place, normalized(counts, normalize), names, normalize)
    return place


def _of_model(
    model: Any, x: Any, y: Any, class_names: Any, threshold: Any, ignore_index: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    truth = as_array(targets_of(x, y, WHO), WHO, "y")
    _check_ignored(ignore_index, truth)
    found = predict(model, x, WHO)
    known = classes_of(model)
    if known is not None and found.ndim == 1:
        ignored = ConfusionMatrix(None, None, ignore_index).ignore_index
        if ignored is not None and truth.shape == found.shape:
            truth, found = truth[truth != ignored], found[truth != ignored]
        truth, found, names = _numbered(truth, found, class_names, known)
        return _count(truth, found, names, threshold, None)
    if found.dtype.kind != "f":  # an estimator's, which are labels
        return _count(truth, found, class_names, threshold, ignore_index, model, x)
    return _count_scores(
        reads_like(ConfusionMatrix(None, threshold, ignore_index), model, truth, found),
        truth, found, class_names, model, x,
    )  # fmt: skip


def _check_ignored(ignore_index: int | None, truth: np.ndarray) -> None:
    if ignore_index is not None and truth.dtype.kind == "U":
        raise ValueError(
            f"{WHO}: ignore_index={ignore_index} is for labels that are numbers, and here they are "
            "names; leave out what is not to count"
        )


def _count(
    truth: np.ndarray,
    found: np.ndarray,
    class_names: Any,
    threshold: float | None,
    ignore_index: int | None,
    *sources: Any,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return counts (C, C) and the names of the classes."""
    if not truth.size or not found.size:
        raise ValueError(f"{WHO}: there are no samples; give at least one")
    if truth.dtype.kind == "f" and not is_one_hot(truth):
        if not (np.isfinite(truth) & (truth == np.floor(truth))).all():
            raise ValueError(
                f"{WHO}: y_true must hold classes, whole numbers or one-hot rows, got "
                f"{truth.ravel()[:3]}"
            )
        truth = truth.astype(np.int64)
    if "U" in (truth.dtype.kind, found.dtype.kind):
        truth, found, class_names = _numbered(truth, found, class_names)
    if found.dtype.kind == "f":
        _check_threshold(found, threshold)
        metric = ConfusionMatrix(None, threshold, ignore_index)
        return _count_scores(metric, truth, found, class_names, *sources)
    if threshold is not None:
        raise ValueError(f"{WHO}: threshold is for scores, and y_pred holds classes; leave it out")
    if is_one_hot(found) and (truth.ndim == 1 or is_one_hot(truth)):
        found = found.argmax(axis=1)
    found = found.astype(np.int64)
    if is_one_hot(truth) and found.ndim == 1:
        truth = truth.argmax(axis=1)
    kept = truth if ignore_index is None else truth[truth != ignore_index]
    for name, each in (("y_true", kept), ("y_pred", found)):
        if each.size and each.min() < 0:
            raise ValueError(f"{WHO}: {name} must hold classes from 0, got {each.min()}")
    count = int(max(found.max(initial=0), kept.max(initial=0))) + 1
    check_class_count(count, _MOST, WHO)
    names = class_names_for(class_names, count, WHO, *sources)
    metric = ConfusionMatrix(len(names), None, ignore_index)
    metric.update(found, truth)
    return np.asarray(metric.result()), names


def _check_threshold(scores: np.ndarray, threshold: float | None) -> None:
    """Raise unless there is a threshold for scores that need one."""
    if (scores.ndim == 1 or scores.shape[1] == 1) and threshold is None:
        raise ValueError(
            f"{WHO}: y_pred of shape {scores.shape} holds one score a sample; say from where on "
            "it is a yes: threshold=0.5 for probabilities, threshold=0 for logits (or give "
            "classes, y_pred.astype('int64'))"
        )


def _count_scores(
    metric: ConfusionMatrix, truth: np.ndarray, scores: np.ndarray, class_names: Any, *sources: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    if scores.ndim > 1 and scores.shape[1] > 1 and metric.threshold is not None:
        raise ValueError(
            f"{WHO}: threshold is for scores in a single column, and those here have shape "
            f"{scores.shape}, of which the highest is the class; leave it out"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{WHO}: y_pred holds NaN, of which no class is the highest")
    metric.update(scores, truth)
    counts = np.asarray(metric.result())
    if counts.ndim == 3:
        raise ValueError(
            f"{WHO}: the {len(counts)} columns are independent answers yes or no, each of which "
            "has a matrix of its own; draw that of one: confusion_matrix(y[:, i], scores[:, i], "
            "threshold=...)"
        )
    names = class_names_for(class_names, len(counts), WHO, *sources)
    if len(names) > len(counts):
        raise ValueError(
            f"{WHO}: class_names has {len(names)} names, and there are scores of {len(counts)} "
            "classes; give a name for each"
        )
    return counts, names


def _numbered(
    truth: np.ndarray, found: np.ndarray, class_names: Any, known: Sequence[Any] | np.ndarray = ()
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """Return the places of labels, names among them, and a name for each place."""
    truth, found, seen = numbered(truth, found, known, WHO)
    if class_names is None:
        return truth, found, list(map(str, seen))
    if seen.dtype.kind != "U":
        return truth, found, class_names_for(class_names, len(seen), WHO)
    names = class_names_for(class_names, 0, WHO)
    unknown = [str(name) for name in seen if name not in names]
    if unknown:
        raise ValueError(
            f"{WHO}: class_names lacks {canvas.listed(unknown)}, which y_true or y_pred has"
        )
    places = np.array([names.index(name) for name in seen])
    return places[truth], places[found], names


def normalized(counts: np.ndarray, normalize: str | None) -> np.ndarray:
    """Return counts, or the shares that `normalize` asks for; without a count a share is 0."""
    if normalize is None:
        return counts
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    sums = counts.sum(axis=axis, keepdims=True)
    return counts / np.where(sums == 0, 1, sums)


def _size(classes: int) -> tuple[float, float]:
    side = min(max(3.2, 0.55 * classes + 1.4), 12.0)
    return side + 0.9, side


def _draw(ax: Any, values: np.ndarray, names: Sequence[str], normalize: str | None) -> None:
    top = max(float(values.max(initial=0)), 0.0 if normalize else 1.0) or 1.0
    picture = ax.imshow(values, cmap="Blues", vmin=0, vmax=top)
    label = {
        None: "samples", "true": "share of the true class", "pred": "share of the predicted class",
        "all": "share of all samples",
    }[normalize]  # fmt: skip
    scale = ax.figure.colorbar(picture, ax=ax, label=label, fraction=0.046, pad=0.03)
    if normalize is None:
        canvas.whole_numbers(scale.ax.yaxis)
    places = np.arange(len(names))
    turned = max(map(len, names)) > 3 and len(names) * max(map(len, names)) > 36
    rotation = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    ax.set_xticks(places, names, **rotation, **canvas.fonts(*names))
    ax.set_yticks(places, names, **canvas.fonts(*names))
    ax.set(xlabel="predicted class", ylabel="true class", title="Confusion matrix")
    if len(names) > _ANNOTATED:
        return
    digits = max(len(_written(value, normalize)) for value in values.ravel())
    cell = ax.get_window_extent().width * 72.0 / ax.figure.dpi / len(names)
    size = min(10.0, max(4.0, cell / (0.8 * digits)))
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value > 0.55 * top else "black"
        text = _written(value, normalize)
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=size)


def _written(value: Any, normalize: str | None) -> str:
    return f"{value:d}" if normalize is None else f"{value:.2f}"
