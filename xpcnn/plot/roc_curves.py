"""Receiver operating characteristic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn.metrics import AUC
from xpcnn.plot import canvas
from xpcnn.plot.reading import (
    as_array,
    class_names_for,
    is_one_hot,
    is_predictor,
    predict,
    reads_like,
    targets_of,
)
from xpcnn.training import Model

WHO = "plot.roc"
_INSIDE = 10
"""Up to so many curves the legend has room beside them."""


def roc(
    y_true: Any,
    scores: Any,
    y: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    multilabel: bool = False,
    from_logits: bool | None = None,
    ignore_index: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw the rate of true positives over that of false positives, for all thresholds.

    It is called as ``roc(y_true, scores)`` or ``roc(model, x, y)``. Of more than two classes each
    has a curve against all others, and of two the class 1. The legend has the area under each.

    Parameters
    ----------
    y_true : array of labels (N, ...) or one-hot (N, classes); or Model
        The truth, or a model.
    scores : array (N,) or (N, classes, ...); or input of the model
        Floats. Those of several classes are probabilities, or logits with `from_logits`; of a
        single column only the order matters. Behind a model, what it is to predict.
    y : array, optional
        The truth, behind a model alone; that of a data set, ``x.targets``, if left out.
    class_names : sequence of str, optional
        Those of the model or the data set, or else numbers, if left out.
    multilabel : bool
        Whether each column is an answer of its own also where the truth could be one-hot; where
        several or none of a row are 1 it is.
    from_logits : bool, optional
        Whether scores of classes become probabilities by a softmax; a model's loss knows it.
    ignore_index : int, optional
        Label of places that do not count.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If arrays do not fit, scores are not probabilities, or no class has a curve: one needs
        samples of the class and others.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    xpcnn.metrics.AUC : The areas.

    Examples
    --------
    >>> import xpcnn
    >>> ax = xpcnn.plot.roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> ax.lines[0].get_label()
    'AUC = 0.750'
    """
    settings = (multilabel, from_logits, ignore_index)
    metric, truth, found, sources = _read(y_true, scores, y, *settings)
    metric.update(found, truth)
    curves, areas = metric.points(), np.atleast_1d(metric.result())
    if np.isnan(areas).all():
        raise ValueError(
            f"{WHO}: no class has a curve, for which there must be samples of it and others, and "
            "scores that are not NaN"
        )
    single = len(areas) == 1
    if single and class_names is not None and len(class_names) > 2:
        raise ValueError(f"{WHO}: class_names has {len(class_names)} names, and scores one column")
    # A single column is the score of class 1.
    names = class_names_for(class_names, 2 if single else len(areas), WHO, *sources)
    known = class_names is not None or any(hasattr(s, "class_names") for s in sources)
    labels = {column: (names[1] if known else "") if single else names[column] for column in curves}
    width = 4.8 if len(curves) <= _INSIDE else 6.8
    with canvas.one_axes(ax, WHO, (width, 4.5)) as place:
        _draw(place, curves, areas, labels)
    return place


def _read(
    y_true: Any,
    scores: Any,
    y: Any,
    multilabel: bool,
    from_logits: bool | None,
    ignore_index: int | None,
) -> tuple[AUC, np.ndarray, np.ndarray, tuple[Any, ...]]:
    """Return what measures, the truth, the scores, and what may know the names of classes."""
    metric = AUC("ROC", None, multilabel, from_logits, ignore_index)
    sources: tuple[Any, ...] = ()
    if is_predictor(y_true):
        if not isinstance(y_true, Model):
            raise TypeError(
                f"{WHO}: {type(y_true).__name__} predicts classes, and curves need scores; call "
                "roc(y, estimator.predict_proba(x))"
            )
        if from_logits is not None:
            raise ValueError(f"{WHO}: from_logits is for arrays; a model knows what it gives")
        truth = as_array(targets_of(scores, y, WHO), WHO, "y")
        sources, found = (y_true, scores), predict(y_true, scores, WHO)
        reads_like(metric, y_true, truth, found)
    elif y is not None:
        raise TypeError(
            f"{WHO}: y is for a model, as in roc(model, x, y), and the first argument is "
            f"{type(y_true).__name__}; leave y out"
        )
    else:
        truth, found = as_array(y_true, WHO, "y_true"), as_array(scores, WHO, "scores")
        columns = truth.shape == found.shape and found.ndim > 1 and found.shape[1] > 1
        if columns and not multilabel and not is_one_hot(truth):
            metric = AUC("ROC", None, True, from_logits, ignore_index)
    return metric, truth, found, sources


def _draw(
    ax: Any,
    curves: Mapping[int, tuple[np.ndarray, np.ndarray]],
    areas: np.ndarray,
    labels: Mapping[int, str],
) -> None:
    for number, (column, (wrong, right)) in enumerate(curves.items()):
        name = f"{labels[column]}: " if labels[column] else ""
        area = areas[column]
        written = "no curve" if np.isnan(area) else f"AUC = {area:.3f}"
        ax.plot(wrong, right, label=f"{name}{written}", **canvas.style_of(number))
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1.0)
    ax.set(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC curve",
        xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal",
    )  # fmt: skip
    ax.grid(alpha=0.25)
    many = len(curves) > _INSIDE
    place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if many else {"loc": "lower right"}
    ax.legend(fontsize="small", ncols=1 + len(curves) // 24, **place)
    for text in ax.get_legend().get_texts():
        text.set(**canvas.fonts(text.get_text()))
