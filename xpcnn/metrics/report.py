"""A table of precision, recall and F1 of each class, as scikit-learn prints it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.window import as_flag, is_sequence

HEADERS = ("precision", "recall", "f1-score", "support")


def classification_report(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Sequence[Any] | None = None,
    target_names: Sequence[str] | None = None,
    digits: int = 2,
    output_dict: bool = False,
    zero_division: float | str = "warn",
    ignore_index: int | None = None,
) -> Any:
    """Return a table of precision, recall, F1 and support of each class, and their averages.

    Text and dict are those of ``sklearn.metrics.classification_report``, and so is the order of the
    arguments: other than the functions of this module, the truth comes first.

    Parameters
    ----------
    y_true, y_pred : array of labels (N, ...), or of zeros and ones (N, C)
        True and predicted classes, numbers or names; or label sets, with a column for each label.
    labels : sequence, optional
        Classes to list, in this order; those that occur, sorted, if left out.
    target_names : sequence of str, optional
        Their names, in the same order.
    digits : int
        Behind the decimal point, in the text.
    output_dict : bool
        Whether to return a dict of dicts in place of the text.
    zero_division : float or "warn"
        Value of a ratio without a denominator, 0, 1 or NaN; "warn" is 0, and a warning.
    ignore_index : int, optional
        True label of places that do not count.

    Returns
    -------
    str or dict

    Raises
    ------
    ValueError
        If the arrays do not fit each other or the names.
    TypeError
        If predictions are scores, not labels.

    Examples
    --------
    >>> print(classification_report([0, 1, 1, 2], [0, 1, 2, 2], target_names=["a", "b", "c"]))
                  precision    recall  f1-score   support
    <BLANKLINE>
               a       1.00      1.00      1.00         1
               b       1.00      0.50      0.67         2
               c       0.50      1.00      0.67         1
    <BLANKLINE>
        accuracy                           0.75         4
       macro avg       0.83      0.83      0.78         4
    weighted avg       0.88      0.75      0.75         4
    <BLANKLINE>
    """
    if (
        isinstance(digits, bool)
        or not isinstance(digits, (int, np.integer))
        or not 0 <= digits <= 100
    ):
        raise ValueError(f"{WHO}: digits must be a whole number from 0 to 100, got {digits!r}")
    value = _zero_division(zero_division)
    true, seen = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if {true.shape, seen.shape} == {(len(true),), (len(true), 1)}:
        true, seen = true.ravel(), seen.ravel()
    if (true.dtype.kind in "US") != (seen.dtype.kind in "US") and "O" not in (
        true.dtype.kind + seen.dtype.kind
    ):
        raise TypeError(
            f"{WHO}: y_true is of dtype {true.dtype} and y_pred of {seen.dtype}; give names in "
            "both, or numbers in both"
        )
    if true.shape != seen.shape:
        raise ValueError(
            f"{WHO}: y_true has shape {true.shape} and y_pred {seen.shape}; give a label for each"
        )
    as_flag(output_dict, WHO, "output_dict")
    for name, given in (("labels", labels), ("target_names", target_names)):
        if given is not None and not is_sequence(given):
            raise TypeError(f"{WHO}: {name} must be a list, one for each class, got {given!r:.200}")
    if ignore_index is not None and not isinstance(ignore_index, (int, np.integer, str)):
        raise TypeError(f"{WHO}: ignore_index must be a label, got {ignore_index!r:.200}")
    counts = _counts_of_sets if _are_sets(true, seen, ignore_index) else _counts_of_classes
    found = counts(true, seen, labels, ignore_index)
    names = [str(label) for label in found.labels]
    if target_names is not None:
        names = [str(name) for name in target_names]
        if len(names) != len(found.labels):
            raise ValueError(
                f"{WHO}: target_names has {len(names)} names, and there are {len(found.labels)} "
                f"classes, {', '.join(str(label) for label in found.labels)}; give a name for "
                "each, and say with labels= which there are if some do not occur"
            )
    rows = [*zip(names, _of_classes(found, value), strict=True), *_averages(found, value)]
    if zero_division == "warn" and not (found.seen.all() and found.true.all()):
        warnings.warn(
            f"{WHO}: precision or recall of a class that is never predicted, or never true, has no "
            "denominator, and is 0 here; pass zero_division=0, 1 or nan to choose",
            UserWarning,
            stacklevel=2,
        )
    if output_dict:
        return {
            name: row[2] if name == "accuracy" else dict(zip(HEADERS, row, strict=True))
            for name, row in rows
        }
    return _text(rows, len(names), int(digits))


WHO = "classification_report"
Row = tuple[float, ...]
"""Precision, recall, F1 and support."""


class Counts(NamedTuple):
    """How often each class was predicted and true, predicted, and true.

    Attributes
    ----------
    labels : list
    right, seen, true : array of int (C,)
    each : (right, seen, true) of int (N,), or None
        Of each sample, where labels are sets.
    is_all : bool
        Whether each place has one class, and all classes are listed: the ratio of the sums is the
        accuracy then.
    """

    labels: list[Any]
    right: np.ndarray
    seen: np.ndarray
    true: np.ndarray
    each: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    is_all: bool


def _zero_division(value: Any) -> float:
    if isinstance(value, str):
        if value == "warn":
            return 0.0
    elif isinstance(value, (int, float)) and (value in (0, 1) or math.isnan(value)):
        return float(value)
    raise ValueError(f"{WHO}: zero_division must be 'warn', 0, 1 or nan, got {value!r}")


def _labels(given: Any, name: str) -> np.ndarray:
    labels = np.asarray(_xp.to_numpy(given) if _xp.is_array(given) else given)
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.floor(labels)).all()):
            raise TypeError(
                f"{WHO}: {name} holds scores, of dtype {labels.dtype}, and labels are needed; take "
                "scores.argmax(axis=1) for classes, or scores > threshold for answers yes or no"
            )
    elif labels.dtype.kind not in "iubUSO":
        raise TypeError(f"{WHO}: {name} must hold labels, got dtype {labels.dtype}")
    if labels.ndim == 0:
        raise ValueError(f"{WHO}: {name} must be an array of labels, got one of shape ()")
    return labels


def _are_sets(true: np.ndarray, seen: np.ndarray, ignored: int | None) -> bool:
    """Whether rows are sets of labels: zeros and ones in several columns."""
    if true.ndim != 2 or true.shape[1] < 2 or "U" in true.dtype.kind + seen.dtype.kind:
        return False
    known = (true == 0) | (true == 1)
    if ignored is not None:
        known |= true == ignored
    return bool(known.all() and ((seen == 0) | (seen == 1)).all())


def _counts_of_classes(
    true: np.ndarray, seen: np.ndarray, labels: Sequence[Any] | None, ignored: int | None
) -> Counts:
    true, seen = true.ravel(), seen.ravel()
    if ignored is not None:
        true, seen = true[true != ignored], seen[true != ignored]
    there = np.unique(np.concatenate([true, seen]))
    chosen = there if labels is None else np.asarray(list(labels))
    right, predicted, actual = (
        np.array([np.count_nonzero(where == label) for label in chosen], dtype=np.int64)
        for where in (true[true == seen], seen, true)
    )
    is_all = set(there.tolist()) <= set(chosen.tolist())
    return Counts(chosen.tolist(), right, predicted, actual, None, is_all)


def _counts_of_sets(
    true: np.ndarray, seen: np.ndarray, labels: Sequence[Any] | None, ignored: int | None
) -> Counts:
    chosen = list(range(true.shape[1]) if labels is None else labels)
    unknown = [label for label in chosen if label not in range(true.shape[1])]
    if unknown:
        raise ValueError(
            f"{WHO}: labels={labels!r} names the column {unknown[0]!r}, and there are those from 0 "
            f"to {true.shape[1] - 1}"
        )
    counted = np.ones(true.shape, bool) if ignored is None else true != ignored
    yes, found = ((x == 1) & counted for x in (true, seen))
    yes, found = yes[:, chosen], found[:, chosen]
    both = yes & found
    each = both.sum(axis=1), found.sum(axis=1), yes.sum(axis=1)
    return Counts(chosen, both.sum(axis=0), found.sum(axis=0), yes.sum(axis=0), each, False)


def _ratios(counts: Sequence[Any], value: float) -> list[np.ndarray]:
    """Return precision, recall and F1 as arrays (C,) of floats."""
    found = []
    right, seen, true = (np.atleast_1d(count) for count in counts)
    for above, below in ((right, seen), (right, true), (2 * right, seen + true)):
        ratio = np.full(above.shape, value)
        np.divide(above, below, out=ratio, where=below > 0)
        found.append(ratio)
    return found


def _of_classes(found: Counts, value: float) -> list[Row]:
    columns = [*_ratios((found.right, found.seen, found.true), value), found.true]
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of what is not NaN, without weights where all of them are 0."""
    kept = ~np.isnan(values)
    if not kept.any():
        return math.nan
    values, weights = values[kept], weights[kept]
    return float(np.average(values, weights=weights if weights.any() else None))


def _averages(found: Counts, value: float) -> list[tuple[str, Row]]:
    right, seen, true = found.right, found.seen, found.true
    one = np.ones(1)
    ratios = [
        ("accuracy" if found.is_all else "micro avg", (right.sum(), seen.sum(), true.sum()), one),
        ("macro avg", (right, seen, true), np.ones(len(true))),
        ("weighted avg", (right, seen, true), true),
    ]
    if found.each is not None:
        ratios.append(("samples avg", found.each, np.ones(len(found.each[0]))))
    return [
        (name, (*(_mean(ratio, weights) for ratio in _ratios(counts, value)), float(true.sum())))
        for name, counts, weights in ratios
    ]


def _text(rows: Sequence[tuple[str, Row]], classes: int, digits: int) -> str:
    width = max(*(len(name) for name, _ in rows), digits)
    lines = [" " * width + " " + "".join(f" {header:>9}" for header in HEADERS), ""]
    for number, (name, row) in enumerate(rows):
        if number == classes:
            lines.append("")
        cells = [f"{figure:>9.{digits}f}" for figure in row[:3]]
        if number == classes and name == "accuracy":
            cells[:2] = [" " * 9] * 2
        lines.append(f"{name:>{width}}  " + " ".join(cells) + f" {int(row[3]):>9}")
    return "\n".join(lines) + "\n"
