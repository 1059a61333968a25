"""The base class of losses of scores that are classes, or independent answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.classification import _ClassLoss
from xpcnn.losses.loss import check_finite, check_numeric, check_same_shape
from xpcnn.window import as_flag


class ScoresLoss(_ClassLoss):
    """A loss of the scores of classes, of which one is right, or of answers yes or no.

    A single column of scores, (N, 1, d1, ...), is answers yes or no, with targets of the same shape
    or without the axis of the column; so is each of several columns with ``multilabel=True``.
    Otherwise columns are classes, with integer labels (N, d1, ...), or one-hot or soft targets.

    Parameters
    ----------
    multilabel : bool
    ignore_index : int
        Target of places that do not count.
    weight : sequence of C floats, optional
    reduction : "mean", "sum" or "none"
    """

    read_only: ClassVar[Mapping[str, str]] = {
        "label_smoothing": "this loss has none",
        "answers": "give the loss multilabel=True",
        "reads": "it follows from the other settings",
    }
    _sample_axes = None
    least_axes = 2
    """How many axes a prediction has at least."""

    def __init__(self, multilabel: bool, ignore_index: int, weight: Any, reduction: str) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.multilabel = as_flag(multilabel, type(self).__name__, "multilabel")
        self.answers = "columns" if self.multilabel else "classes"

    def _has_columns(self, shape: Sequence[int]) -> bool:
        """Whether predictions of this shape are answers yes or no."""
        return self.multilabel or len(shape) < 2 or shape[1] == 1

    def _targets(self, xp: ModuleType, prediction: Array, target: Array) -> tuple[Array, Any]:
        """Return targets as shares, of the prediction's shape, and which of them count.

        The latter is an array of bool, with or without an axis of length 1 for the classes, or
        ``None`` if all do. What does not count is 0.
        """
        dtype = prediction.dtype
        if self._has_columns(prediction.shape):
            target = xp.reshape(target, prediction.shape)
            if _xp.dtype_name(target) == "bool":
                return xp.astype(target, dtype), None
            target = xp.astype(target, dtype)
            counted = target != float(self.ignore_index)
            return xp.where(counted, target, 0.0), counted
        if target.ndim == prediction.ndim:
            self._check_no_ignored_shares()
            return xp.astype(target, dtype), None
        chosen = self._chosen(xp, prediction, target)
        return xp.astype(chosen, dtype), xp.any(chosen, axis=1, keepdims=True)

    def _check_no_ignored_shares(self) -> None:
        if self.ignore_index >= 0:
            raise ValueError(
                f"{type(self).__name__}: ignore_index={self.ignore_index} works with integer "
                "labels only, and these targets are one-hot or soft; pass labels"
            )

    def _check_target(
        self, output_shape: tuple[int, ...], shape: tuple[int, ...], dtype: str
    ) -> None:
        """Raise unless targets fit the predictions, batch axis aside."""
        who = type(self).__name__
        if len(output_shape) < self.least_axes:
            raise ValueError(
                f"{who}: expected predictions of shape (N, C) or (N, C, d1, ...), got "
                f"{output_shape}"
            )
        if not self._has_columns(output_shape):
            super()._check_target(output_shape, shape, dtype)
            return
        one_column = len(output_shape) > 1 and output_shape[1] == 1
        if not (one_column and shape[1:] == output_shape[2:]):
            check_same_shape(who, output_shape, shape)

    def check_something_counts(self, target: np.ndarray) -> None:
        """Raise if all labels, or answers, are those that do not count."""
        if (target == self.ignore_index).all():
            raise ValueError(
                f"{type(self).__name__}: all {target.size} targets are {self.ignore_index}, the "
                "ignore_index, so that nothing counts; mark fewer of them, or choose another "
                "ignore_index"
            )

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check labels, shares of classes, or answers, on the host, once.

        Returns
        -------
        numpy.ndarray
            int64 labels, shares of classes, or answers of the predictions' shape, both in `dtype`.

        Raises
        ------
        ValueError
            If shape or values do not fit; the message says how to change them.
        TypeError
            If labels are not integers.
        """
        target, shape = np.asarray(target), tuple(output_shape)
        if not self._has_columns(shape):
            target = super().prepare_target(shape, target, dtype)
            if target.ndim == len(shape):
                self._check_no_ignored_shares()
            return target
        check_numeric(type(self).__name__, target)
        check_finite(type(self).__name__, target)
        self._check_target(shape, target.shape, target.dtype.name)
        self._check_answers(target)
        return target.reshape(len(target), *shape[1:]).astype(dtype, copy=False)

    def _check_answers(self, target: np.ndarray) -> None:
        """Raise unless answers lie from 0 to 1, or are those that do not count."""
        wrong = ((target < 0) | (target > 1)) & (target != self.ignore_index)
        if wrong.any():
            who = type(self).__name__
            raise ValueError(
                f"{who}: targets of answers yes or no must lie from 0 to 1 (or be "
                f"ignore_index={self.ignore_index}), got {target[wrong][0]:g} at index "
                f"{tuple(map(int, np.argwhere(wrong)[0]))} and {int(wrong.sum())} wrong in all; "
                "for labels of classes the network gives a column of scores for each class"
            )
