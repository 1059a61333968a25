"""Optimizers, and schedules of their learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn import _registry
from xpcnn._registry import to_config
from xpcnn.optim.adaptive import Adadelta, Adagrad, Adam, Adamax, AdamW, RMSprop
from xpcnn.optim.composed import (
    SWALR,
    ConstantLR,
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LinearLR,
    PolynomialLR,
    SequentialLR,
)
from xpcnn.optim.optimizer import Optimizer
from xpcnn.optim.plateau import ReduceLROnPlateau
from xpcnn.optim.schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    MultiStepLR,
    OneCycleLR,
    Schedule,
    StepLR,
    Warmup,
)
from xpcnn.optim.sgd import SGD

__all__ = [
    "SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax",
    "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "OneCycleLR",
    "ReduceLROnPlateau", "Warmup", "ConstantLR", "LinearLR", "PolynomialLR",
    "CosineAnnealingWarmRestarts", "LambdaLR", "SequentialLR", "SWALR",
    "Optimizer", "Schedule", "from_config", "get", "to_config",
]  # fmt: skip

_OPTIMIZERS = {n.lower(): cls for n, cls in _registry.public(globals(), Optimizer).items()}
_CLASSES: dict[str, type[Any]] = _registry.public(globals(), Optimizer, Schedule)


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name with its defaults; an object is returned as it is.

    Raises
    ------
    ValueError
        If there is no optimizer of that name.

    Examples
    --------
    >>> from xpcnn import optim
    >>> optim.get("adam")
    Adam()
    """
    return _registry.get(optimizer, Optimizer, _OPTIMIZERS, "optimizer")


def from_config(description: Any, custom: Mapping[str, Any] | None = None) -> Any:
    """Make the optimizer or schedule that :func:`to_config` described.

    Parameters
    ----------
    description : mapping
    custom : mapping of str to class or function, optional
        Those of your own that it names.

    Raises
    ------
    ValueError
        If the class is none of this module or of these, or its arguments do not fit.

    Examples
    --------
    >>> from xpcnn import optim
    >>> optim.from_config({"class": "StepLR", "config": {"step_size": 30}})
    StepLR(step_size=30)
    """
    bases = (Optimizer, Schedule)
    return _registry.from_config(description, _CLASSES, "optimizer or schedule", custom, bases)
