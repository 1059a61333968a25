"""Grids of samples: with their classes, and those that a model got wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn import functional as F
from xpcnn.plot import canvas, pictures
from xpcnn.plot.reading import (
    as_array,
    as_labels,
    class_names_for,
    classes_of,
    is_predictor,
    numbered,
    predict,
    targets_of,
)
from xpcnn.training import Model
from xpcnn.training.probabilities import class_probabilities
from xpcnn.window import as_flag, as_int

_PANEL = (1.5, 1.75)
_SIGNAL = (2.6, 2.0)


def samples(
    x: Any,
    y: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    count: int = 25,
    columns: int | None = None,
    ax: Any = None,
) -> np.ndarray:
    """Draw the first samples, each under the name of its class.

    Parameters
    ----------
    x : array of images (N, 1 or 3, height, width) or signals (N, channels, length); or data set
        Of any library. Bytes are drawn from 0 to 255, and floats from 0 to 1 as they are; other
        numbers, as of normalised images, are scaled for display: the least of all that are drawn is
        black, the greatest white. Of a data set, such as :class:`~xpcnn.data.ImageFolder`, only
        what is drawn is read.
    y : array of labels (N,) or one-hot (N, classes), optional
        That of a data set if left out.
    class_names : sequence of str, optional
        Those of the data set, or else numbers, if left out.
    count : int
        How many to draw, where there are so many.
    columns : int, optional
        Of the grid, which is about square if left out.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    array of Axes, (count,)

    Raises
    ------
    ValueError, TypeError
        If `x` holds neither images nor signals, `y` does not fit it, or an argument is none.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xpcnn
    >>> (x, y), _ = xpcnn.data.load_digits_subset()
    >>> axes = xpcnn.plot.samples(x, y, count=3)
    >>> [panel.get_title() for panel in axes] == [str(label) for label in y[:3]]
    True
    """
    who = "plot.samples"
    most, wide = as_int(count, who, "count", 1), _columns(columns, who)
    if y is None and pictures.is_data_set(x):
        y = x.targets
    total = _length(x, who)
    if class_names is not None and y is None:
        raise TypeError(f"{who}: class_names are for the labels y, which are missing; give them")
    captions: Sequence[str] = [""] * total
    if y is not None:
        labels = as_labels(y, who, "y")
        _check_length(labels, total, who)
        names = class_names_for(class_names, int(labels.max()) + 1, who, x)
        captions = [names[label] for label in labels[:most]]
    shown = pictures.take(x, range(min(most, total)), who)
    counted = f"{total:,} {'sample' if total == 1 else 'samples'}"
    title = f"{len(shown):,} of {counted}" if len(shown) < total else counted
    return _grid(shown, captions, title, wide, ax, who)


def mistakes(
    predictions: Any,
    x: Any,
    y: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    count: int = 16,
    columns: int | None = None,
    from_logits: bool = False,
    ax: Any = None,
) -> np.ndarray:
    """Draw the samples that were classified wrongly, the most confident mistakes first.

    Parameters
    ----------
    predictions : Model; or array of probabilities (N, classes) or (N,), or of classes (N,)
        A model (or an estimator of scikit-learn) predicts `x` itself. Probabilities (N,) are those
        of class 1. Classes, integers, come without a confidence, and mistakes in the order of the
        samples.
    x, class_names, columns, ax
        As for :func:`samples`; the names of the model's classes go before those of a data set.
    y : array of labels (N,) or one-hot (N, classes), optional
        The truth; that of a data set if left out.
    count : int
        How many mistakes to draw at most; the title says how many there are.
    from_logits : bool
        Whether `predictions` are scores, which a softmax (or a sigmoid, of a single column) turns
        into probabilities. A model needs no such word.

    Returns
    -------
    array of Axes
        One for each mistake that is drawn; a single one that says so if there is none.

    Raises
    ------
    ValueError, TypeError
        If predictions are not probabilities, arrays do not fit, or an argument is none.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xpcnn
    >>> (x, y), _ = xpcnn.data.load_digits_subset()
    >>> predicted = y[:100].copy()
    >>> predicted[7] = (y[7] + 1) % 10  # a single mistake
    >>> len(xpcnn.plot.mistakes(predicted, x[:100], y[:100]))
    1
    """
    who = "plot.mistakes"
    most, wide = as_int(count, who, "count", 1), _columns(columns, who)
    as_flag(from_logits, who, "from_logits")
    total = _length(x, who)
    truth = targets_of(x, y, who)
    known = classes_of(predictions)
    if known is None:
        classes, confidence, width = _answers(predictions, x, from_logits, who)
        truth = as_labels(truth, who, "y")
        _check_length(truth, total, who)
    else:
        if from_logits:
            raise _not_for_models(who)
        found = predict(predictions, x, who)
        truth, classes, seen = numbered(as_array(truth, who, "y"), found, known, who)
        _check_length(truth, total, who)
        confidence, width = None, len(seen)
        class_names = list(map(str, seen)) if class_names is None else class_names
    if len(classes) != total:
        raise ValueError(f"{who}: there are {len(classes)} predictions and {total} samples")
    highest = int(max(truth.max(), classes.max()))
    names = class_names_for(class_names, max(width, highest + 1), who, predictions, x)
    if width and truth.max() >= width:
        raise ValueError(f"{who}: y has a label {truth.max()}, and predictions {width} classes")
    wrong = np.flatnonzero(classes != truth)
    if confidence is not None:
        wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    captions = [
        f"true: {names[truth[i]]}\npredicted: {names[classes[i]]}"
        + ("" if confidence is None else f" ({confidence[i]:.0%})")
        for i in wrong[:most]
    ]
    title = f"{len(wrong):,} mistakes among {total:,} samples"
    title = title.replace("1 mistakes", "1 mistake", 1) if len(wrong) == 1 else title
    if not len(wrong):
        with canvas.one_axes(ax, who, (4.0, 1.2)) as place:
            place.set_axis_off()
            place.set_title(f"No mistakes among {total:,} samples")
        return np.array([place])
    return _grid(pictures.take(x, wrong[:most].tolist(), who), captions, title, wide, ax, who)


def _columns(columns: Any, who: str) -> int | None:
    return None if columns is None else as_int(columns, who, "columns", 1)


def _length(x: Any, who: str) -> int:
    total = len(x) if pictures.is_data_set(x) else len(as_array(x, who, "x"))
    if not total:
        raise ValueError(f"{who}: x has no samples; give at least one")
    return total


def _check_length(labels: np.ndarray, total: int, who: str) -> None:
    if len(labels) != total:
        raise ValueError(
            f"{who}: y has {len(labels)} labels and x {total} samples; give one for each"
        )


def _not_for_models(who: str) -> ValueError:
    return ValueError(
        f"{who}: from_logits is for arrays; a model knows what it gives; leave it out"
    )


def _answers(
    given: Any, x: Any, from_logits: bool, who: str
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Return classes (N,), the probability of each, if known, and how many classes there are."""
    if is_predictor(given):
        if from_logits:
            raise _not_for_models(who)
        outputs = predict(given, x, who)
        if isinstance(given, Model):
            try:
                rows = class_probabilities(given, outputs)
            except ValueError as error:
                raise ValueError(f"{who}: {error}") from None
            if np.isnan(rows).any():
                raise ValueError(f"{who}: the model predicts NaN, of which no class is the highest")
            return _most_probable(rows)
        return as_labels(outputs, who, "predictions"), None, 0
    array = as_array(given, who, "predictions")
    if array.ndim > 2:
        raise ValueError(
            f"{who}: predictions must be (N, classes), (N,) or classes, got shape {array.shape}; "
            "the order is mistakes(predictions, x, y)"
        )
    if array.dtype.kind != "f":
        if from_logits:
            raise ValueError(f"{who}: from_logits is for scores, and predictions are classes")
        return as_labels(array, who, "predictions"), None, 0
    rows = array.astype(np.float64).reshape(len(array), -1)
    single = rows.shape[1] == 1
    if from_logits:
        rows = F.sigmoid(rows) if single else F.softmax(rows)
    _check_probabilities(rows, who)
    return _most_probable(np.concatenate([1.0 - rows, rows], axis=1) if single else rows)


def _check_probabilities(rows: np.ndarray, who: str) -> None:
    sums = np.ones(len(rows)) if rows.shape[1] == 1 else rows.sum(axis=1)
    good = (rows >= 0.0).all() and (rows <= 1.0 + 1e-3).all() and (abs(sums - 1.0) < 1e-3).all()
    if not good:
        raise ValueError(
            f"{who}: predictions must be probabilities, which add up to 1 along axis 1, got "
            f"numbers from {rows.min():g} to {rows.max():g}; pass from_logits=True if they are "
            "logits, or the model itself"
        )


def _most_probable(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    return rows.argmax(axis=1), rows.max(axis=1), rows.shape[1]


def _grid(
    shown: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str | None,
    columns: int | None,
    ax: Any,
    who: str,
) -> np.ndarray:
    low, high = pictures.limits(shown)
    width, height = _SIGNAL if shown[0].ndim == 2 else _PANEL
    lines = max(caption.count("\n") for caption in captions)
    longest = max(len(line) for caption in captions for line in caption.split("\n"))
    size = (max(width, 0.085 * longest), height + 0.2 * lines)
    with canvas.panels(ax, len(shown), who, size=size, title=title, columns=columns) as axes:
        for panel, sample, caption in zip(axes, shown, captions, strict=False):
            pictures.draw(panel, sample, low, high)
            panel.set_title(caption, fontsize="small", **canvas.fonts(caption))
    return axes
