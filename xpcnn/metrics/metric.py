"""The base class of all metrics."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xpcnn import _xp
from xpcnn._registry import Checked
from xpcnn._xp import Array

if TYPE_CHECKING:
    from xpcnn.losses.loss import Loss


class Metric(Checked):
    """Collects batches of predictions and gives one number for all of them.

    Attributes
    ----------
    name : str
        Key in training logs.
    higher_is_better : bool or None
        What callbacks and schedules go by; ``None`` where neither is better, or nobody knows.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> class WorstError(xpcnn.metrics.Metric):
    ...     name = "worst_error"
    ...     higher_is_better = False
    ...     def __init__(self):
    ...         self._worst = 0.0
    ...     def update(self, prediction, target):
    ...         self._worst = max(self._worst, float(abs(prediction - target).max()))
    ...     def result(self):
    ...         return self._worst
    ...     def reset(self):
    ...         self._worst = 0.0
    >>> metric = WorstError()
    >>> metric.update(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    >>> metric.update(np.array([1.0]), np.array([2.0]))
    >>> metric.result()
    3.0
    """

    name = "metric"
    higher_is_better: bool | None = None
    gives_one_number: bool = True
    """Whether the result is a number, as training logs hold, and no array."""

    def bind(self, loss: Loss | None) -> None:
        """Learn from a model's loss what its predictions are.

        A model calls it whenever its loss or its metrics are chosen.
        """

    def check_targets(self, target: Any, output_shape: Sequence[Any]) -> None:
        """Raise if the targets are of a kind that the metric cannot measure.

        A model calls it before the first step.

        Parameters
        ----------
        target : numpy.ndarray
            All of them, as the loss prepared them; a tuple where each output has some.
        output_shape : tuple of int
            Of the network; a tuple of shapes where there are several outputs.

        Raises
        ------
        ValueError
            If they cannot be measured.
        """

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement update")

    def result(self) -> Any:
        """Return the value over all batches since :meth:`reset`; NaN if there was none."""
        raise NotImplementedError(f"{type(self).__name__} does not implement result")

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__} does not implement reset")

    def _called(self, name: str | None) -> str | None:
        """Take on a name of one's own, if there is one, and return it."""
        if name is not None and (not isinstance(name, str) or not name):
            raise TypeError(
                f"{type(self).__name__}: name must be a str, the key in training logs, got {name!r}"
            )
        if name is not None:
            self.name = name
        return name

    def _once(self, prediction: Array, target: Array) -> Any:
        self.update(prediction, target)
        return self.result()


def common_namespace(prediction: Array, target: Array, who: str) -> ModuleType:
    """Return the library of prediction and target, which lie on one device."""
    xp = _xp.namespace(prediction, target, who=who)
    for what, array in (("predictions", prediction), ("targets", target)):
        dtype = _xp.dtype_name(array)
        if "complex" in dtype or not any(kind in dtype for kind in ("float", "int", "bool")):
            raise TypeError(
                f"{who}: {what} must be real numbers, got dtype {dtype}; turn class names into "
                "labels first, e.g. names, labels = numpy.unique(y, return_inverse=True)"
            )
        if array.ndim == 0:
            raise ValueError(
                f"{who}: expected {what} with a batch axis, (N, ...), got one number of shape ()"
            )
    if not _xp.same_device(prediction, target):
        raise TypeError(
            f"{who}: the prediction is {_xp.describe(prediction)}, but the target is "
            f"{_xp.describe(target)}; move one of them"
        )
    return xp
