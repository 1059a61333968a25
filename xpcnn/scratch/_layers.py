"""The courses' layers, thin over :mod:`xpcnn.functional`.

Each has ``forward(x)`` and ``backward(dout)``; a layer with weights holds them as ``W`` and ``b``
and leaves their gradients in ``dW`` and ``db``. No layer changes an array it is given.

What the courses' classes keep between forward and backward (``x``, ``col``, ``arg_max``, ``mask``,
...) can be read here too. Most of it is made when it is read, since this library's operations do
without; before the first forward it is None.
"""

from __future__ import annotations

import math
from math import prod
from operator import attrgetter
from typing import Any

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.scratch._shared import (
    LAYOUTS,
    CourseClass,
    as_array,
    as_floats,
    as_number,
    channels_last,
    one_hot_targets,
    sliding_window,
    window_rows,
)
from xpcnn.window import Ints, Window


class ScratchLayer(CourseClass):
    """Remembers the last forward, and checks the gradient that comes back."""

    x: Array = None
    """Input of the last forward."""
    _kept: Any = None
    _output: Array = None

    @property
    def who(self) -> str:
        return type(self).__name__

    def _keep(self, y: Array, kept: Any) -> Array:
        """Remember what backward needs, and return `y`."""
        self._output, self._kept = y, kept
        return y

    def _recall(self, dout: Any) -> tuple[Array, Any]:
        """Return the gradient in the output's dtype, and what forward kept."""
        who = f"{self.who}.backward"
        y = self._output
        if y is None:
            raise RuntimeError(f"{who}: there was no forward before it; call forward(x) first")
        dout = as_array(dout)
        xp = _xp.namespace(y, dout, who=who)
        if tuple(dout.shape) != tuple(y.shape):
            raise ValueError(
                f"{who}: expected a gradient of the output's shape {tuple(y.shape)}, "
                f"got {tuple(dout.shape)}"
            )
        return (dout if dout.dtype == y.dtype else xp.astype(dout, y.dtype)), self._kept


class Activation(ScratchLayer):
    """Runs one of the library's element-wise operations."""

    op: str
    options: tuple[Any, ...] = ()

    a = property(attrgetter("x"), doc="Input of the last forward.")
    Z = property(attrgetter("_output"), doc="Output of the last forward.")

    def forward(self, x: Array) -> Array:
        (self.x,) = as_floats(self.who, x)
        return self._keep(*F.run(self.op, self.x, *self.options, who=self.who))

    def backward(self, dout: Array) -> Array:
        dout, saved = self._recall(dout)
        return F.run_backward(dout, saved)


class Rectifier(Activation):
    """Knows where it cuts off."""

    @property
    def mask(self) -> Array:
        """Where the last input was not positive."""
        return None if self.x is None else self.x <= 0


class ReLU(Rectifier):
    """``max(x, 0)``, element by element; `forward(x)`, `backward(dout)`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import ReLU
    >>> relu = ReLU()
    >>> relu.forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    >>> relu.backward(np.array([5.0, 7.0]))
    array([0., 7.])
    """

    op = "relu"


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``, element by element; `forward(x)`, `backward(dout)`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Sigmoid
    >>> sigmoid = Sigmoid()
    >>> sigmoid.forward(np.array([0.0]))
    array([0.5])
    >>> sigmoid.backward(np.array([1.0]))  # y * (1 - y)
    array([0.25])
    """

    op = "sigmoid"


class Tanh(Activation):
    """Hyperbolic tangent, element by element; `forward(x)`, `backward(dout)`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Tanh
    >>> tanh = Tanh()
    >>> tanh.forward(np.array([0.0]))
    array([0.])
    >>> tanh.backward(np.array([2.0]))  # dout * (1 - y * y)
    array([2.])
    """

    op = "tanh"


class LeakyReLU(Rectifier):
    """``x`` where positive, else ``alpha * x``; `forward(x)`, `backward(dout)`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import LeakyReLU
    >>> layer = LeakyReLU(alpha=0.1)
    >>> layer.forward(np.array([-10.0, 10.0]))
    array([-1., 10.])
    >>> layer.backward(np.array([10.0, 10.0]))
    array([ 1., 10.])
    """

    op = "leaky_relu"

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = as_number(alpha, "LeakyReLU", "alpha", -math.inf)

    @property
    def options(self) -> tuple[Any, ...]:  # type: ignore[override]
        return (self.alpha,)


class Weighted(ScratchLayer):
    """A layer of weights W and a bias b, with their gradients."""

    def __init__(self, W: Array, b: Array) -> None:
        self.W = W
        self.b = b
        self.dW: Array = None
        self.db: Array = None


class WindowLayer(ScratchLayer):
    """A layer of windows; `_columns` says what lay under them in the last forward."""

    _columns: tuple[Array, Window] | None = None
    _dout: Array = None
    fill = 0.0
    """What the padding holds."""

    @property
    def col(self) -> Array:
        """Windows of the last input as rows, as the course's ``im2col`` lays them out."""
        return None if self._columns is None else window_rows(*self._columns, self.fill)


class Filters(Weighted, WindowLayer):
    """A convolution in any number of dimensions."""

    _filters: Array = None

    def __init__(self, W: Array, b: Array, stride: Any = 1, pad: Any = 0) -> None:
        super().__init__(W, b)
        self.stride = stride
        self.pad = pad

    @property
    def col_W(self) -> Array:  # noqa: N802
        """Filters of the last forward as columns: (C * taps, FN)."""
        if self._filters is None:
            return None
        w = self._filters
        return _xp.namespace(w).reshape(w, (w.shape[0], -1)).T

    @property
    def dcol(self) -> Array:
        """Gradient of `col`, after `backward`."""
        return None if self._dout is None else channels_last(self._dout) @ self.col_W.T


class Pools(WindowLayer):
    """Max pooling in any number of dimensions."""

    fill = -math.inf

    @property
    def col(self) -> Array:
        """Windows of the last input as rows, one for each channel: (N * positions * C, taps)."""
        if self._columns is None:
            return None
        rows = window_rows(*self._columns, self.fill)
        return _xp.namespace(rows).reshape(rows, (-1, self._columns[1].taps))

    @property
    def arg_max(self) -> Array:
        """Which element of each row of `col` is the largest."""
        col = self.col
        return None if col is None else _xp.namespace(col).argmax(col, axis=1)

    @property
    def dcol(self) -> Array:
        """Gradient of `col`, after `backward`: what came back, where the maximum was."""
        if self._dout is None:
            return None
        dout, where = self._dout, self.arg_max
        xp = _xp.namespace(dout)
        chosen = F.one_hot(where, self._columns[1].taps, dout.dtype)  # type: ignore[index]
        return xp.reshape(channels_last(dout), (-1, 1)) * chosen


class Convolution(Filters):
    """Two-dimensional convolution of images (N, C, H, W).

    Parameters
    ----------
    W : array of shape (FN, C, FH, FW)
        FN filters.
    b : array of shape (FN,)
    stride, pad : int or (int, int)
        `pad` zeros on every side; also ``"same"``.

    Attributes
    ----------
    dW, db : array of the shape of `W` and of `b`, or None
        Gradients, after `backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the filter does not fit into the padded image.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.simple_conv_net import Convolution
    >>> conv = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    >>> conv.forward(np.arange(9.0).reshape(1, 1, 3, 3))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """

    def forward(self, x: Array) -> Array:
        x, w, b = as_floats(self.who, x, self.W, self.b)
        if w.ndim != 4:
            raise rank_error(f"{self.who} W", 4, "(FN, C, FH, FW)", w.shape)
        if x.ndim != 4:
            raise rank_error(self.who, 4, LAYOUTS[2], x.shape)
        window = sliding_window(
            x.shape[2:], w.shape[2:], self.stride, self.pad, self.who, "filter size"
        )
        y, saved = F.conv_forward(x, w, b, window, who=self.who)
        self.x, self._columns, self._filters, self._dout = x, (x, window), w, None
        return self._keep(y, saved)

    def backward(self, dout: Array, need_dx: bool = True) -> Array:
        """Set `dW` and `db`, and return the gradient of the input (None unless `need_dx`)."""
        dout, saved = self._recall(dout)
        self._dout = dout
        dx, self.dW, self.db = F.conv_backward(dout, saved, need_dx=need_dx)
        return dx


class Pooling(Pools):
    """Max pooling of images (N, C, H, W); what is padded is minus infinity and never wins.

    Parameters
    ----------
    pool_h, pool_w : int
        Size of the window.
    stride, pad : int or (int, int)

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Pooling
    >>> layer = Pooling(2, 2, stride=2)
    >>> layer.forward(np.array([[[[1.0, 2.0], [4.0, 3.0]]]]))
    array([[[[4.]]]])
    >>> layer.backward(np.array([[[[5.0]]]]))  # goes to where the maximum was
    array([[[[0., 0.], [5., 0.]]]])
    """

    def __init__(self, pool_h: int, pool_w: int, stride: Any = 1, pad: Any = 0) -> None:
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad

    def forward(self, x: Array) -> Array:
        (x,) = as_floats(self.who, x)
        if x.ndim != 4:
            raise rank_error(self.who, 4, LAYOUTS[2], x.shape)
        y, saved, window = max_pool(x, (self.pool_h, self.pool_w), self.stride, self.pad, self.who)
        self.x, self._columns, self._dout = x, (x, window), None
        return self._keep(y, saved)

    def backward(self, dout: Array) -> Array:
        dout, saved = self._recall(dout)
        self._dout = dout
        return F.pool_backward(dout, saved)


class MaxPooling(Pooling):
    """Max pooling of images (N, C, H, W): :class:`Pooling` under another course's name.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import MaxPooling
    >>> MaxPooling(2, 2, stride=2).forward(np.array([[[[1.0, 2.0], [4.0, 3.0]]]]))
    array([[[[4.]]]])
    """


def max_pool(x: Array, kernel: Ints, stride: Any, pad: Any, who: str) -> tuple[Array, Any, Window]:
    """Pool x (N, C, *spatial); return the output, what backward needs, and the window."""
    window = sliding_window(x.shape[2:], kernel, stride, pad, who, "pool size")
    settings = (window.kernel, window.stride, window.padding, window.dilation)
    F.pool_window(tuple(x.shape[2:]), *settings, False, who)
    return *F.max_pool_forward(x, window, who=who), window


class Affine(Weighted):
    """Fully connected layer: ``x @ W + b``.

    Parameters
    ----------
    W : array of shape (D, M)
    b : array of shape (M,)

    Attributes
    ----------
    dW, db : array of the shape of `W` and of `b`, or None
        Gradients, after `backward`.

    Raises
    ------
    ValueError
        If the samples do not have D elements.

    Notes
    -----
    Input of shape (N, ...) with D elements in each sample, images included; `backward` returns
    its gradient in the same shape. A single sample (D,) gives an output (M,).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Affine
    >>> layer = Affine(np.array([[1.0], [2.0]]), np.array([3.0]))
    >>> layer.forward(np.array([[4.0, 5.0]]))  # 4 * 1 + 5 * 2 + 3
    array([[17.]])
    >>> layer.backward(np.array([[10.0]]))
    array([[10., 20.]])
    >>> layer.dW, layer.db
    (array([[40.], [50.]]), array([10.]))
    """

    original_x_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        x, w, b = as_floats(self.who, x, self.W, self.b)
        if w.ndim != 2:
            raise rank_error(f"{self.who} W", 2, "(D, M)", w.shape)
        if tuple(b.shape) != (w.shape[1],):
            raise ValueError(
                f"{self.who}: expected b of shape ({w.shape[1]},), got {tuple(b.shape)}"
            )
        if not x.ndim:
            raise rank_error(self.who, 2, "(N, D)", x.shape)
        xp = _xp.namespace(x)
        rows = xp.reshape(x, (1 if x.ndim == 1 else x.shape[0], -1))
        if rows.shape[1] != w.shape[0]:
            raise ValueError(
                f"{self.who}: expected samples of {w.shape[0]} elements, for W of shape "
                f"{tuple(w.shape)}; got {rows.shape[1]} in an input of shape {tuple(x.shape)}"
            )
        y, saved = F.linear_forward(rows, xp.permute_dims(w, (1, 0)), b, who=self.who)
        y = xp.reshape(y, (w.shape[1],)) if x.ndim == 1 else y
        self.x, self.original_x_shape = (x if x.ndim == 1 else rows), tuple(x.shape)
        return self._keep(y, (saved, tuple(x.shape)))

    def backward(self, dout: Array, need_dx: bool = True) -> Array:
        """Set `dW` and `db`, and return the gradient of the input (None unless `need_dx`)."""
        dout, (saved, shape) = self._recall(dout)
        xp = _xp.namespace(dout)
        dout = xp.reshape(dout, (-1, dout.shape[-1]))
        dx, dw, self.db = F.run_backward(dout, saved, need_dx)
        self.dW = xp.permute_dims(dw, (1, 0))
        return xp.reshape(dx, shape) if need_dx else None


class Flatten(ScratchLayer):
    """(N, ...) to (N, D) and back.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import Flatten
    >>> layer = Flatten()
    >>> layer.forward(np.zeros((2, 3, 4))).shape
    (2, 12)
    >>> layer.backward(np.zeros((2, 12))).shape
    (2, 3, 4)
    """

    prev_layer_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        x = as_array(x)
        xp = _xp.namespace(x, who=self.who)
        if x.ndim < 2:
            raise ValueError(
                f"{self.who}: expected an input (N, ...) with a batch axis, got shape "
                f"{tuple(x.shape)}"
            )
        shape = self.prev_layer_shape = tuple(x.shape)
        return self._keep(xp.reshape(x, (shape[0], prod(shape[1:]))), shape)

    def backward(self, dout: Array) -> Array:
        dout, shape = self._recall(dout)
        return _xp.namespace(dout).reshape(dout, shape)


def softmax(x: Array) -> Array:
    """Return exp(x) normalised to sum to one, over a vector (K,) or each row of (N, K).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import softmax
    >>> softmax(np.log(np.array([[1.0, 1.0, 2.0]])))
    array([[0.25, 0.25, 0.5 ]])
    """
    (x,) = as_floats("softmax", x)
    return F.softmax(x, axis=x.ndim - 1)


class Softmax(ScratchLayer):
    """exp(x) normalised to sum to one over each row of (N, K).

    ``backward(dout)`` is the gradient through the function itself, except for what the course
    hands back from its last layer: the difference ``y - t`` of the last output and one-hot
    targets, or a multiple of it. That belongs to softmax and cross-entropy together, and comes
    back divided by N, as the gradient of the mean. (With a mean squared loss behind a softmax
    `dout` looks the same; use :class:`xpcnn.Softmax` there.)

    ``backward(x, t)`` is ``(y - t) / N`` for the targets t (integer labels or one-hot rows); its
    first argument is not looked at, so it may be the scores or the output.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import Softmax
    >>> Softmax().forward(np.log(np.array([[1.0, 1.0, 2.0]])))
    array([[0.25, 0.25, 0.5 ]])
    """

    takes_mean = True
    """Whether a difference is still to be divided by the size of the batch."""

    def forward(self, x: Array) -> Array:
        (x,) = as_floats(self.who, x)
        return self._keep(*F.run("softmax", x, x.ndim - 1, who=self.who))

    def backward(self, dout: Array, t: Any = None) -> Array:
        if t is not None:
            y, _ = self._recall(self._output)
            return (y - one_hot_targets(y, t, self.who)) / y.shape[0]
        dout, saved = self._recall(dout)
        if _is_difference(dout, self._output):
            return dout / dout.shape[0] if self.takes_mean else dout
        return F.run_backward(dout, saved)


def _is_difference(dout: Array, y: Array) -> bool:
    """Whether `dout` is a multiple of y - t, for some one-hot rows t."""
    if y.ndim != 2:
        return False
    xp = _xp.namespace(y)
    # only the target's entry is below zero, or none where y is one-hot already
    below = xp.min(dout, axis=1) < 0.0
    labels = xp.where(below, xp.argmin(dout, axis=1), xp.argmax(y, axis=1))
    difference = y - F.one_hot(labels, y.shape[1], y.dtype)
    length = float(xp.sum(difference * difference))
    factor = float(xp.sum(difference * dout)) / length if length else 0.0
    tolerance = 16.0 * float(xp.finfo(y.dtype).eps) * factor
    return factor > 0.0 and bool(xp.all(xp.abs(dout - factor * difference) <= tolerance))
