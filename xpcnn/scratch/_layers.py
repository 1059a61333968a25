"""The courses' layers, thin over :mod:`xpcnn.functional`.

Each has ``forward(x)`` and ``backward(dout)``; a layer with weights holds them as ``W`` and ``b``
and leaves their gradients in ``dW`` and ``db``. No layer changes an array it is given.
"""

from __future__ import annotations

from math import prod
from typing import Any

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.scratch._shared import LAYOUTS, as_array, as_floats, one_hot_targets, sliding_window
from xpcnn.window import Ints, Window


class ScratchLayer:
    """Remembers the last forward, and checks the gradient that comes back."""

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

    def forward(self, x: Array) -> Array:
        (x,) = as_floats(self.who, x)
        return self._keep(*F.run(self.op, x, *self.options, who=self.who))

    def backward(self, dout: Array) -> Array:
        dout, saved = self._recall(dout)
        return F.run_backward(dout, saved)


class ReLU(Activation):
    """``max(x, 0)``, element by element; `forward(x)`, `backward(dout)`."""

    op = "relu"


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``, element by element; `forward(x)`, `backward(dout)`."""

    op = "sigmoid"


class Tanh(Activation):
    """Hyperbolic tangent, element by element; `forward(x)`, `backward(dout)`."""

    op = "tanh"


class LeakyReLU(Activation):
    """``x`` where positive, else ``alpha * x``; `forward(x)`, `backward(dout)`."""

    op = "leaky_relu"

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    @property
    def options(self) -> tuple[Any, ...]:  # type: ignore[override]
        return (self.alpha,)


class Convolution(ScratchLayer):
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

    def __init__(self, W: Array, b: Array, stride: Any = 1, pad: Any = 0) -> None:
        self.W = W
        self.b = b
        self.stride = stride
        self.pad = pad
        self.dW: Array = None
        self.db: Array = None

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
        return self._keep(y, (saved, window))

    def backward(self, dout: Array, need_dx: bool = True) -> Array:
        """Set `dW` and `db`, and return the gradient of the input (None unless `need_dx`)."""
        dout, (saved, window) = self._recall(dout)
        dx, self.dW, self.db = F.conv_backward(dout, saved, window, need_dx=need_dx)
        return dx


class Pooling(ScratchLayer):
    """Max pooling of images (N, C, H, W); what is padded is minus infinity and never wins.

    Parameters
    ----------
    pool_h, pool_w : int
        Size of the window.
    stride, pad : int or (int, int)
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
        return self._keep(y, (saved, window))

    def backward(self, dout: Array) -> Array:
        dout, (saved, window) = self._recall(dout)
        return F.pool_backward(dout, saved, window)


class MaxPooling(Pooling):
    __doc__ = Pooling.__doc__


def max_pool(x: Array, kernel: Ints, stride: Any, pad: Any, who: str) -> tuple[Array, Any, Window]:
    """Pool x (N, C, *spatial); return the output, what backward needs, and the window."""
    window = sliding_window(x.shape[2:], kernel, stride, pad, who, "pool size")
    F.pool_window(
        tuple(x.shape[2:]),
        window.kernel,
        window.stride,
        window.padding,
        window.dilation,
        False,
        who,
    )
    return *F.max_pool_forward(x, window, who=who), window


class Affine(ScratchLayer):
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
    """

    def __init__(self, W: Array, b: Array) -> None:
        self.W = W
        self.b = b
        self.dW: Array = None
        self.db: Array = None

    def forward(self, x: Array) -> Array:
        x, w, b = as_floats(self.who, x, self.W, self.b)
        if w.ndim != 2:
            raise rank_error(f"{self.who} W", 2, "(D, M)", w.shape)
        if tuple(b.shape) != (w.shape[1],):
            raise ValueError(
                f"{self.who}: expected b of shape ({w.shape[1]},), got {tuple(b.shape)}"
            )
        xp = _xp.namespace(x)
        rows = xp.reshape(x, (1 if x.ndim == 1 else x.shape[0], -1))
        if rows.shape[1] != w.shape[0]:
            raise ValueError(
                f"{self.who}: expected samples of {w.shape[0]} elements, for W of shape "
                f"{tuple(w.shape)}; got {rows.shape[1]} in an input of shape {tuple(x.shape)}"
            )
        y, saved = F.linear_forward(rows, xp.permute_dims(w, (1, 0)), b, who=self.who)
        y = xp.reshape(y, (w.shape[1],)) if x.ndim == 1 else y
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
    """(N, ...) to (N, D) and back."""

    def forward(self, x: Array) -> Array:
        x = as_array(x)
        xp = _xp.namespace(x, who=self.who)
        shape = tuple(x.shape)
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

    ``backward(dout)`` is the gradient through the function itself. ``backward(x, t)`` is that of
    the mean cross-entropy of the last output y with the targets t (integer labels or one-hot
    rows), which is ``(y - t) / N``; its first argument is not looked at, so it may be the scores
    or the output, as the course has it.
    """

    def forward(self, x: Array) -> Array:
        (x,) = as_floats(self.who, x)
        return self._keep(*F.run("softmax", x, x.ndim - 1, who=self.who))

    def backward(self, dout: Array, t: Any = None) -> Array:
        if t is not None:
            y, _ = self._recall(self._output)
            return (y - one_hot_targets(y, t, self.who)) / y.shape[0]
        dout, saved = self._recall(dout)
        return F.run_backward(dout, saved)
