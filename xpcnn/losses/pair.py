"""The base class of losses that take two predictions or more."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.loss import Loss


class PairLoss(Loss):
    """A loss of two predictions, or of `predictions` of them; all have a gradient.

    They come as a pair, ``loss((first, second), target)``, as a network of two outputs gives them,
    so that whoever works with a loss needs no special case. :meth:`backward` returns a pair too,
    the gradients of the first and of the second. Subclasses also take PyTorch's order of
    arguments.
    """

    predictions = 2
    inputs: str  # what the predictions are, for messages
    call = "loss((first, second), target)"
    target_axes: int | None = None  # how many axes of a prediction targets have; all with None

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the number of samples; `output_shape` holds the shapes of the predictions."""
        return tuple(output_shape[0][:1])

    def _check(
        self, prediction: tuple[Array, Array], target: Array, sample_weight: Array | None
    ) -> ModuleType:
        who = type(self).__name__
        if not isinstance(prediction, (tuple, list)) or len(prediction) != self.predictions:
            many = "a pair" if self.predictions == 2 else f"{self.predictions}"
            raise TypeError(
                f"{who}: expected {many} of predictions, {self.inputs}, got "
                f"{type(prediction).__name__}; call it as {self.call}"
            )
        first, *others = prediction
        xp = super()._check(first, target, sample_weight)
        for other in others:
            _xp.namespace(first, other, who=who)
            if first.dtype != other.dtype or not _xp.same_device(first, other):
                raise TypeError(
                    f"{who}: the predictions must be alike, got {_xp.describe(first)} and "
                    f"{_xp.describe(other)}; convert or move one of them"
                )
        return xp

    def backward(self, dy: Array | None = None) -> tuple[Array, ...]:
        """Compute the gradients with respect to the predictions of the last forward.

        Parameters
        ----------
        dy : array, optional
            Gradient with respect to the loss, of its shape; 1 (or ones) without it.

        Returns
        -------
        tuple of array
            One for each prediction.

        Raises
        ------
        RuntimeError
            If there was no forward.
        """
        return tuple(super().backward(dy))

    def prepare_target(
        self, output_shape: Sequence[Any], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check targets on the host; `output_shape` holds the shapes of the predictions."""
        shapes = tuple(output_shape)
        several = all(isinstance(shape, (tuple, list)) for shape in shapes)
        if len(shapes) != self.predictions or not several:
            raise ValueError(
                f"{type(self).__name__}: takes {self.predictions} predictions, {self.inputs}, and "
                f"this network has one output of shape {shapes}; call the loss yourself, as "
                f"{self.call}"
            )
        return super().prepare_target(shapes[0][: self.target_axes], target, dtype)
