"""Functions on plain arrays that need no geometry: activations and one-hot rows."""

from __future__ import annotations

from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.ops.activation import LOG_SOFTMAX, RELU, SIGMOID, SILU, SOFTMAX, TANH


def one_hot(labels: Array, num_classes: int, dtype: Any) -> Array:
    """Turn integer labels (N, ...) into rows of zeros with a one: (N, num_classes, ...).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.one_hot(np.array([2, 0]), 3, "float64").tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    xp = _xp.namespace(labels, who="one_hot")
    classes = xp.arange(num_classes, dtype=labels.dtype, device=_xp.device_of(labels))
    classes = xp.reshape(classes, (1, -1, *(1,) * (labels.ndim - 1)))
    return xp.astype(xp.expand_dims(labels, axis=1) == classes, dtype)


def relu(x: Array) -> Array:
    """Return max(x, 0), element by element.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.relu(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return RELU(x)[0]


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), element by element.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.sigmoid(np.array([0.0, 100.0])).tolist()
    [0.5, 1.0]
    """
    return SIGMOID(x)[0]


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent, element by element.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.tanh(np.array([0.0, 100.0, -100.0])).tolist()
    [0.0, 1.0, -1.0]
    """
    return TANH(x)[0]


def silu(x: Array) -> Array:
    """Return x * sigmoid(x), element by element.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.silu(np.array([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    return SILU(x)[0]


def softmax(x: Array, axis: int = 1) -> Array:
    """Return exp(x) normalised to sum to one along `axis`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    return SOFTMAX(x, axis)[0]


def log_softmax(x: Array, axis: int = 1) -> Array:
    """Return the logarithm of :func:`softmax` without losing small probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.log_softmax(np.array([[1000.0, 0.0]])).tolist()
    [[0.0, -1000.0]]
    """
    return LOG_SOFTMAX(x, axis)[0]
