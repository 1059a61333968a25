"""Metrics from plain functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpcnn import _xp
from xpcnn._registry import function_name
from xpcnn._xp import Array
from xpcnn.metrics.metric import Metric


class FunctionMetric(Metric):
    """The mean of what a function returns for samples.

    :meth:`xpcnn.Model.compile` makes it of a function among ``metrics``. What is no mean over
    samples, such as a ratio of counts, needs a :class:`Metric` of its own.

    Parameters
    ----------
    function : callable
        Takes predictions and targets of a batch, arrays on the model's device, and returns one
        number, the mean of the batch, or one for each sample.
    name : str, optional
        Key in training logs; the function's name if left out.
    higher_is_better : bool, optional
        What callbacks and schedules go by; the function's attribute of that name if left out, or
        unknown.

    Raises
    ------
    TypeError
        If it is no function.

    Examples
    --------
    >>> import numpy as np
    >>> def error(prediction, target):
    ...     return abs(prediction - target).mean()
    >>> metric = FunctionMetric(error)
    >>> metric.update(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0]))
    >>> metric.update(np.array([10.0]), np.array([0.0]))
    >>> metric.name, metric.result()  # (1 + 2 + 3 + 10) / 4
    ('error', 4.0)
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        name: str | None = None,
        higher_is_better: bool | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"FunctionMetric: expected a function, got {function!r}")
        self.function = function
        self.name = function_name(function).strip("<>") if name is None else str(name)
        if higher_is_better is None:
            higher_is_better = getattr(function, "higher_is_better", None)
        self.higher_is_better = higher_is_better
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._total = 0.0
        self._count = 0
        self._waiting: list[tuple[Array, int]] = []

    def update(self, prediction: Array, target: Array) -> None:
        """Take in a batch; nothing waits for the device."""
        count = int(prediction.shape[0])
        value = self.function(prediction, target)
        shape = tuple(getattr(value, "shape", ()))
        if shape == ():
            self._waiting.append((value, count))
        elif shape == (count,):
            xp = _xp.namespace(value)
            self._waiting.append((xp.mean(value), count))
        else:
            raise ValueError(
                f"metric {self.name!r}: the function must return one number, or one for each of "
                f"the {count} samples; it returned an array of shape {shape}"
            )
        if (shape == () and not hasattr(value, "shape")) or _xp.on_host(value):
            self._settle()

    def _settle(self) -> None:
        """Read what waits on the device."""
        for value, count in self._waiting:
            self._total += float(value) * count
            self._count += count
        self._waiting = []

    def result(self) -> float:
        """Return the mean over all samples since :meth:`reset`; NaN if there was none."""
        self._settle()
        return self._total / self._count if self._count else math.nan
