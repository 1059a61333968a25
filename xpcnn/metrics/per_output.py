"""Metrics of a network with several outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xpcnn.metrics.metric import Metric

if TYPE_CHECKING:
    from xpcnn.losses.loss import Loss


class OutputMetric(Metric):
    """A metric of one output; :meth:`xpcnn.Model.compile` makes it of ``metrics={"output": ...}``.

    Parameters
    ----------
    metric : Metric
    output : str
        Name of the output, which stands in front of the metric's own name in training logs.
    position : int
        Which of the outputs it is.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> metric = xpcnn.metrics.OutputMetric(xpcnn.metrics.MAE(), "age", 1)
    >>> outputs = np.array([1.0]), np.array([40.0])
    >>> metric.update(outputs, (np.array([0.0]), np.array([38.0])))
    >>> metric.name, metric.result()
    ('age_mae', 2.0)
    """

    def __init__(self, metric: Metric, output: str, position: int) -> None:
        self.metric = metric
        self.output = str(output)
        self.position = int(position)
        self.name = f"{self.output}_{metric.name}"

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Whether more is better, as the metric says."""
        return self.metric.higher_is_better

    def bind(self, loss: Loss | None) -> None:
        """Learn from the loss of this output what its predictions are."""
        self.metric.bind(None if loss is None else loss.of_output(self.position))

    @property
    def gives_one_number(self) -> bool:  # type: ignore[override]
        """As the metric says."""
        return self.metric.gives_one_number

    def update(self, prediction: Any, target: Any) -> None:
        """Take in a batch: tuples of all outputs and of all targets.

        Where there is one target for all outputs, that of a loss of several, the metric gets it.
        """
        self.metric.update(prediction[self.position], self._own(target))

    def check_targets(self, target: Any, output_shape: Sequence[Any]) -> None:
        """Raise if the targets of this output cannot be measured."""
        self.metric.check_targets(self._own(target), output_shape[self.position])

    def _own(self, target: Any) -> Any:
        return target[self.position] if isinstance(target, tuple) else target

    def result(self) -> Any:
        """Return the value over all batches since :meth:`reset`."""
        return self.metric.result()

    def reset(self) -> None:
        """Forget all batches."""
        self.metric.reset()
