"""Losses: each gives a number to minimise and its gradient, and checks targets beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn import _registry
from xpcnn._registry import to_config
from xpcnn.losses.binary import BCELoss, BCEWithLogitsLoss, MultiLabelSoftMarginLoss
from xpcnn.losses.classification import CrossEntropyLoss, NLLLoss
from xpcnn.losses.focal import FocalLoss
from xpcnn.losses.likelihood import GaussianNLLLoss, KLDivLoss, PoissonNLLLoss
from xpcnn.losses.loss import Loss
from xpcnn.losses.margin import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiMarginLoss,
    SoftMarginLoss,
    TripletMarginLoss,
)
from xpcnn.losses.overlap import DiceLoss, JaccardLoss, TverskyLoss
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.losses.plain import FunctionLoss
from xpcnn.losses.regression import HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from xpcnn.losses.sequence import CTCLoss

# The usual ones first: messages list the names in this order.
__all__ = [
    "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "HuberLoss", "BCEWithLogitsLoss", "BCELoss",
    "SmoothL1Loss", "KLDivLoss", "PoissonNLLLoss", "GaussianNLLLoss", "MultiMarginLoss",
    "SoftMarginLoss", "HingeEmbeddingLoss", "CosineEmbeddingLoss", "MarginRankingLoss",
    "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "TripletMarginLoss",
    "DiceLoss", "JaccardLoss", "TverskyLoss", "FocalLoss", "CTCLoss",
    "Loss", "LossPerOutput", "FunctionLoss", "from_config", "get", "to_config",
]  # fmt: skip

_CLASSES = _registry.public(globals(), Loss)
_NAMES = {
    _registry.snake_case(name.removesuffix("Loss")): cls
    for name, cls in _CLASSES.items()
    if cls not in (LossPerOutput, FunctionLoss)
}


def is_function(loss: Any) -> bool:
    """Tell whether a loss is given as a function, or a pair of function and gradient."""
    if isinstance(loss, tuple) and len(loss) == 2:
        return all(map(is_function, loss)) and not any(isinstance(one, tuple) for one in loss)
    return callable(loss) and not isinstance(loss, (type, Loss))


def get(loss: Any) -> Loss:
    """Return the loss of that name with its defaults; an object is returned as it is.

    A function, or a pair of a function and its gradient, makes a :class:`FunctionLoss`.

    Raises
    ------
    ValueError
        If there is no loss of that name.

    Examples
    --------
    >>> from xpcnn import losses
    >>> losses.get("cross_entropy")
    CrossEntropyLoss()
    """
    if is_function(loss):
        return FunctionLoss(*loss) if isinstance(loss, tuple) else FunctionLoss(loss)
    return _registry.get(loss, Loss, _NAMES, "loss")


def from_config(description: Any, custom: Mapping[str, Any] | None = None) -> Loss:
    """Make the loss that :func:`to_config` described.

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
    >>> from xpcnn import losses
    >>> losses.from_config({"class": "HuberLoss", "config": {"delta": 2.0}})
    HuberLoss(delta=2.0)
    """
    return _registry.from_config(description, _CLASSES, "loss", custom, (Loss,))
