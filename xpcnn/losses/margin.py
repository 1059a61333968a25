"""Margin losses: what is right by more than the margin adds nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import dtype_error
from xpcnn.losses.classification import (
    check_labels,
    check_several_classes,
    check_weight_count,
    class_weights,
    is_one_hot,
    mask_of_classes,
)
from xpcnn.losses.loss import EPSILON, Loss, SameShapeLoss, Terms, check_numeric, spread
from xpcnn.losses.pair import PairLoss
from xpcnn.ops.activation import sigmoid
from xpcnn.window import as_flag, as_number


class _ScoresLoss(Loss):
    """A loss of the scores (N, C) of classes and of labels, of which `_terms` notes the slope."""

    reads = "logits"
    _sample_axes = 1

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        self._check_shapes(tuple(prediction.shape), tuple(target.shape))
        if _xp.is_floating(target):
            raise self._not_integers(_xp.dtype_name(target))
        if isinstance(target, np.ndarray):  # already on the host, so that looking costs nothing
            self._check_classes(target, prediction.shape[1])

    def _check_shapes(self, output_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not implement _check_shapes")

    def _check_classes(self, target: np.ndarray, classes: int) -> None:
        check_labels(type(self).__name__, target, classes)

    def _not_integers(self, got: str) -> TypeError:
        fix = "convert the labels with target.astype('int64')"
        return dtype_error(type(self).__name__, "int64 (or another integer)", got, fix)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return spread(xp, scale) * saved


class MultiMarginLoss(_ScoresLoss):
    """Every class whose score comes closer than `margin` to that of the right class counts.

    The term of a sample with label y and scores x is the sum over the other classes j of
    ``weight[y] * max(0, margin - x[y] + x[j])^p``, divided by the number of classes.

    Parameters
    ----------
    p : 1 or 2
        Power.
    margin : float
    weight : sequence of C floats, optional
        Weight of each class. The mean divides by the number of samples all the same.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, C), scores; target: integer labels (N,). Or (C,) and a single label ().

    Raises
    ------
    ValueError
        If a setting is out of range, or a label names no class.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MultiMarginLoss()
    >>> float(loss(np.array([[1.0, 0.0, 1.5, 0.0]]), np.array([0])))  # (1 - 1 + 1.5) / 4
    0.375
    """

    answers = "classes"

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Sequence[float] | np.ndarray | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        if isinstance(p, bool) or as_number(p, "MultiMarginLoss", "p", finite=False) not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p must be 1 or 2, got {p!r}")
        self.p = int(p)
        self.margin = self._number("margin", margin)
        self.weight, self._weight = class_weights("MultiMarginLoss", weight)

    def _check_shapes(self, output_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if len(output_shape) != 2 or len(shape) != 1:
            raise ValueError(
                "MultiMarginLoss: expected scores of shape (N, C) and integer labels of shape "
                f"(N,), got {output_shape} and {shape}"
            )
        check_weight_count("MultiMarginLoss", self.weight, output_shape[1])

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        weight = None if self.weight is None else self._weight.like(prediction)
        found = F.run_if_any(
            "multi_margin_loss", prediction, target, self.p, self.margin, weight, whole=whole
        )
        return None if found is None else (found[0], prediction.shape[0], found[1])

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        dtype, classes = prediction.dtype, prediction.shape[1]
        right = mask_of_classes(xp, target, classes)
        own = xp.sum(xp.where(right, prediction, 0.0), axis=1, keepdims=True, dtype=dtype)
        # the right class itself is not to be compared
        excess = xp.where(right, 0.0, xp.maximum(self.margin - own + prediction, 0.0))
        share = xp.full_like(own, 1.0 / classes)
        if self.weight is not None:
            weights = xp.reshape(self._weight.like(prediction), (1, -1))
            weights = xp.where(right, weights, 0.0)
            share = share * xp.sum(weights, axis=1, keepdims=True, dtype=dtype)
        terms = share * (excess * excess if self.p == 2 else excess)
        slope = share * (2.0 * excess if self.p == 2 else xp.astype(excess > 0.0, dtype))
        # what raises the others lowers the right one
        slope = xp.where(right, -xp.sum(slope, axis=1, keepdims=True, dtype=dtype), slope)
        return xp.sum(terms, axis=1, dtype=dtype), prediction.shape[0], slope

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check labels on the host, once; one-hot rows become labels."""
        target, output_shape = np.asarray(target), tuple(output_shape)
        check_numeric("MultiMarginLoss", target)
        check_several_classes("MultiMarginLoss", output_shape)
        if target.ndim == 2 and target.shape[1:] == output_shape[1:]:
            if not is_one_hot(target):
                raise ValueError(
                    "MultiMarginLoss: expected labels or one-hot rows; soft targets are for "
                    "CrossEntropyLoss"
                )
            target = target.argmax(axis=1)
        self._check_shapes(output_shape, target.shape)
        if target.dtype.kind == "f":
            raise self._not_integers(str(target.dtype))
        labels = target.astype(np.uint8) if target.dtype.kind == "b" else target
        self._check_classes(labels, output_shape[1])
        return labels.astype(np.int64, copy=False)


class MultiLabelMarginLoss(_ScoresLoss):
    """Every wrong class whose score comes closer than 1 to that of a right class counts.

    The term of a sample is the sum over its classes y and all other classes j of
    ``max(0, 1 - x[y] + x[j])``, divided by the number of classes.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction (N, C), scores; target: integers (N, C), the classes of each sample one after the
    other, and -1 behind them. Or both (C,).

    Raises
    ------
    ValueError
        If a label names no class.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MultiLabelMarginLoss()
    >>> x, target = np.array([[0.1, 0.2, 0.4, 0.8]]), np.array([[3, 0, -1, 1]])
    >>> round(float(loss(x, target)), 9)  # (0.4 + 0.6 + 1.1 + 1.3) / 4
    0.85
    """

    answers = "lists"

    def _check_shapes(self, output_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if len(output_shape) != 2 or shape[1:] != output_shape[1:] or not output_shape[1]:
            raise ValueError(
                "MultiLabelMarginLoss: expected scores and lists of classes of one shape (N, C), "
                f"got {output_shape} and {shape}; fill the lists up with -1"
            )

    def _check_classes(self, target: np.ndarray, classes: int) -> None:
        behind = np.logical_or.accumulate(target < 0, axis=1)
        super()._check_classes(np.where(behind, 0, target), classes)

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        found = F.run_if_any("multi_label_margin_loss", prediction, target, whole=whole)
        return None if found is None else (found[0], prediction.shape[0], found[1])

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        dtype, classes = prediction.dtype, prediction.shape[1]
        # A list ends at its first negative number: count those at and before each place.
        ends = xp.astype(target < 0, dtype)
        before = xp.triu(xp.ones((classes, classes), dtype=dtype, device=_xp.device_of(target)))
        valid = xp.matmul(ends, before) == 0.0
        named = F.one_hot(xp.where(valid, target, 0), classes, xp.bool)  # (N, C, C)
        named = xp.astype(xp.logical_and(named, xp.expand_dims(valid, axis=1)), dtype)
        times = xp.sum(named, axis=2, dtype=dtype)  # how often the list has each class
        # (N, right, wrong): what a wrong class lacks to be 1 below a right one
        scores = 1.0 - xp.expand_dims(prediction, axis=2) + xp.expand_dims(prediction, axis=1)
        wrong = xp.expand_dims(xp.astype(times == 0.0, dtype), axis=1)
        share = xp.expand_dims(times, axis=2) * wrong / classes
        lacking = xp.where(share == 0.0, 0.0, xp.maximum(scores, 0.0))
        terms = xp.sum(share * lacking, axis=(1, 2), dtype=dtype)
        pairs = xp.where(scores > 0.0, share, 0.0)
        slope = xp.sum(pairs, axis=1, dtype=dtype) - xp.sum(pairs, axis=2, dtype=dtype)
        return terms, prediction.shape[0], slope

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check lists of classes on the host, once."""
        who, target, output_shape = type(self).__name__, np.asarray(target), tuple(output_shape)
        check_numeric(who, target)
        check_several_classes(who, output_shape)
        self._check_shapes(output_shape, target.shape)
        if target.dtype.kind not in "iu":
            raise self._not_integers(str(target.dtype))
        target = target.astype(np.int64, copy=False)
        self._check_classes(target, output_shape[1])
        behind = np.logical_or.accumulate(target < 0, axis=1)
        in_order = np.sort(np.where(behind, -1 - np.arange(target.shape[1]), target), axis=1)
        twice = (in_order[:, 1:] == in_order[:, :-1]).any(axis=1)
        if twice.any():
            row = int(np.argmax(twice))
            raise ValueError(
                f"{who}: the list at index {row}, {target[row].tolist()}, names a class twice; "
                "targets are lists of classes with -1 behind them, not zeros and ones, which are "
                "for MultiLabelSoftMarginLoss"
            )
        return target


class _SignLoss(Loss):
    """A loss of yes/no answers given as 1 and -1."""

    def _check_values(self, target: np.ndarray) -> None:
        wrong = target[(target != 1) & (target != -1)]
        if wrong.size:
            fix = "; turn 0 and 1 into them with 2 * target - 1" if (wrong == 0).all() else ""
            raise ValueError(
                f"{type(self).__name__}: targets must be 1 or -1, got {wrong[0]:g}{fix}"
            )


class SoftMarginLoss(_SignLoss, SameShapeLoss):
    """Logistic loss of yes/no answers, log(1 + exp(-t * x)).

    Parameters
    ----------
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction x (N, ...), scores; target t of the same shape, 1 or -1. Nothing overflows, where
    PyTorch's term becomes infinite from x = -t * 710 on (89 in float32).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.SoftMarginLoss(reduction="none")
    >>> y = loss(np.array([0.0, 1000.0, 1000.0]), np.array([1.0, 1.0, -1.0]))
    >>> y.round(4).tolist()  # log(2), right, very wrong
    [0.6931, 0.0, 1000.0]
    """

    reads = "logits"
    answers = "columns"

    def _operation(self) -> tuple[Any, ...] | None:
        return ("soft_margin_loss",)

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype)
        z = -target * prediction
        terms = xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))
        return terms, math.prod(prediction.shape), (z, target)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        z, target = saved
        return -scale * (target * sigmoid(xp, z))


class HingeEmbeddingLoss(_SignLoss, SameShapeLoss):
    """Hinge loss of distances: small for pairs that belong together, large for the others.

    ``x`` where the target is 1, and ``max(0, margin - x)`` where it is -1.

    Parameters
    ----------
    margin : float
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction x (N, ...), distances; target of the same shape, 1 or -1. (As in PyTorch, both terms
    count where a target is neither.)

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.HingeEmbeddingLoss(reduction="none")
    >>> distance = np.array([0.25, 0.25, 3.0])
    >>> loss(distance, np.array([1, -1, -1])).tolist()  # together; apart, but too near; far enough
    [0.25, 0.75, 0.0]
    """

    reads = "distances"

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = self._number("margin", margin)

    def _operation(self) -> tuple[Any, ...] | None:
        return "hinge_embedding_loss", self.margin

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype)
        lacking = self.margin - prediction
        near = xp.where(target != -1, prediction, 0.0)
        far = xp.where(target != 1, xp.maximum(lacking, 0.0), 0.0)
        by_near = xp.astype(target != -1, prediction.dtype)
        by_far = xp.astype(xp.logical_and(target != 1, lacking >= 0.0), prediction.dtype)
        return near + far, math.prod(prediction.shape), by_near - by_far


class _SignedPairLoss(_SignLoss, PairLoss):
    """A loss of pairs, each with a target of 1 or -1, and a margin."""

    reads = "distances"

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = self._number("margin", margin)

    def forward(
        self,
        prediction: Any,
        target: Array,
        labels: Array | None = None,
        *,
        sample_weight: Array | None = None,
    ) -> Array:
        """Compute the loss.

        Parameters
        ----------
        prediction : (array, array), or array
            Both predictions, or the first where `labels` is given.
        target : array
            1 or -1 for each pair; or the second prediction where `labels` is given.
        labels : array, optional
            The target, in PyTorch's place.
        sample_weight : array (N,), optional
            Multiplies the terms of each sample.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        TypeError
            If the predictions are not of floats, or the arrays of different libraries.
        """
        if labels is not None:
            prediction, target = (prediction, target), labels
        return super().forward(prediction, target, sample_weight=sample_weight)


class CosineEmbeddingLoss(_SignedPairLoss):
    """Loss of angles: small for pairs that belong together, large for the others.

    With c the cosine of the angle between two vectors: ``1 - c`` where the target is 1, and
    ``max(0, c - margin)`` where it is -1.

    Parameters
    ----------
    margin : float
        Of use from -1 to 1; 0 to 0.5 is usual.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Called as ``loss((x1, x2), target)``, or in PyTorch's order ``loss(x1, x2, target)``;
    :meth:`backward` returns the gradients of x1 and x2. Both (N, D); target (N,), 1 or -1; or (D,)
    and (). (As in PyTorch, a sample counts nothing where the target is neither.)

    Examples
    --------
    >>> import numpy as np
    >>> loss = CosineEmbeddingLoss()
    >>> x1, x2 = np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]])
    >>> round(float(loss((x1, x2), np.array([1]))), 9)  # 1 - 3 / 5
    0.4
    """

    _sample_axes = 1
    inputs = "the two sets of vectors"
    target_axes = 1

    def _check_fit(self, xp: ModuleType, prediction: tuple[Array, ...], target: Array) -> None:
        first, second = (tuple(x.shape) for x in prediction)
        if len(first) != 2 or first != second or tuple(target.shape) != first[:1]:
            raise ValueError(
                "CosineEmbeddingLoss: expected two sets of vectors of shape (N, D) and targets of "
                f"shape (N,), got {first}, {second} and {tuple(target.shape)}"
            )

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        target = xp.astype(target, prediction[0].dtype, copy=False)
        found = F.run_if_any(
            "cosine_embedding_loss", *prediction, target, self.margin, EPSILON, whole=whole
        )
        return None if found is None else (found[0], prediction[0].shape[0], found[1])

    def _terms(self, xp: ModuleType, prediction: tuple[Array, ...], target: Array) -> Terms:
        x1, x2 = prediction
        target = xp.astype(target, x1.dtype)
        squares = [xp.sum(x * x, axis=1, dtype=x.dtype) + EPSILON for x in prediction]
        lengths = xp.sqrt(squares[0] * squares[1])
        cosine = xp.sum(x1 * x2, axis=1, dtype=x1.dtype) / lengths
        excess = cosine - self.margin
        zero = xp.zeros_like(cosine)
        terms = xp.where(target == 1, 1.0 - cosine, zero)
        terms = terms + xp.where(target == -1, xp.maximum(excess, 0.0), zero)
        far = xp.logical_and(target == -1, excess >= 0.0)
        slope = xp.astype(far, x1.dtype) - xp.astype(target == 1, x1.dtype)
        return terms, x1.shape[0], (x1, x2, squares, lengths, cosine, slope)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Any:
        # the derivative of the cosine is x2 / lengths - cosine * x1 / |x1|^2, and likewise for x2
        x1, x2, squares, lengths, cosine, slope = saved
        slope = scale * slope
        across = xp.expand_dims(slope / lengths, axis=1)
        along = [xp.expand_dims(slope * cosine / square, axis=1) for square in squares]
        return across * x2 - along[0] * x1, across * x1 - along[1] * x2


class MarginRankingLoss(_SignedPairLoss):
    """Pairs of scores, of which the first (target 1) or the second (-1) is to be higher.

    ``max(0, -t * (x1 - x2) + margin)``.

    Parameters
    ----------
    margin : float
        By how much.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Called as ``loss((x1, x2), target)``, or in PyTorch's order ``loss(x1, x2, target)``;
    :meth:`backward` returns the gradients of x1 and x2. All of one shape, (N, ...) or (); targets
    1 or -1.

    Raises
    ------
    ValueError
        If the margin is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MarginRankingLoss(margin=0.5)
    >>> x1, x2 = np.array([1.0, 1.0]), np.array([0.0, 2.0])
    >>> float(loss((x1, x2), np.array([1, 1])))  # (0 + 1.5) / 2
    0.75
    """

    inputs = "the two scores"

    def _check_fit(self, xp: ModuleType, prediction: tuple[Array, ...], target: Array) -> None:
        first, second, wanted = (tuple(x.shape) for x in (*prediction, target))
        if not first == second == wanted:
            raise ValueError(
                "MarginRankingLoss: expected scores and targets of one shape, got "
                f"{first}, {second} and {wanted}"
            )

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        first, second = prediction
        target = xp.astype(target, first.dtype, copy=False)
        found = F.run_if_any("margin_ranking_loss", first, second, target, self.margin, whole=whole)
        return None if found is None else (found[0], math.prod(first.shape), found[1])

    def _terms(self, xp: ModuleType, prediction: tuple[Array, ...], target: Array) -> Terms:
        first, second = prediction
        target = xp.astype(target, first.dtype)
        lacking = self.margin - target * (first - second)
        slope = xp.where(lacking >= 0.0, -target, xp.zeros_like(target))
        return xp.maximum(lacking, 0.0), math.prod(first.shape), slope

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Any:
        gradient = scale * saved
        return gradient, -gradient


class TripletMarginLoss(PairLoss):
    """An anchor is to lie closer to a positive than to a negative, by a margin.

    ``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, with the distance
    ``d(a, b) = (sum of |a - b + eps|^p)^(1/p)`` (Balntas et al., 2016).

    Parameters
    ----------
    margin : float
    p : float
        Power of the distance; infinity for the largest difference.
    eps : float
        Keeps the derivative of the distance finite.
    swap : bool
        Whether the distance of positive and negative counts instead of that of anchor and negative
        where it is smaller.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Called as ``loss((anchor, positive, negative))``, or in PyTorch's order
    ``loss(anchor, positive, negative)``; :meth:`backward` returns the gradients of all three. All
    (N, ..., D), or (D,). There is no target: a model with three outputs is trained with
    ``model.fit(x, None)``.

    Raises
    ------
    ValueError
        If the margin or the power is not above 0, or `eps` not finite.

    Examples
    --------
    >>> import numpy as np
    >>> loss = TripletMarginLoss(margin=2.0, eps=0.0)
    >>> anchor, positive = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    >>> float(loss(anchor, positive, np.array([[0.0, 6.0]])))  # 5 - 6 + 2
    1.0
    """

    predictions = 3
    takes_target = False
    reads = "distances"
    inputs = "anchor, positive and negative"
    call = "loss((anchor, positive, negative))"

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = self._number("margin", margin)
        if not self.margin > 0.0:
            raise ValueError(f"TripletMarginLoss: margin must be above 0, got {margin!r}")
        p = as_number(p, "TripletMarginLoss", "p", finite=False)
        if not p > 0.0:
            raise ValueError(f"TripletMarginLoss: p must be above 0, got {p!r}")
        self.p, self.eps = p, self._number("eps", eps)
        self.swap = as_flag(swap, "TripletMarginLoss", "swap")

    def forward(
        self,
        prediction: Any,
        target: Array | None = None,
        negative: Array | None = None,
        *,
        sample_weight: Array | None = None,
    ) -> Array:
        """Compute the loss.

        Parameters
        ----------
        prediction : (array, array, array), or array (N, ..., D)
            Anchors, positives and negatives; or the anchors where `negative` is given.
        target : array, optional
            The positives, where `negative` is given; otherwise there is none.
        negative : array, optional
            The negatives, in PyTorch's place.
        sample_weight : array (N,), optional
            Multiplies the terms of each sample.

        Raises
        ------
        ValueError
            If the shapes do not fit, or there is a target.
        TypeError
            If the arrays are not of floats, or of different libraries.
        """
        if negative is not None:
            prediction, target = (prediction, target, negative), None
        if target is not None:
            raise ValueError(f"TripletMarginLoss: there is no target; call it as {self.call}")
        return super().forward(prediction, None, sample_weight=sample_weight)

    def _check_fit(self, xp: ModuleType, prediction: tuple[Array, ...], target: Any) -> None:
        shapes = [tuple(x.shape) for x in prediction]
        if len(set(shapes)) > 1 or not shapes[0]:
            raise ValueError(
                "TripletMarginLoss: expected three sets of vectors of one shape (N, D), got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
            )

    def _by_kernel(self, xp: ModuleType, prediction: Any, target: Any, whole: bool) -> Terms | None:
        if self.p != 2.0 or self.swap:
            return None
        found = F.run_if_any("triplet_margin_loss", *prediction, self.margin, self.eps, whole=whole)
        count = math.prod(prediction[0].shape[:-1])
        return None if found is None else (found[0], count, found[1])

    def _terms(self, xp: ModuleType, prediction: tuple[Array, ...], target: Any) -> Terms:
        anchor, positive, negative = prediction
        near, by_near = self._distance(xp, anchor, positive)
        far, by_far = self._distance(xp, anchor, negative)
        share, by_other = xp.ones_like(far), None
        if self.swap:
            other, by_other = self._distance(xp, positive, negative)
            # Of equal distances, each gets half of the gradient.
            share = xp.where(far < other, share, xp.where(far > other, 0.0, 0.5 * share))
            far = xp.minimum(far, other)
        lacking = near - far + self.margin
        counts = xp.astype(lacking >= 0.0, near.dtype)
        saved = (counts, share, by_near, by_far, by_other)
        return xp.maximum(lacking, 0.0), math.prod(near.shape), saved

    def _distance(self, xp: ModuleType, a: Array, b: Array) -> tuple[Array, Array]:
        """Return distances (N, ...) and their derivatives (N, ..., D) by a; by b the negative."""
        difference = a - b + self.eps
        size = xp.abs(difference)
        most = xp.max(size, axis=-1, keepdims=True)
        if self.p == math.inf:
            winners = xp.astype(size == most, size.dtype)
            share = winners / xp.sum(winners, axis=-1, keepdims=True, dtype=size.dtype)
            return xp.squeeze(most, axis=-1), _xp.sign(difference) * share
        # Divided by the largest, so that no power overflows; a distance of 0 has no slope.
        least = xp.where(most == 0.0, 1.0, most)
        relative = size / least
        total = xp.sum(relative**self.p, axis=-1, keepdims=True, dtype=size.dtype)
        root = xp.where(total == 0.0, 1.0, total) ** (1.0 / self.p)
        of_none = relative == 0.0
        power = xp.where(of_none, 1.0, relative) ** (self.p - 1.0)
        slope = xp.where(of_none, 0.0, _xp.sign(difference) * power / root ** (self.p - 1.0))
        return xp.squeeze(most * root, axis=-1), slope

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Any:
        counts, share, by_near, by_far, by_other = saved
        scale = counts * scale
        near = xp.expand_dims(scale, axis=-1) * by_near
        far = xp.expand_dims(scale * share, axis=-1) * by_far
        by_positive, by_negative = -near, far
        if by_other is not None:
            other = xp.expand_dims(scale * (1.0 - share), axis=-1) * by_other
            by_positive, by_negative = by_positive - other, by_negative + other
        return near - far, by_positive, by_negative
