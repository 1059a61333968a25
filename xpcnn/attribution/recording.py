"""Backward in inference mode, where inputs are not kept by whoever runs layers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from xpcnn.layers.inference import watch


def recording() -> AbstractContextManager[Any]:
    """Let forwards without training keep what their backward needs, in a ``with``.

    Without it, ``layer.forward(x)`` keeps nothing, and ``layer.backward(dy)`` runs it once more, as
    long as you have kept `x`. In a loop over layers nobody keeps what goes from one to the next;
    here the layers do, as in training.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> layers = [xpcnn.Linear(4, 3), xpcnn.Dropout(0.5), xpcnn.ReLU()]
    >>> x = np.ones((2, 4))
    >>> with xpcnn.attribution.recording():
    ...     for layer in layers:
    ...         x = layer.forward(x)
    ...     for layer in reversed(layers):
    ...         x = layer.backward(x)
    >>> x.shape
    (2, 4)
    """
    return watch(keeps=True)
