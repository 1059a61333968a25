"""Weights of classes: given, or such that all classes count the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpcnn.losses.loss import Loss
from xpcnn.training.data_adapter import as_numbers, check_weights


def with_class_weights(
    weights: np.ndarray | None,
    class_weight: Any,
    labels: Any,
    loss: Loss,
    output_shape: Any,
    dtype: str,
) -> np.ndarray | None:
    """Multiply the weights of samples by those of their classes, where these are given.

    Parameters
    ----------
    weights : numpy.ndarray (N,), optional
    class_weight : mapping of class to weight, or one for each class, optional
    labels : numpy.ndarray, or a tuple of them
        As the loss prepared them.
    loss : Loss
    output_shape : tuple of int
        Of the network.
    dtype : str

    Raises
    ------
    ValueError
        If samples have no class each, a class has no weight, there is a weight for what is no
        class, or a weight is negative or not finite.
    TypeError
        If `class_weight` is something else.
    """
    if class_weight is None:
        return weights
    _check_one_output(labels)
    if isinstance(class_weight, (str, bytes)) or not hasattr(class_weight, "__iter__"):
        raise TypeError(
            "class_weight must be a mapping such as {0: 1.0, 1: 5.0}, or one number for each "
            f"class; got {class_weight!r}"
        )
    table = dict(class_weight if isinstance(class_weight, Mapping) else enumerate(class_weight))
    factors = as_numbers(list(table.values()), "class_weight", dtype)
    check_weights(factors, "class_weight")
    classes = _class_of_each(labels)
    if loss.answers == "classes":
        surplus = [c for c in table if c not in range(output_shape[1])]
        if surplus:
            raise ValueError(
                f"class_weight has a weight for {surplus[0]!r}, which is not one of the "
                f"{output_shape[1]} classes from 0 to {output_shape[1] - 1}"
            )
    if loss.ignore_index is not None:
        table.setdefault(loss.ignore_index, 0.0)  # does not count, whatever its weight
    found, places = np.unique(classes, return_inverse=True)
    missing = [int(c) for c in found if int(c) not in table]
    if missing:
        raise ValueError(f"class_weight has no weight for the classes {missing}")
    of_each = as_numbers([table[int(c)] for c in found], "class_weight", dtype)[places]
    if weights is None:
        return of_each
    return weights * of_each.reshape(-1, *(1,) * (weights.ndim - 1))


def balanced(labels: Any, ignore_index: int | None) -> dict[int, float]:
    """Return weights with which all classes count the same, as scikit-learn's "balanced" does.

    The weight of a class is ``N / (classes * samples of the class)``, for the classes that there
    are.

    Parameters
    ----------
    labels : numpy.ndarray (N,), or one-hot rows
    ignore_index : int, optional
        Label of samples that do not count.

    Raises
    ------
    ValueError
        If samples have no class each.

    Examples
    --------
    >>> import numpy as np
    >>> balanced(np.array([0, 0, 0, 1]), None)  # 4 / (2 * 3) and 4 / (2 * 1)
    {0: 0.6666666666666666, 1: 2.0}
    """
    _check_one_output(labels)
    classes = _class_of_each(labels)
    if ignore_index is not None:
        classes = classes[classes != ignore_index]
    found, counts = np.unique(classes, return_counts=True)
    share = len(classes) / max(len(found), 1)
    return {int(c): share / int(n) for c, n in zip(found, counts, strict=True)}


def _check_one_output(labels: Any) -> None:
    if isinstance(labels, tuple):
        raise ValueError(
            f"class_weight needs one output, and the network has {len(labels)}; use "
            "sample_weight, or the weight argument of the losses"
        )


def _class_of_each(labels: np.ndarray) -> np.ndarray:
    """Return the class of each sample.

    Raises
    ------
    ValueError
        If there is not one for each.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:  # yes/no answers in a column
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind == "f":  # whole numbers are labels of places
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        if not one_hot:
            raise ValueError(
                "class_weight needs one class for each sample: integer labels of shape (N,) or "
                f"one-hot rows, and these targets of shape {labels.shape} are neither; use "
                "sample_weight, or the weight argument of the loss (pos_weight of "
                "BCEWithLogitsLoss)"
            )
        labels = labels.argmax(axis=1)
    if labels.ndim != 1:
        raise ValueError(
            f"class_weight needs one label per sample, got labels of shape {labels.shape}; use "
            "sample_weight, or the weight argument of the loss"
        )
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise ValueError("class_weight needs classes, and these labels are not whole numbers")
    return labels
