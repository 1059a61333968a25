"""Functions on plain arrays that need no geometry: activations and one-hot rows."""

from __future__ import annotations

from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.ops.activation import LOG_SOFTMAX, RELU, SIGMOID, SILU, SOFTMAX, TANH


def one_hot(labels: Array, num_classes: int, dtype: Any) -> Array:
    """Turn integer labels (N, ...) into rows of zeros with a one: (N, num_classes, ...)."""
    xp = _xp.namespace(labels, who="one_hot")
    classes = xp.arange(num_classes, dtype=labels.dtype, device=_xp.device_of(labels))
    classes = xp.reshape(classes, (1, -1, *(1,) * (labels.ndim - 1)))
    return xp.astype(xp.expand_dims(labels, axis=1) == classes, dtype)


def relu(x: Array) -> Array:
    """Return max(x, 0), element by element."""
    return RELU(x)[0]


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), element by element."""
    return SIGMOID(x)[0]


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent, element by element."""
    return TANH(x)[0]


def silu(x: Array) -> Array:
    """Return x * sigmoid(x), element by element."""
    return SILU(x)[0]


def softmax(x: Array, axis: int = 1) -> Array:
    """Return exp(x) normalised to sum to one along `axis`."""
    return SOFTMAX(x, axis)[0]


def log_softmax(x: Array, axis: int = 1) -> Array:
    """Return the logarithm of :func:`softmax` without losing small probabilities."""
    return LOG_SOFTMAX(x, axis)[0]
