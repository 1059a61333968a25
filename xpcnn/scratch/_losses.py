"""The courses' losses of outputs y and targets t, as functions and as last layers."""

from __future__ import annotations

from typing import Any

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.scratch._shared import CourseClass, as_array, as_floats, one_hot_targets


def _rows(y: Array, t: Any, who: str) -> tuple[Array, Array]:
    """Return outputs and targets as rows (N, K); a single sample may come without a batch axis."""
    (y,) = as_floats(who, y)
    t = as_array(t)
    if y.ndim == 1:
        y = _xp.namespace(y).reshape(y, (1, -1))
        t = _xp.namespace(t).reshape(t, (1, -1))
    return y, one_hot_targets(y, t, who)


def cross_entropy_error(y: Array, t: Any) -> Any:
    """Return the mean over the batch of ``-sum(t * log(y + 1e-7))``.

    Parameters
    ----------
    y : array of shape (N, K) or (K,)
        Probabilities.
    t : array
        Integer labels (N,), or rows of the shape of `y`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a label is not one of 0 to K - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import cross_entropy_error
    >>> y = np.array([[0.5, 0.5], [0.25, 0.75]])
    >>> float(cross_entropy_error(y, np.array([0, 1])).round(4))
    0.4904
    """
    y, t = _rows(y, t, "cross_entropy_error")
    xp = _xp.namespace(y)
    return -xp.sum(t * xp.log(y + 1e-7), dtype=y.dtype) / y.shape[0]


def mean_squared_error(y: Array, t: Any) -> Any:
    """Return half the sum of squared differences, divided by the size of the batch.

    Parameters
    ----------
    y : array of shape (N, K) or (K,)
    t : array
        Integer labels (N,), or rows of the shape of `y`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import mean_squared_error
    >>> float(mean_squared_error(np.array([[3.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2))))  # 9 / 2 / 2
    2.25
    """
    y, t = _rows(y, t, "mean_squared_error")
    return 0.5 * _xp.namespace(y).sum((y - t) ** 2, dtype=y.dtype) / y.shape[0]


def sum_squared_error(y: Array, t: Any) -> Any:
    """Return half the sum of squared differences of two arrays of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import sum_squared_error
    >>> float(sum_squared_error(np.array([1.0, 2.0]), np.array([0.0, 0.0])))  # (1 + 4) / 2
    2.5
    """
    who = "sum_squared_error"
    y, t = as_floats(who, y, t)
    if tuple(y.shape) != tuple(t.shape):
        raise ValueError(
            f"{who}: expected arrays of the same shape, got {tuple(y.shape)} and {tuple(t.shape)}"
        )
    return 0.5 * _xp.namespace(y).sum((y - t) ** 2, dtype=y.dtype)


class LastLayer(CourseClass):
    """A loss whose gradient is that of a mean: ``(y - t) / N``."""

    def __init__(self) -> None:
        self.loss: Any = None
        self.y: Array = None
        self.t: Array = None

    def backward(self, dout: float = 1) -> Array:
        if self.y is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: there was no forward before it; call "
                "forward(x, t) first"
            )
        return (self.y - self.t) * (dout / self.y.shape[0])


class SoftmaxWithLoss(LastLayer):
    """Softmax followed by the mean cross-entropy.

    ``forward(x, t)`` takes scores (N, K) and targets, either integer labels (N,) or one-hot rows
    (N, K), and returns the loss; ``backward(dout=1)`` returns ``dout * (y - t) / N``.

    Attributes
    ----------
    loss : number
    y : array of shape (N, K)
        Output of the softmax.
    t : array of shape (N, K)
        Targets as rows.

    Notes
    -----
    The loss is taken from the logarithm of the softmax, so it is right for the smallest
    probabilities too, which the courses cut off at 1e-7.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import SoftmaxWithLoss
    >>> last = SoftmaxWithLoss()
    >>> loss = last.forward(np.zeros((1, 2)), np.array([1]))
    >>> f"{loss:.4f}"  # -log(1 / 2)
    '0.6931'
    >>> last.backward()
    array([[ 0.5, -0.5]])
    """

    def forward(self, x: Array, t: Any) -> Any:
        who = type(self).__name__
        (x,) = as_floats(who, x)
        xp = _xp.namespace(x)
        if x.ndim != 2:
            raise rank_error(who, 2, "(N, K)", x.shape)
        log_y, _ = F.run("log_softmax", x, 1, who=who)
        self.t = one_hot_targets(x, t, who)
        self.y = xp.exp(log_y)
        self.loss = -xp.sum(self.t * log_y, dtype=x.dtype) / x.shape[0]
        return self.loss


class MeanSquaredLoss(LastLayer):
    """Half the sum of squared differences, divided by the size of the batch.

    ``forward(x, t)`` takes outputs (N, K) and targets, either rows (N, K) or integer labels (N,)
    for which one-hot rows are meant, and returns the loss; ``backward(dout=1)`` returns
    ``dout * (x - t) / N``.

    Attributes
    ----------
    loss : number
    y, t : array of shape (N, K)
        Outputs and targets of the last forward.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import MeanSquaredLoss
    >>> last = MeanSquaredLoss()
    >>> float(last.forward(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]])))  # 2 ** 2 / 2
    2.0
    >>> last.backward()
    array([[2., 0.]])
    """

    def forward(self, x: Array, t: Any) -> Any:
        (self.y,) = as_floats("MeanSquaredLoss", x)
        self.t = one_hot_targets(self.y, t, "MeanSquaredLoss")
        self.loss = mean_squared_error(self.y, self.t)
        return self.loss
