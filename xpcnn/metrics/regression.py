"""Metrics of numbers: how far predictions lie from targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import cast_hint, check_choice, dtype_error
from xpcnn.metrics.metric import Metric, common_namespace

if TYPE_CHECKING:
    from xpcnn.losses.loss import Loss

MULTIOUTPUT = ("uniform_average", "variance_weighted", "raw_values")


class NumberMetric(Metric):
    """A metric that compares numbers with numbers.

    Predictions and targets are of one shape, (N, ...); a single column (N, 1) also goes with
    targets (N,). Nothing is rounded to the model's dtype: differences and sums are in float64 where
    the device has it.

    Parameters
    ----------
    name : str, optional
        Key in training logs, where another metric has the usual one.
    """

    higher_is_better: bool | None = False
    _loss: Loss | None = None

    def __init__(self, name: str | None = None) -> None:
        self._given_name = self._called(name)
        self.reset()

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().arguments() | {"name": self._given_name}

    def bind(self, loss: Loss | None) -> None:
        """Learn from a model's loss what its predictions are."""
        self._loss = loss

    def check_targets(self, target: Any, output_shape: Sequence[Any]) -> None:
        """Raise unless predictions and targets are numbers of one kind and shape."""
        who, loss = type(self).__name__, self._loss
        if loss is None:
            return
        given = type(loss).__name__
        if not loss.takes_target or loss.reads == "distances" or loss.answers == "lists":
            raise ValueError(
                f"{who}: compares predictions with targets, number by number, and {given} has "
                "no such targets; leave the metric out"
            )
        if loss.reads in ("logits", "log_probabilities"):
            kind = "scores of any size" if loss.reads == "logits" else "logarithms"
            raise ValueError(
                f"{who}: compares numbers with numbers, and the predictions are {kind} to "
                f"{given}, so that they do not come near to the targets; use 'accuracy', 'auc' "
                "or another metric of answers"
            )
        _check_shapes(who, tuple(output_shape), np.shape(target), but_batch=True)

    def reset(self) -> None:
        """Forget all batches."""
        self._waiting: list[tuple[int, Sequence[Array]]] = []
        self._count = 0

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        who = type(self).__name__
        xp = common_namespace(prediction, target, who)
        if not _xp.is_floating(prediction):
            got = _xp.dtype_name(prediction)
            raise dtype_error(who, "float32 (or another float)", got, cast_hint("float32", got))
        _check_shapes(who, tuple(prediction.shape), tuple(target.shape))
        wide = _xp.sum_dtype(xp, prediction)
        prediction = xp.astype(prediction, wide)
        if self._loss is not None and self._loss.reads == "log_values":
            prediction = xp.exp(prediction)
        target = xp.reshape(xp.astype(target, wide), prediction.shape)
        count = self._terms_in(prediction)
        if count:
            with np.errstate(over="ignore", invalid="ignore"):
                self._waiting.append((count, self._take(xp, prediction, target)))
            if _xp.on_host(prediction):
                self._settle()

    def _terms_in(self, prediction: Array) -> int:
        return math.prod(prediction.shape)

    def _settle(self) -> None:
        """Read what waits on the device."""
        for count, sums in self._waiting:
            self._add(count, [np.asarray(_xp.to_numpy(one), np.float64) for one in sums])
            self._count += count
        self._waiting = []

    def _take(self, xp: ModuleType, prediction: Array, target: Array) -> Sequence[Array]:
        """Return what a batch adds, as arrays on its device."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _take")

    def _add(self, count: int, sums: Sequence[np.ndarray]) -> None:
        """Add what :meth:`_take` returned to that of `self._count` terms before."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _add")


class _MeanOfTerms(NumberMetric):
    """A mean over all numbers of all samples."""

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._total = 0.0

    def _take(self, xp: ModuleType, prediction: Array, target: Array) -> Sequence[Array]:
        return (xp.sum(self._term(xp, prediction - target)),)

    def _add(self, count: int, sums: Sequence[np.ndarray]) -> None:
        self._total += float(sums[0])

    def _term(self, xp: ModuleType, difference: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not implement _term")

    def result(self) -> float:
        """Return the mean over all batches since :meth:`reset`; NaN if there was none."""
        self._settle()
        return self._total / self._count if self._count else math.nan


class MAE(_MeanOfTerms):
    """Mean absolute error: the mean of ``|prediction - target|`` over all numbers.

    Parameters
    ----------
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Notes
    -----
    Prediction (N, ...) of floats; target of the same shape. To a loss that reads logarithms of
    counts, such as :class:`~xpcnn.PoissonNLLLoss`, predictions are their exponentials here.

    Examples
    --------
    >>> import numpy as np
    >>> metric = MAE()
    >>> metric.update(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]]))
    >>> metric.result()  # (1 + 3) / 2
    2.0
    """

    name = "mae"

    def _term(self, xp: ModuleType, difference: Array) -> Array:
        return xp.abs(difference)


class MSE(_MeanOfTerms):
    """Mean squared error over all numbers; shapes and settings as for :class:`MAE`.

    Examples
    --------
    >>> import numpy as np
    >>> metric = MSE()
    >>> metric.update(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]]))
    >>> metric.result()  # (1 + 9) / 2
    5.0
    """

    name = "mse"

    def _term(self, xp: ModuleType, difference: Array) -> Array:
        return difference * difference


class RMSE(MSE):
    """Root of the mean squared error over all numbers; shapes and settings as for :class:`MAE`.

    It is one root, as in Keras and torchmetrics. Scikit-learn's ``root_mean_squared_error`` is the
    mean of the roots of the columns, which is the same where there is one column.

    Examples
    --------
    >>> import numpy as np
    >>> metric = RMSE()
    >>> metric.update(np.array([[1.0], [8.0]]), np.array([[0.0], [1.0]]))
    >>> metric.result()  # the root of (1 + 49) / 2
    5.0
    """

    name = "rmse"

    def result(self) -> float:
        """Return the root of the mean over all batches since :meth:`reset`."""
        return math.sqrt(super().result())


class R2(NumberMetric):
    """Coefficient of determination: the share of the targets' variance that is explained.

    ``1 - sum((t - p)^2) / sum((t - mean(t))^2)``: 1 if all predictions are right, 0 for those that
    are always the mean of the targets, below 0 for worse ones.

    Parameters
    ----------
    multioutput : "uniform_average", "variance_weighted" or "raw_values"
        Of several columns (axis 1): the mean of their values, that weighted by the variance of
        their targets, or an array (C,).
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Notes
    -----
    Prediction (N, C, d1, ...) of floats; target of the same shape. The numbers of a column at all
    samples and places are put together. As in scikit-learn the value of a column whose targets are
    all alike is 1 if all predictions are right and 0 otherwise, and with fewer than two numbers in
    a column it is NaN.

    Raises
    ------
    ValueError
        If `multioutput` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> metric = R2()
    >>> metric.update(np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]]))
    >>> metric.result()  # 1 - 1 / 2
    0.5
    """

    name = "r2"
    higher_is_better = True

    def __init__(self, multioutput: str = "uniform_average", name: str | None = None) -> None:
        check_choice(type(self).__name__, "multioutput", multioutput, MULTIOUTPUT)
        self.multioutput = multioutput
        super().__init__(name)

    @property
    def gives_one_number(self) -> bool:  # type: ignore[override]
        """Whether the columns are averaged."""
        return self.multioutput != "raw_values"

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        # Of each column: mean of the targets and squares around it, then those of the differences.
        self._sums: list[np.ndarray] = []

    def _terms_in(self, prediction: Array) -> int:
        return math.prod(prediction.shape) // max(math.prod(prediction.shape[1:2]), 1)

    def _take(self, xp: ModuleType, prediction: Array, target: Array) -> Sequence[Array]:
        difference = target - prediction
        axes = tuple(axis for axis in range(target.ndim) if axis != 1)
        found = []
        for x in (target, difference):
            mean = xp.mean(x, axis=axes, keepdims=True)
            squares = xp.sum((x - mean) ** 2, axis=axes)
            found += [xp.reshape(mean, (-1,)), xp.reshape(squares, (-1,))]
        return found

    def _add(self, count: int, sums: Sequence[np.ndarray]) -> None:
        if not self._sums:
            self._sums = list(sums)
            return
        if self._sums[0].shape != sums[0].shape:
            raise ValueError(
                f"{type(self).__name__}: this batch has {len(sums[0])} columns, the ones before "
                f"had {len(self._sums[0])}; call reset() first"
            )
        # Chan, Golub and LeVeque (1983): squares around the mean, of two sets put together.
        before, total = self._count, self._count + count
        with np.errstate(over="ignore", invalid="ignore"):
            for at in (0, 2):
                gap = sums[at] - self._sums[at]
                self._sums[at] = self._sums[at] + gap * (count / total)
                squares = self._sums[at + 1] + sums[at + 1]
                self._sums[at + 1] = squares + gap**2 * (before * count / total)

    def _unexplained(self) -> np.ndarray:
        """Return the squares that the predictions leave, for each column."""
        _, _, mean, squares = self._sums
        return squares + self._count * mean**2

    def result(self) -> Any:
        """Return the value over all batches since :meth:`reset`; NaN if there was none."""
        self._settle()
        if not self._sums or self._count < 2:
            columns = len(self._sums[0]) if self._sums else 0
            return math.nan if self.gives_one_number else np.full(columns, math.nan)
        spread, left = self._sums[1], self._unexplained()
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            values = 1.0 - left / spread
        values[spread == 0.0] = np.where(left == 0.0, 1.0, left * 0.0)[spread == 0.0]
        if self.multioutput == "raw_values":
            return values
        weighted = self.multioutput == "variance_weighted" and spread.any()
        return float(np.average(values, weights=spread if weighted else None))


class ExplainedVariance(R2):
    """Share of the targets' variance that is explained; settings and shapes as for :class:`R2`.

    ``1 - variance(t - p) / variance(t)``: other than in :class:`R2`, an error that is the same
    everywhere does not count.

    Examples
    --------
    >>> import numpy as np
    >>> metric = ExplainedVariance()
    >>> metric.update(np.array([[11.0], [12.0], [13.0]]), np.array([[1.0], [2.0], [3.0]]))
    >>> metric.result()
    1.0
    """

    name = "explained_variance"

    def _unexplained(self) -> np.ndarray:
        return self._sums[3]


def _check_shapes(
    who: str, prediction: tuple[int, ...], target: tuple[int, ...], *, but_batch: bool = False
) -> None:
    """Raise unless there is a target for each prediction; the batch axis may be left out of it."""
    if but_batch:
        prediction, target = (1, *prediction[1:]), (1, *target[1:])
    one_column = math.prod(prediction[1:]) == math.prod(target[1:]) == 1
    if prediction == target or (one_column and prediction[:1] == target[:1]):
        return
    raise ValueError(
        f"{who}: compares number by number, and targets of shape {target} do not fit predictions "
        f"of shape {prediction}; expected one shape, (N, ...)"
    )
