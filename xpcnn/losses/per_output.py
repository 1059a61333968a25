"""The loss of a network with several outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpcnn._xp import Array
from xpcnn.losses.loss import Loss
from xpcnn.losses.running import LossPart
from xpcnn.window import is_sequence


class LossPerOutput(Loss):
    """The weighted sum of one loss for each output of a network.

    :meth:`xpcnn.Model.compile` makes it of ``loss={"output": loss, ...}``.

    Parameters
    ----------
    losses : sequence of Loss
        One for each output, in order.
    weights : sequence of float, optional
        What each loss is multiplied by; 1 if left out.

    Raises
    ------
    ValueError
        If the numbers of losses and weights differ, a weight is not finite, or a loss is not
        reduced to one number.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.losses.LossPerOutput([xpcnn.L1Loss(), xpcnn.MSELoss()], weights=[1.0, 10.0])
    >>> predictions = np.array([1.0]), np.array([2.0])
    >>> float(loss(predictions, (np.array([0.0]), np.array([0.0]))))  # 1 + 10 * 4
    41.0
    """

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not is_sequence(losses) or not all(isinstance(loss, Loss) for loss in losses):
            raise TypeError(f"LossPerOutput: losses must be a list of losses, got {losses!r:.200}")
        self.losses = list(losses)
        self.predictions = len(self.losses)
        self.weights = [1.0] * len(self.losses) if weights is None else [float(w) for w in weights]
        if len(self.weights) != len(self.losses) or not all(map(math.isfinite, self.weights)):
            raise ValueError(
                f"LossPerOutput: expected a finite weight for each of {len(self.losses)} losses, "
                f"got {weights}"
            )
        for loss in self.losses:
            if loss.reduction == "none" or loss.predictions != 1:
                raise ValueError(
                    f"LossPerOutput: each loss takes one output and gives one number, and {loss!r} "
                    "does not"
                )

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"losses": self.losses, "weights": self.weights}

    def forward(
        self,
        prediction: Sequence[Array],
        target: Sequence[Array],
        *,
        sample_weight: Any = None,
    ) -> Array:
        """Return the weighted sum of the losses of the outputs.

        Weights of samples are one array, or a tuple with one, or ``None``, for each output.
        """
        total: Any = None
        parts: list[LossPart] = []
        if not isinstance(sample_weight, tuple):
            sample_weight = (sample_weight,) * len(self.losses)
        for loss, weight, output, wanted, of_samples in zip(
            self.losses, self.weights, prediction, target, sample_weight, strict=True
        ):
            value = loss.forward(output, wanted, sample_weight=of_samples)
            for part in loss.parts(value, output.shape[0]):
                parts.append(part._replace(weight=part.weight * weight))
            total = value * weight if total is None else total + value * weight
        self._parts = (total, tuple(parts))
        return total

    def of_output(self, position: int) -> Loss:
        """Return the loss of one output."""
        return self.losses[position]

    def backward(self, dy: Array | None = None) -> tuple[Array, ...]:
        """Return the gradients of all outputs."""
        gradients = []
        for loss, weight in zip(self.losses, self.weights, strict=True):
            gradient = loss.backward() * weight
            gradients.append(gradient if dy is None else gradient * dy)
        return tuple(gradients)

    def prepare_target(self, output_shape: Sequence[Any], target: Any, dtype: str) -> Any:
        """Check the targets of all outputs; see :meth:`Loss.prepare_target`."""
        return tuple(
            loss.prepare_target(shape, wanted, dtype)
            for loss, shape, wanted in zip(self.losses, output_shape, target, strict=True)
        )

    def check_something_counts(self, target: Any) -> None:
        """Raise if of the targets of an output nothing counts."""
        for loss, wanted in zip(self.losses, target, strict=True):
            loss.check_something_counts(wanted)
