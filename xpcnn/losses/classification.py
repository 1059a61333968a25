"""Losses of classifiers: cross-entropy between classes and logits or log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.losses.loss import (
    ConstantArray,
    Loss,
    Terms,
    as_numbers,
    check_finite,
    check_numeric,
    spread,
)
from xpcnn.window import as_number


class _ClassLoss(Loss):
    """``-sum over classes of T * log p``, with T made of the target, smoothing and class weights.

    Target is an integer array of labels (N, d1, ...), or an array (N, C, d1, ...) that gives each
    class its share: one-hot of any dtype, or soft.
    """

    answers: Literal["classes", "columns"] = "classes"
    takes_shares = True
    ignore_index: int
    _sample_axes: ClassVar[int | None] = 1

    def __init__(
        self,
        weight: Sequence[float] | np.ndarray | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        who = type(self).__name__
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer)):
            raise TypeError(f"{who}: ignore_index must be a whole number, got {ignore_index!r}")
        label_smoothing = as_number(label_smoothing, who, "label_smoothing", finite=False)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"{who}: label_smoothing must be from 0 to 1, got {label_smoothing!r}")
        self.ignore_index = int(ignore_index)
        self.label_smoothing = float(label_smoothing)
        self.weight, self._weight = class_weights(who, weight)

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the predictions without the axis of the classes."""
        return (output_shape[0], *output_shape[2:])

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        operation = self._operation()
        if operation is None or target.ndim == prediction.ndim or 0 in prediction.shape:
            return None
        self._check_classes(prediction.shape[1])
        if isinstance(target, np.ndarray):  # on the host, so that looking costs nothing
            self._check_labels(target, prediction.shape[1])
        name, *settings = operation
        weight = None if self.weight is None else self._weight.like(prediction)
        found = F.run_if_any(
            name, prediction, target, self.ignore_index, weight, *settings, whole=whole
        )
        if found is None:
            return None
        (terms, count), saved = found
        # A count on the device is not read: that would be to wait for it.
        return terms, count if isinstance(count, int) else xp.astype(count, terms.dtype), saved

    def _entropy(self, xp: ModuleType, logp: Array, target: Array) -> Terms:
        """Return the terms (N, d1, ...), the divisor of the mean, and T (N, C, d1, ...)."""
        self._check_classes(logp.shape[1])
        if target.ndim == logp.ndim:
            return self._soft_entropy(xp, logp, target)
        chosen = self._chosen(xp, logp, target)
        share = xp.astype(chosen, logp.dtype)
        if self.weight is None and not self.label_smoothing:
            count = xp.sum(share, dtype=share.dtype)
            return -xp.sum(xp.where(chosen, logp, 0.0), axis=1, dtype=logp.dtype), count, share
        weighted = share if self.weight is None else share * self._class_weights(xp, logp)
        count = xp.sum(weighted, dtype=share.dtype)
        if self.label_smoothing:
            valid = xp.any(chosen, axis=1, keepdims=True)
            weighted = xp.where(valid, self._smooth(xp, share, logp), 0.0)
        # A class without share adds nothing, however impossible the network thinks it.
        products = xp.where(weighted == 0.0, 0.0, weighted * logp)
        return -xp.sum(products, axis=1, dtype=logp.dtype), count, weighted

    def _soft_entropy(self, xp: ModuleType, logp: Array, target: Array) -> Terms:
        if self.ignore_index >= 0:
            raise ValueError(
                f"{type(self).__name__}: ignore_index={self.ignore_index} works with integer "
                "labels only, and these targets are one-hot or soft; pass labels"
            )
        share = self._smooth(xp, xp.astype(target, logp.dtype), logp)
        terms = -xp.sum(share * logp, axis=1, dtype=logp.dtype)
        return terms, math.prod(terms.shape), share

    def _smooth(self, xp: ModuleType, share: Array, logp: Array) -> Array:
        if self.label_smoothing:
            share = (1.0 - self.label_smoothing) * share + self.label_smoothing / logp.shape[1]
        return share if self.weight is None else share * self._class_weights(xp, logp)

    def _class_weights(self, xp: ModuleType, logp: Array) -> Array:
        return xp.reshape(self._weight.like(logp), (1, -1, *(1,) * (logp.ndim - 2)))

    def _chosen(self, xp: ModuleType, logp: Array, labels: Array) -> Array:
        """Return a mask (N, C, d1, ...) of the target's class; all False where it is ignored."""
        classes = logp.shape[1]
        if isinstance(labels, np.ndarray):  # already on the host, so that looking costs nothing
            self._check_labels(labels, classes)
        chosen = mask_of_classes(xp, labels, classes)
        if 0 <= self.ignore_index < classes:
            chosen = xp.logical_and(chosen, xp.expand_dims(labels != self.ignore_index, axis=1))
        return chosen

    # -- Checks --------------------------------------------------------------------------------

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        self._check_target(tuple(prediction.shape), tuple(target.shape), _xp.dtype_name(target))

    def _check_target(
        self, output_shape: tuple[int, ...], shape: tuple[int, ...], dtype: str
    ) -> None:
        """Raise unless the targets are labels or shares of classes, batch axis aside."""
        who = type(self).__name__
        if len(output_shape) < 2 or output_shape[1] == 0:
            raise ValueError(
                f"{who}: expected predictions of shape (N, C) or (N, C, d1, ...), got "
                f"{output_shape}"
            )
        places = output_shape[2:]
        if len(shape) == len(output_shape) and shape[1:] == output_shape[1:]:
            return
        if len(shape) == len(output_shape) - 1 and shape[1:] == places:
            if "float" not in dtype:
                return
            raise TypeError(
                f"{who}: targets of shape {shape} are class labels, which must be integers, got "
                f"{dtype}; convert them with target.astype('int64')"
            )
        labels = ", ".join(["N", *map(str, places)]) + ("" if places else ",")
        shares = ", ".join(["N", *map(str, output_shape[1:])])
        fix = "reshape them"
        if len(shape) == len(output_shape) and shape[1] == 1:
            fix = "for labels in a column, pass target[:, 0]"
        elif len(shape) == len(output_shape) and shape[2:] == places:
            fix = f"the network gives {output_shape[1]} classes, the targets have {shape[1]}"
        raise ValueError(
            f"{who}: expected integer labels of shape ({labels}), or one-hot or soft targets of "
            f"shape ({shares}); got {shape}; {fix}"
        )

    def _check_classes(self, classes: int) -> None:
        check_weight_count(type(self).__name__, self.weight, classes)

    def _check_labels(self, labels: np.ndarray, classes: int) -> None:
        check_labels(type(self).__name__, labels, classes, self.ignore_index)

    def check_something_counts(self, target: np.ndarray) -> None:
        """Raise if no label has a weight: the mean of the loss would be 0 / 0."""
        if target.dtype.kind == "f":  # shares of classes
            return
        who, labels = type(self).__name__, target
        kept = labels != self.ignore_index
        if not kept.any():
            raise ValueError(
                f"{who}: all {labels.size} labels are {self.ignore_index}, the ignore_index, so "
                "that nothing counts; mark fewer of them, or choose another ignore_index"
            )
        if self.weight is not None and not np.asarray(self.weight)[np.unique(labels[kept])].any():
            raise ValueError(
                f"{who}: the classes of all {labels.size} labels have a weight of 0, so that "
                "nothing counts"
            )

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check labels, one-hot or soft targets on the host, once.

        Returns
        -------
        numpy.ndarray
            int64 labels, or shares of classes in `dtype`. One-hot rows become labels where that
            changes no number.

        Raises
        ------
        ValueError
            If shape or values do not fit; the message says how to change them.
        TypeError
            If labels are not integers.
        """
        who = type(self).__name__
        target, output_shape = np.asarray(target), tuple(output_shape)
        check_numeric(who, target)
        check_several_classes(who, output_shape)
        self._check_target(output_shape, target.shape, target.dtype.name)
        self._check_classes(output_shape[1])
        if target.ndim < len(output_shape):
            labels = target.astype(np.uint8) if target.dtype.kind == "b" else target
            self._check_labels(labels, output_shape[1])
            return labels.astype(np.int64, copy=False)
        check_finite(who, target)
        check_shares(who, target)
        # With class weights the mean of labels and of shares have different divisors.
        if self.weight is None and self.ignore_index < 0 and is_one_hot(target):
            return target.argmax(axis=1).astype(np.int64, copy=False)
        return target.astype(dtype, copy=False)


class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy between logits and classes: softmax and negative log-likelihood in one.

    Parameters
    ----------
    weight : sequence of C floats, optional
        Weight of each class. With labels, the mean divides by the sum of the targets' weights.
    ignore_index : int
        Label of places that do not count.
    reduction : "mean", "sum" or "none"
    label_smoothing : float
        Share of the target that is spread evenly over all classes (Szegedy et al., 2016).

    Notes
    -----
    Prediction (N, C, d1, ...), raw scores (logits). Target: integer labels (N, d1, ...), or one-hot
    of any dtype or soft (N, C, d1, ...). The numbers are PyTorch's.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> loss = CrossEntropyLoss()
    >>> float(loss(np.zeros((2, 4)), np.array([0, 3])))  # log(4): all classes alike
    1.3862943611198906
    >>> loss.backward()[0]
    array([-0.375,  0.125,  0.125,  0.125])
    """

    reads = "logits"

    def _operation(self) -> tuple[Any, ...] | None:
        return "cross_entropy", self.label_smoothing

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        if 0 in prediction.shape:  # no samples, or no places: nothing to work on
            terms, count, share = self._entropy(xp, prediction, target)
            return terms, count, (share, None)
        logp, saved = F.run("log_softmax", prediction, 1, who=type(self).__name__)
        terms, count, share = self._entropy(xp, logp, target)
        return terms, count, (share, saved)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        share, of_softmax = saved
        if of_softmax is None:
            return share
        return F.run_backward(-spread(xp, scale) * share, of_softmax)


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of classes, for networks that end in LogSoftmax.

    Parameters
    ----------
    weight : sequence of C floats, optional
        Weight of each class. With labels, the mean divides by the sum of the targets' weights.
    ignore_index : int
        Label of places that do not count.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, C, d1, ...), logarithms of probabilities. Target as for
    :class:`CrossEntropyLoss`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.NLLLoss()
    >>> log_probabilities = np.log([[0.25, 0.75], [0.5, 0.5]])
    >>> round(float(loss(log_probabilities, np.array([0, 1]))), 4)  # (log(4) + log(2)) / 2
    1.0397
    """

    reads = "log_probabilities"

    def __init__(
        self,
        weight: Sequence[float] | np.ndarray | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)

    def _operation(self) -> tuple[Any, ...] | None:
        return ("nll_loss",)

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        return self._entropy(xp, prediction, target)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return -spread(xp, scale) * saved


def is_one_hot(target: np.ndarray) -> bool:
    """Whether the rows of targets have a single 1, and zeros."""
    return bool(((target == 0) | (target == 1)).all() and (target.sum(axis=1) == 1).all())


def mask_of_classes(xp: ModuleType, labels: Array, classes: int) -> Array:
    """Return a mask (N, C, d1, ...) that is true at the class of each label."""
    if _xp.dtype_name(labels) in ("bool", "int8", "uint8", "int16", "uint16"):
        labels = xp.astype(labels, xp.int32)
    return F.one_hot(labels, classes, xp.bool)


def class_weights(who: str, weight: Any) -> tuple[list[float] | None, ConstantArray]:
    """Check weights of classes; return them as a list, and to compute with: 1 if there are none."""
    if weight is None:
        return None, ConstantArray(1.0)
    constant = ConstantArray(as_numbers(who, "weight", weight))
    values = constant.values
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(
            f"{who}: weight must be one finite number for each class, got {weight!r:.200}"
        )
    return values.tolist(), constant


def check_weight_count(who: str, weight: Sequence[float] | None, classes: int) -> None:
    """Raise unless there is a weight for each class, or none at all."""
    if weight is not None and len(weight) != classes:
        raise ValueError(
            f"{who}: weight has {len(weight)} numbers, but the predictions have {classes} classes"
        )


def check_several_classes(who: str, output_shape: tuple[int, ...]) -> None:
    """Raise if there is one class only, the probability of which is always 1."""
    if len(output_shape) > 1 and output_shape[1] == 1:
        raise ValueError(
            f"{who}: the network gives one column of scores, and a single class is always right, "
            "so that the loss is 0 whatever the network does; for a yes/no answer use "
            "'bce_with_logits' (BCEWithLogitsLoss), or give the last layer one output per class, "
            "two at least"
        )


def check_shares(who: str, target: np.ndarray) -> None:
    """Raise unless the shares of the classes, along axis 1, are at least 0 and add up to 1."""
    if (target < 0).any():
        raise ValueError(f"{who}: one-hot and soft targets must not be negative")
    sums = target.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1.0) > 1e-2
    if not wrong.any():
        return
    where = tuple(map(int, np.argwhere(wrong)[0]))
    raise ValueError(
        f"{who}: one-hot and soft targets are the shares of the classes and must add up to 1 along "
        f"axis 1; they add up to {sums[where]:g} at index {where[0] if len(where) == 1 else where} "
        f"and {int(wrong.sum())} are wrong in all; divide them by their sum, or, if several "
        "classes can be right at once, use 'bce_with_logits' (BCEWithLogitsLoss)"
    )


def check_labels(
    who: str, labels: np.ndarray, classes: int, ignore_index: int | None = None
) -> None:
    """Raise unless labels on the host name classes, or are `ignore_index` where that is given."""
    if not labels.size:
        return
    if labels.dtype == np.int64 and labels.view(np.uint64).max() < classes:
        return  # at one look: those below zero come out as large ones
    lowest, highest = labels.min(), labels.max()
    if lowest >= 0 and highest < classes:
        return
    wrong = (labels < 0) | (labels >= classes)
    ignoring = ""
    if ignore_index is not None:
        wrong &= labels != ignore_index
        ignoring = f" (or ignore_index={ignore_index})"
    if not wrong.any():
        return
    where = tuple(map(int, np.argwhere(wrong)[0]))
    fix = "the last layer needs as many outputs as there are classes"
    if labels[where] < 0:
        fix = "labels count from 0"
        if ignore_index is not None:
            fix += "; mark places that should not count with ignore_index, e.g. ignore_index=-1"
    elif lowest == 1 and highest == classes:
        fix = "labels count from 0: pass target - 1"
    raise ValueError(
        f"{who}: labels must be from 0 to {classes - 1}{ignoring}, got {labels[where]} at index "
        f"{where} and {int(wrong.sum())} wrong in all; {fix}"
    )
