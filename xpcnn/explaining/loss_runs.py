"""Running a loss that is to be explained, on a copy in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.explaining.parts import Numbers
from xpcnn.explaining.running import WHO
from xpcnn.losses.loss import Loss


@dataclass(frozen=True)
class LossRun:
    """A loss after its forward and backward.

    Attributes
    ----------
    who : str
        Name of the class.
    terms : numpy.ndarray
        What is added up.
    divisor : float
        What the sum is divided by; 1 for ``reduction="sum"``.
    settings : mapping
        The arguments of the loss.
    labels : bool
        Whether the targets are labels of classes rather than numbers of the shape of `p`.
    """

    who: str
    p: Numbers
    target: Numbers
    terms: np.ndarray
    value: float
    gradient: np.ndarray
    divisor: float
    settings: Mapping[str, Any]
    labels: bool

    @property
    def is_mean(self) -> bool:
        """Whether the sum is divided."""
        return self.settings.get("reduction", "mean") == "mean"


def run_loss(loss: Loss, prediction: np.ndarray, target: Any) -> LossRun:
    """Run copies of a loss in float64."""
    who, settings = type(loss).__name__, loss.arguments()
    if settings["reduction"] == "none":
        raise ValueError(
            f"{WHO}: {who}(reduction='none') has no one number to explain; give one with "
            "reduction='mean' or 'sum'"
        )
    given = _target(target)
    by_classes = "ignore_index" in settings
    axes = tuple(range(prediction.ndim))
    if by_classes and prediction.ndim == 1:  # one sample
        prediction, axes = prediction[None], (0, 1)
        given = given[None] if given.shape != (1,) else given
    elif not prediction.ndim:  # one number
        prediction, given = prediction.reshape(1), given.reshape(1) if given.size == 1 else given
    own = type(loss).from_arguments(settings)
    prepared = own.prepare_target(prediction.shape, given, "float64")
    if by_classes:
        own.check_something_counts(prepared)
    value = float(own.forward(prediction, prepared))
    gradient = np.asarray(own.backward())
    each = type(loss).from_arguments({**settings, "reduction": "none"})
    terms = np.asarray(each.forward(prediction, prepared))
    labels = given.ndim < prediction.ndim
    divisor = 1.0
    if settings["reduction"] == "mean":
        divisor = _counted(settings, given) if by_classes and labels else float(terms.size)
    p, t = Numbers("p", prediction, axes), Numbers("t", given, tuple(range(given.ndim)))
    return LossRun(who, p, t, terms, value, gradient, divisor, settings, labels)


def run_course_loss(loss: Any, prediction: np.ndarray, target: Any) -> LossRun:
    """Run a copy of a course's mean of squares."""
    given = _target(target)
    own = type(loss)()
    value = float(own.forward(prediction, given))
    gradient = np.asarray(own.backward())
    t = np.asarray(own.t, dtype="float64")
    axes = tuple(range(prediction.ndim))
    terms = 0.5 * (prediction - t) ** 2
    p, answers = Numbers("p", prediction, axes), Numbers("t", t, axes)
    divisor = float(len(prediction))
    return LossRun(type(loss).__name__, p, answers, terms, value, gradient, divisor, {}, False)


def _counted(settings: Mapping[str, Any], labels: np.ndarray) -> float:
    """Return the number of labels that count, or the sum of the weights of their classes."""
    kept = labels[labels != settings["ignore_index"]].astype(int)
    weight = settings["weight"]
    return float(kept.size if weight is None else np.asarray(weight)[kept].sum())


def _target(target: Any) -> np.ndarray:
    if target is None:
        raise TypeError(
            f"{WHO}: a loss needs target=, the right answers, beside the predictions; got none"
        )
    if isinstance(target, (str, bytes)) or callable(target):
        raise TypeError(f"{WHO}: target must hold numbers, got {target!r}")
    return np.asarray(_xp.to_numpy(target))
