"""The base class of losses that take two predictions."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.loss import Loss


class PairLoss(Loss):
    """A loss of two predictions; both have a gradient.

    They come as a pair, ``loss((first, second), target)``, as a network of two outputs gives them,
    so that whoever works with a loss needs no special case. :meth:`backward` returns a pair too,
    the gradients of the first and of the second. Subclasses also take PyTorch's order of
    arguments.
    """

    predictions = 2
    inputs: str  # what the two are, for messages

    def _check(
        self, prediction: tuple[Array, Array], target: Array, sample_weight: Array | None
    ) -> ModuleType:
        if not isinstance(prediction, (tuple, list)) or len(prediction) != 2:
            raise TypeError(
                f"{type(self).__name__}: expected a pair of predictions, {self.inputs}, got "
                f"{type(prediction).__name__}; call it as loss((first, second), target)"
            )
        first, second = prediction
        xp = super()._check(first, target, sample_weight)
        who = type(self).__name__
        _xp.namespace(first, second, who=who)
        if first.dtype != second.dtype or not _xp.same_device(first, second):
            raise TypeError(
                f"{who}: the two predictions must be alike, got {_xp.describe(first)} and "
                f"{_xp.describe(second)}; convert or move one of them"
            )
        return xp

    def backward(self, dy: Array | None = None) -> tuple[Array, Array]:
        """Compute the gradients with respect to the two predictions of the last forward.

        Parameters
        ----------
        dy : array, optional
            Gradient with respect to the loss, of its shape; 1 (or ones) without it.

        Returns
        -------
        (array, array)

        Raises
        ------
        RuntimeError
            If there was no forward.
        """
        first, second = super().backward(dy)
        return first, second

    def prepare_target(
        self, output_shape: Sequence[Any], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check targets on the host; `output_shape` is the pair of the predictions' shapes."""
        shapes = tuple(output_shape)
        if len(shapes) != 2 or not all(isinstance(shape, (tuple, list)) for shape in shapes):
            raise ValueError(
                f"{type(self).__name__}: takes two predictions, {self.inputs}, and this network "
                f"has one output of shape {shapes}; call the loss yourself, as "
                "loss((first, second), target)"
            )
        return self._prepare(tuple(shapes[0]), target, dtype)

    def _prepare(self, shape: tuple[int, ...], target: np.ndarray, dtype: str) -> np.ndarray:
        return super().prepare_target(shape, target, dtype)
