"""The loss of a classifier as a step of a network."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn import functional as F
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation

REDUCTIONS = ("mean", "sum", "none")


class NegativeLogLikelihood(Operation):
    """Minus the log-probability of each target, times the weight of its class.

    Inputs are log-probabilities (N, C, ...), targets (N, ...) of whole numbers, and weights (C,),
    which may be left out.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum of the weights of the targets.
    ignore_index : int, optional
        A target that counts nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import NegativeLogLikelihood
    >>> log_probabilities = np.array([[-1.0, -2.0], [-3.0, -0.5]])
    >>> labels = np.array([0, 0])
    >>> float(NegativeLogLikelihood()(log_probabilities, labels))  # (1 + 3) / 2
    2.0
    >>> NegativeLogLikelihood("none")(log_probabilities, labels).tolist()
    [1.0, 3.0]
    """

    def __init__(self, reduction: str = "mean", ignore_index: int | None = None) -> None:
        if reduction not in REDUCTIONS:
            raise choice_error("NegativeLogLikelihood", "reduction", reduction, REDUCTIONS)
        self.reduction = reduction
        self.ignore_index = None if ignore_index is None else int(ignore_index)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the targets' shape, or that of a single number."""
        return (tuple(input_shapes[1] or ()) if self.reduction == "none" else (),)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x, target = inputs[:2]
        weight = inputs[2] if len(inputs) > 2 else None
        if x.ndim < 2 or tuple(target.shape) != (x.shape[0], *x.shape[2:]):
            raise ValueError(
                f"{self.who}: expected targets of shape {(x.shape[0], *x.shape[2:])} for an input "
                f"of shape {tuple(x.shape)}, got {tuple(target.shape)}"
            )
        chosen = F.one_hot(target, x.shape[1], x.dtype)
        if weight is not None:
            chosen = chosen * xp.reshape(weight, (1, -1) + (1,) * (x.ndim - 2))
        if self.ignore_index is not None:
            counts = xp.expand_dims(target != self.ignore_index, axis=1)
            chosen = xp.where(counts, chosen, xp.zeros_like(chosen))
        # an infinite log-probability of another class is not to count
        terms = xp.where(chosen == 0, xp.zeros_like(x), -x * chosen)
        loss = xp.sum(terms, axis=1, dtype=x.dtype)
        scale: Any = 1.0
        if self.reduction != "none":
            loss = xp.sum(loss, dtype=x.dtype)
        if self.reduction == "mean":
            scale = 1.0 / xp.sum(chosen, dtype=x.dtype)
        return (loss * scale,), (chosen, scale)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        chosen, scale = saved
        dy = dys[0] * scale
        if self.reduction == "none":
            dy = xp.expand_dims(dy, axis=1)
        return (-chosen * dy,)
